"""Hostile bytes for what Python reads: hostile.py TARGET OPTION... CORPUS..., a program with libFuzzer's options.

Each target reads the bytes as one file that somebody else has written: a good one gives what it promises, any other
one error of ours, in one line.  The working directory is the target's to write to.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["urunc"]):
    from urunc import _fastpath, annotations, arguments, bundle, config, image, jsontext, unikernels
    from urunc import spec as spec_records
    from urunc.errors import UruncError

TYPES = tuple(unikernels.MODULES)


def checked(read: Callable[[], object]) -> object:
    """What `read` returns; None for an error of ours, which must say something that can be shown in one line."""
    try:
        return read()
    except UruncError as error:
        shown = arguments.go_quoted(str(error))
        assert str(error), "an error says something"
        assert "\n" not in shown
        shown.encode("utf-8", "surrogateescape")
        return None


def check_unikernel(found: object) -> None:
    if found is None:
        return
    assert isinstance(found, annotations.Unikernel)
    assert found.type in TYPES
    assert found.hypervisor, "a guest has a monitor"
    assert found.binary or found.kernel, "and a program"
    for path in (found.binary, found.initrd, found.block, found.block_mount_point):
        assert ".." not in path.split("/"), "paths stay in the rootfs"
        assert "\n" not in path
    for name in found.__slots__:
        assert "\0" not in str(getattr(found, name))


def one_bundle(data: bytes) -> None:
    """config.json, whole."""
    Path("config.json").write_bytes(data)
    Path("rootfs").mkdir(exist_ok=True)
    spec = checked(lambda: bundle.load(os.getcwd()))
    if spec is None:
        return
    assert isinstance(spec, spec_records.Spec)
    assert spec.rootfs[0] == spec.cwd[0] == "/"
    assert all("\0" not in word for word in (*spec.args, *spec.env))
    assert all(mount.destination[0] == "/" for mount in spec.mounts)
    known = _fastpath.beginning(spec.annotations, annotations.KNOWN)
    everything = jsontext.table(jsontext.decode(spec.annotations.text(), "annotations"), "annotations")
    assert known == tuple(sorted(pair for pair in everything.items() if pair[0].startswith(annotations.KNOWN)))
    check_unikernel(checked(lambda: annotations.resolve(known, None, TYPES)))


def one_annotations(data: bytes) -> None:
    """Keys and values of the annotations, a line each."""
    words = data.decode("utf-8", "surrogateescape").split("\n")
    pairs = tuple(zip((annotations.PREFIX + key for key in words[::2]), words[1::2], strict=False))
    asked = checked(lambda: annotations.resolve(pairs, None, TYPES))
    check_unikernel(asked)
    assert asked is None or annotations.decides(pairs)


def one_urunc_json(data: bytes) -> None:
    """urunc.json of an image."""
    Path("urunc.json").write_bytes(data)
    content = checked(lambda: image.urunc_json(os.getcwd()))
    if isinstance(content, dict):
        check_unikernel(checked(lambda: annotations.resolve((), content, TYPES)))
        again = jsontext.decode(jsontext.encode(content), "again")
        assert again == content, "what was read is written as it was"


def one_config(data: bytes) -> None:
    """config.toml of the host: read from the file, then from its cache."""
    Path("config.toml").write_bytes(data)
    directory = os.path.join(os.getcwd(), "cache")
    first = checked(lambda: config.load("config.toml", directory))
    again = checked(lambda: config.load("config.toml", directory))
    assert first == again, "the cache is as good as the file"
    if isinstance(first, config.Config):
        assert all(monitor.path[:1] in ("", "/") for monitor in first.monitors)
        assert all(kernel.path[0] == "/" for kernel in first.kernels)


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], globals()[f"one_{sys.argv[1]}"])
    atheris.Fuzz()
