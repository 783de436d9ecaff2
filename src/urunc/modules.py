"""`python -m urunc.modules`: an initrd with the modules that a distribution's kernel needs for a guest.

The one rule: the order of loading is decided here, from what the modules say of themselves; uinit loads by name.
A tool: it is on no container's path and may import what it likes.
"""

import argparse
import os
import stat
import sys

from .errors import UruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# disks, network, shared directories, the power button; what is not a module is taken to be built in.  ext4 asks for the
# checksum by a name of the crypto interface (its softdep), which no dependency of symbols shows
WANTED = (
    *("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "9pnet_virtio", "9p", "virtiofs"),
    *("crc32c_generic", "ext4", "button", "evdev"),
)
PLACE = ".urunc/modules"
SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


def main(argv: "Sequence[str] | None" = None) -> int:
    """Write the initrd that the command line asks for; the exit status is 1 after one line of error."""
    parser = argparse.ArgumentParser(prog="python -m urunc.modules", description=(__doc__ or "").partition("\n")[0])
    from pathlib import Path

    parser.add_argument("--directory", required=True, type=Path, help="of the kernel's modules: /lib/modules/RELEASE")
    parser.add_argument("--output", required=True, type=Path, help="the initrd to write")
    parser.add_argument("module", nargs="*", help=f"modules to load, besides {', '.join(WANTED)}")
    options = parser.parse_args(argv)
    try:
        options.output.write_bytes(archive(options.directory, (*WANTED, *options.module)))
    except (OSError, UruncError) as error:
        print(f"urunc.modules: {error}", file=sys.stderr)
        return 1
    return 0


def archive(directory: "Path", wanted: "Iterable[str]") -> bytes:
    """Return the initrd with those modules of `directory` and what they depend on."""
    found = {
        _name(path): path
        for path in sorted(directory.rglob("*.ko*"))
        if path.name.endswith(SUFFIXES)
    }  # fmt: skip
    if not found:
        raise UruncError(f"{directory} has no modules: name /lib/modules/RELEASE")
    ordered: dict[str, Path] = {}
    for name in wanted:
        _add(name.replace("-", "_"), found, ordered, ())
    parents = [PLACE[: at if at >= 0 else None] for at in (PLACE.find("/"), -1)]
    members = [_member(parent, stat.S_IFDIR | 0o755) for parent in parents]
    for number, (name, path) in enumerate(ordered.items()):
        suffix = path.name[path.name.index(".ko") :]
        members.append(_member(f"{PLACE}/{number:03}-{name}{suffix}", stat.S_IFREG | 0o644, path.read_bytes()))
    whole = b"".join(members) + _member("TRAILER!!!", 0)
    return whole + bytes(-len(whole) % 512)


def _add(name: str, found: "dict[str, Path]", ordered: "dict[str, Path]", above: "tuple[str, ...]") -> None:
    if name not in found or name in ordered or name in above:
        return
    for needed in _dependencies(found[name]):
        _add(needed, found, ordered, (*above, name))
    ordered[name] = found[name]


def _name(path: "Path") -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _dependencies(path: "Path") -> "list[str]":
    """Return what the module's section .modinfo says: depends=a,b, and softdep=pre: c."""
    content = path.read_bytes()
    if path.suffix != ".ko":
        content = _unpacked(content, path)
    names: list[str] = []
    for entry in content.split(b"\0"):
        if entry.startswith(b"depends="):
            names += entry[8:].decode("ascii", "replace").split(",")
        elif entry.startswith(b"softdep=pre:"):
            names += entry[12:].decode("ascii", "replace").split()
    return [name.replace("-", "_") for name in names if name and name[-1] != ":"]


def _unpacked(content: bytes, path: "Path") -> bytes:
    import gzip
    import lzma

    if path.suffix == ".xz":
        return lzma.decompress(content)
    if path.suffix == ".gz":
        return gzip.decompress(content)
    raise UruncError(f"{path}: modules compressed with {path.suffix[1:]} cannot be read: unpack them")


def _member(name: str, mode: int, content: bytes = b"") -> bytes:
    """Return one entry of a `newc` archive (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    raw = os.fsencode(name) + b"\0"
    fields = (0, mode, 0, 0, 2 if stat.S_ISDIR(mode) else 1, 0, len(content), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + raw
    head += bytes(-len(head) % 4)
    return head + content + bytes(-len(content) % 4)


if __name__ == "__main__":
    sys.exit(main())
