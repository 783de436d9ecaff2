"""`python -m urunc.pack`: an image of a unikernel from files that are there, without network, registry or daemon.

The one rule: the same input gives the same bytes.  So entries are sorted, dated alike and owned by root.  A tool: it
is on no container's path and may import what it likes.
"""

import argparse
import binascii
import hashlib
import json
import os
import re
import stat
import sys
import tarfile
import tempfile
from io import BytesIO

from . import annotations as annotated
from . import machine, monitors, unikernels
from ._record import Record
from .errors import UnikernelError, UruncError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import IO, NoReturn

URUNC_JSON = "/urunc.json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # of uname(2), of GOARCH
NAME = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+:\w[\w.-]{0,127}", re.ASCII)
OF_FILE = re.compile(r"(?P<source>.+?):(?P<path>/[^:]*)(?::(?P<mode>[0-7]{3,4}))?")
BLOCK = 1 << 20
MEDIA = "application/vnd.oci.image."


class File(Record):
    """A file of the image: `path` in it, and where its content comes from.

    Without a `mode` it is 0755 if somebody may execute the source, else 0644, whatever the umask was.
    """

    source: str
    path: str
    mode: int = -1


class Blob(Record):
    """Content with a name of its own: a JSON document."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def main(argv: "Sequence[str] | None" = None) -> int:
    """Write the image that the command line asks for; the exit status is 1 after one line of error, 2 for usage."""
    try:
        options = _parser().parse_args(argv)
        pack(
            options.output,
            options.name,
            [_file(text) for text in options.file],
            dict(_pair(text, "annotation") for text in options.annotation),
            options.cmd,
            ["=".join(_pair(text, "env")) for text in options.env],
            base64=options.base64,
        )
    except UruncError as error:
        print(f"urunc.pack: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def pack(  # noqa: PLR0913, PLR0917  an image is made of that many things
    output: "str | os.PathLike[str]",
    name: str,
    files: "Iterable[File]",
    annotations: "Mapping[str, str]",
    command: "Sequence[str]" = (),
    environment: "Sequence[str]" = (),
    *,
    base64: bool = False,
) -> None:
    """Write an OCI image layout as the tar `output`, at once or not at all; UruncError if that cannot be.

    Keys of `annotations` without a dot are `com.urunc.unikernel.` ones.  All go to the manifest, those of urunc to
    /urunc.json too, there in base64 if asked for.  Without any of urunc's this is an image of an ordinary container.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"image name {name!r} must be a full one, as docker.io/library/hello:latest")
    full = {_full_key(key): value for key, value in sorted(annotations.items())}
    own = {key: value for key, value in full.items() if key.startswith(annotated.PREFIX)}
    entries = _entries(files)
    _check_unikernel(own, entries)
    contents: dict[str, File | bytes] = {**entries}
    if own:
        if URUNC_JSON in entries:
            raise UsageError(f"{URUNC_JSON} is among the files and made of the annotations: give one of them")
        contents[URUNC_JSON] = _urunc_json(own, base64=base64)
    directory = os.path.dirname(os.path.abspath(output))
    try:
        with tempfile.TemporaryDirectory(prefix=".urunc-pack-", dir=directory) as scratch:
            image = f"{scratch}/image.tar"
            with open(f"{scratch}/layer.tar", "w+b") as layer:
                digest = _write_layer(layer, contents)
                documents = _documents(name, full, command, environment, (digest, layer.tell()))
                _write_image(image, documents, layer, digest)
            os.replace(image, output)
    except OSError as error:
        raise UruncError(f"{error.filename or output}: {os.strerror(error.errno or 0).lower()}") from None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> "NoReturn":
        raise UsageError(f"{message} (--help lists the options)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m urunc.pack", description="Pack a unikernel into an OCI image.", allow_abbrev=False)
    add = parser.add_argument
    add("--output", required=True, metavar="TAR", help="the OCI image layout to write, for `ctr image import`")
    add("--name", required=True, metavar="REF", help="the image's full name: docker.io/library/hello:latest")
    add("--file", action="append", default=[], metavar="SOURCE:PATH[:MODE]", help="a file, its path in the image")
    add("--annotation", action="append", default=[], metavar="KEY=VALUE", help="unikernelType=linux, ...")
    add("--base64", action="store_true", help="write the values in /urunc.json in base64")
    add("--cmd", action="append", default=[], metavar="WORD", help="a word of the default command (--cmd=-x)")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="a variable of the environment")
    return parser


def _file(text: str) -> File:
    found = OF_FILE.fullmatch(text)
    if not found:
        raise UsageError(f"--file {text!r} must be SOURCE:/path/in/image or SOURCE:/path/in/image:MODE (octal)")
    return File(source=found["source"], path=found["path"], mode=int(found["mode"] or "-1", 8))


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--{option} {text!r} must be NAME=VALUE")
    return key, value


def _full_key(key: str) -> str:
    short = key.removeprefix(annotated.PREFIX)
    if "." in short:
        return key
    known = annotated._KEYS  # noqa: SLF001  the one list of keys there is
    if short not in known:
        raise UsageError(f"annotation {key!r} is none of urunc's: use one of {', '.join(known)}")
    return annotated.PREFIX + short


def _entries(files: "Iterable[File]") -> dict[str, File]:
    """Path in the image -> file; what cannot be in one tree is refused."""
    ret: dict[str, File] = {}
    for file in files:
        if not file.path.startswith("/") or os.path.normpath(file.path) != file.path or file.path.startswith("//"):
            raise UsageError(f"path in the image {file.path!r} must be absolute and without . and .. and empty parts")
        if file.path == "/" or file.path in ret:
            raise UsageError(f"path in the image {file.path!r} is {'the root' if file.path == '/' else 'given twice'}")
        ret[file.path] = file
    for path in ret:
        if set(_parents(path)) & set(ret):
            raise UsageError(f"path in the image {path!r} lies below another file: files have no files below them")
    return ret


def _check_unikernel(own: "Mapping[str, str]", entries: "Mapping[str, File]") -> None:
    """Refuse what `create` would: an image that cannot run is best not made."""
    asked = annotated.resolve((), own, tuple(unikernels.MODULES))
    if asked is None:
        return
    machine.check_pair(unikernels.load(asked.type), monitors.load(asked.hypervisor))
    for key in ("binary", "initrd", "block"):
        path = getattr(asked, key)
        if path and os.path.normpath(f"/{path.lstrip('/')}") not in entries:
            raise UnikernelError(f"{key} {path} is not among the files of the image: add --file SOURCE:{path}")


def _urunc_json(own: "Mapping[str, str]", *, base64: bool) -> bytes:
    values = {
        key: binascii.b2a_base64(value.encode(), newline=False).decode() if base64 else value
        for key, value in own.items()
    }
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _write_layer(layer: "IO[bytes]", contents: "Mapping[str, File | bytes]") -> str:
    """Write the one layer, parents before their files; return its digest."""
    directories = {parent for path in contents for parent in _parents(path)}
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted({*contents, *directories}):
            content = contents.get(path)
            if content is None:
                archive.addfile(_member(path, 0o755, kind=tarfile.DIRTYPE))
            elif isinstance(content, bytes):
                archive.addfile(_member(path, 0o644, len(content)), BytesIO(content))
            else:
                _add_file(archive, content)
    end = layer.tell()
    layer.seek(0)
    digest = hashlib.sha256()
    while block := layer.read(BLOCK):
        digest.update(block)
    layer.seek(end)
    return digest.hexdigest()


def _add_file(archive: tarfile.TarFile, file: File) -> None:
    with open(file.source, "rb", opener=_open_at_once) as source:
        status = os.fstat(source.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UruncError(f"{file.source} is not a regular file")
        mode = file.mode if file.mode >= 0 else 0o755 if status.st_mode & 0o111 else 0o644
        archive.addfile(_member(file.path, mode, status.st_size), source)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO would wait for its writer


def _member(path: str, mode: int, size: int = 0, *, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    ret = tarfile.TarInfo(path.lstrip("/"))  # owned by 0, dated 1970 by default
    ret.mode, ret.size, ret.type = mode, size, kind
    return ret


def _parents(path: str) -> list[str]:
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: end + 1]) for end in range(len(parts))]


def _documents(
    name: str,
    annotations: "Mapping[str, str]",
    command: "Sequence[str]",
    environment: "Sequence[str]",
    layer: tuple[str, int],
) -> tuple[Blob, Blob, Blob]:
    """The config, the manifest that names it, and the index that names the manifest (image-spec 1.0)."""
    platform = {"architecture": ARCHITECTURES.get(os.uname().machine, os.uname().machine), "os": "linux"}
    digest, size = layer
    config = _json("config.v1+json", {
        "created": "1970-01-01T00:00:00Z",
        **platform,
        "config": {"Cmd": list(command), "Env": list(environment), "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    })  # fmt: skip
    manifest = _json("manifest.v1+json", {
        "schemaVersion": 2,
        "mediaType": f"{MEDIA}manifest.v1+json",
        "config": _descriptor(config),
        "layers": [{"mediaType": f"{MEDIA}layer.v1.tar", "digest": f"sha256:{digest}", "size": size}],
        "annotations": dict(annotations),
    })  # fmt: skip
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = _json("index.v1+json", {
        "schemaVersion": 2,
        "mediaType": f"{MEDIA}index.v1+json",
        "manifests": [{**_descriptor(manifest), "platform": platform, "annotations": names}],
    })  # fmt: skip
    return config, manifest, index


def _json(kind: str, value: object) -> Blob:
    return Blob(media_type=MEDIA + kind, content=json.dumps(value, separators=(",", ":"), sort_keys=True).encode())


def _descriptor(blob: Blob) -> dict[str, object]:
    return {"mediaType": blob.media_type, "digest": f"sha256:{blob.digest}", "size": len(blob.content)}


def _write_image(path: str, documents: tuple[Blob, Blob, Blob], layer: "IO[bytes]", digest: str) -> None:
    config, manifest, index = documents
    size = layer.tell()
    layer.seek(0)
    contents: dict[str, tuple[int, IO[bytes]]] = {f"blobs/sha256/{digest}": (size, layer)}
    for blob in (config, manifest):
        contents[f"blobs/sha256/{blob.digest}"] = (len(blob.content), BytesIO(blob.content))
    contents["index.json"] = (len(index.content), BytesIO(index.content))
    layout = b'{"imageLayoutVersion":"1.0.0"}'
    contents["oci-layout"] = (len(layout), BytesIO(layout))
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for directory in ("/blobs", "/blobs/sha256"):
            archive.addfile(_member(directory, 0o755, kind=tarfile.DIRTYPE))
        for member in sorted(contents):
            length, source = contents[member]
            archive.addfile(_member(member, 0o644, length), source)


if __name__ == "__main__":
    sys.exit(main())
