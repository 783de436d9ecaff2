"""Builds the guests of Solo5's spt ABI in tests/guests/spt, one of each source."""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "spt"
COMPILER = ("gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-ffreestanding", "-nostdlib", "-static",
            "-fno-pic", "-no-pie", "-mgeneral-regs-only", "-mno-red-zone", "-fcf-protection=none",
            "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns",
            "-T", "spt.ld", "-Wl,--build-id=none,--strip-all,-z,max-page-size=4096,-z,noexecstack")  # fmt: skip


def build(cache: Path) -> dict[str, Path]:
    """Name of the guest -> its image; built once per state of the sources, renamed into place when complete."""
    digest = hashlib.sha256(repr(COMPILER).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    directory = cache / f"spt-{digest.hexdigest()[:16]}"
    names = sorted(path.stem for path in SOURCES.glob("*.c"))
    if not directory.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".spt-") as made:
            images = Path(made) / "images"
            images.mkdir()
            for name in names:
                subprocess.run((*COMPILER, f"{name}.c", "-o", images / name), cwd=SOURCES, check=True)
            try:
                os.rename(images, directory)
            except OSError:  # somebody else was first
                if not directory.exists():
                    raise
    return {name: directory / name for name in names}
