"""Builds the guests of Solo5's hvt ABI in tests/guests/hvt, for a version of it."""

import hashlib
from pathlib import Path

from tests.guests import build, spt_build

SOURCES = Path(__file__).resolve().parent / "hvt"
LAYOUT = spt_build.SOURCES / "spt.ld"
ECHO = spt_build.SOURCES / "echo.h"


def guests(cache: Path, version: int) -> dict[str, Path]:
    """Name of the guest -> its image."""
    compiler = (*spt_build.COMPILER, f"-DVERSION={version}")
    digest = hashlib.sha256(repr(compiler).encode())
    for source in (*sorted(SOURCES.iterdir()), LAYOUT, ECHO):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    names = sorted(path.stem for path in SOURCES.glob("*.c"))

    def make(directory: Path) -> None:
        (directory / "spt.ld").write_bytes(LAYOUT.read_bytes())
        for name in names:
            quoted = ("-iquote", str(SOURCES), "-iquote", str(ECHO.parent))
            build.run((*compiler, *quoted, str(SOURCES / f"{name}.c"), "-o", name), directory)

    directory = build.cached(cache, f"hvt-{digest.hexdigest()[:16]}", make)
    return {name: directory / name for name in names}
