"""Writes dist/urunc: the front and the embedded interpreter, ELF programs, then a zip of sources and native modules.

The one rule: the same input gives the same bytes.  So entries are sorted, stored and dated alike.
Sources serve every interpreter; beside each lies the bytecode of the one that the front runs, which
another one skips by its magic number.  It is never compared with the source (PEP 552, unchecked).
"""

import importlib._bootstrap_external
import io
import os
import sys
import zipfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "src"
MARK = b"urunc-embedded:\0"
PAGE = 1 << 16  # the largest of any machine
ENTRY = b"from urunc.__main__ import main\n\nmain()\n"


def main() -> None:
    """Usage: archive.py OUTPUT FRONT EMBEDDED NATIVE_MODULE...; run by the interpreter that the front runs.

    An EMBEDDED that does not exist is left out.
    """
    output, front, embedded, *natives = (Path(argument) for argument in sys.argv[1:])
    content = programs(front, embedded) + zip_bytes(entries(natives))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_program(output, content)


def programs(front: Path, embedded: Path) -> bytes:
    """The front, which is told where the interpreter lies behind it (front.c)."""
    content = front.read_bytes()
    if not embedded.exists():
        return content
    offset = -(-len(content) // PAGE) * PAGE
    before, after = content.split(MARK)
    content = before + MARK + offset.to_bytes(8, "little") + after[8:]
    return content.ljust(offset, b"\0") + embedded.read_bytes()


def entries(natives: list[Path]) -> dict[str, bytes]:
    """Name in the archive -> content."""
    ret = {"__main__.py": ENTRY}
    for path in sorted((SOURCES / "urunc").rglob("*.py")):
        ret[str(path.relative_to(SOURCES))] = path.read_bytes()
    for name, source in list(ret.items()):
        ret[f"{name}c"] = bytecode(name, source)
    for path in natives:
        ret[f"urunc/{path.name}"] = path.read_bytes()
    return ret


def bytecode(name: str, source: bytes) -> bytes:
    """What py_compile makes, without a file; `name` is what a traceback says."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    return bytes(importlib._bootstrap_external._code_to_hash_pyc(code, b"\0" * 8, checked=False))  # type: ignore[attr-defined] # noqa: SLF001


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """A zip archive whose bytes depend on names and contents alone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def write_program(path: Path, content: bytes) -> None:
    """Replace `path` at once: who runs it keeps the old one.  Left alone if it has that content."""
    if path.exists() and path.read_bytes() == content:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.chmod(0o755)
    temporary.replace(path)


if __name__ == "__main__":
    main()
