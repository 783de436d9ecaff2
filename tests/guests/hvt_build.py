"""Builds the guests of Solo5's hvt ABI in tests/guests/hvt, for a version of it."""

import hashlib
import re
import subprocess
from pathlib import Path

from tests.guests import build, spt_build

SOURCES = Path(__file__).resolve().parent / "hvt"
LAYOUT = spt_build.SOURCES / "spt.ld"
ECHO = spt_build.SOURCES / "echo.h"


def guests_of(cache: Path, tender: str) -> dict[str, Path]:
    """The same, for the version that the program `tender` says it has."""
    said = subprocess.run((tender, "--version"), capture_output=True, text=True, check=True)
    (version,) = re.findall(r"ABI version (\d+)", said.stdout + said.stderr)
    return guests(cache, int(version))


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
