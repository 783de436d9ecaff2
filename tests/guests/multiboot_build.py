"""Builds multiboot guests that do one thing and end as a framework's guests end (multiboot/multiboot.S)."""

import hashlib
from pathlib import Path

from tests.guests import build

SOURCE = Path(__file__).resolve().parent / "multiboot" / "multiboot.S"
ACTIONS = {"exit": 1, "halt": 2, "sleep": 3, "reset": 4, "button": 5, "nic": 6, "tick": 7}
COMPILER = ("gcc", "-m32", "-Wall", "-Werror", "-nostdlib", "-static", "-no-pie")
LINKER = ("-Wl,-Ttext=0x100000,--build-id=none,--nmagic,--strip-all,-m,elf_i386",)


def image(cache: Path, action: str, code: int = 0, port: int = 0x501) -> Path:
    """The guest for `action`; `exit` writes `code` to an isa-debug-exit device at `port`."""
    macros = (f"-DACTION={ACTIONS[action]}", f"-DCODE={code}", f"-DPORT={port:#x}")
    command = (*COMPILER, *LINKER, *macros)
    key = hashlib.sha256(repr(command).encode() + SOURCE.read_bytes()).hexdigest()

    def make(directory: Path) -> None:
        build.run((*command, str(SOURCE), "-o", "guest"), directory)

    return build.cached(cache, f"multiboot-{key[:16]}", make) / "guest"


def monitor(cache: Path, *, static: bool = True) -> Path:
    """A program that stands for a monitor or for a helper of one (monitor/monitor.c).

    One that is not static starts with the calls of a program with libraries, which is what Firecracker's filter knows.
    """
    source = SOURCE.parents[1] / "monitor" / "monitor.c"
    command = ("gcc", "-O1", "-Wall", "-Wextra", "-Werror", *(["-static"] if static else []))
    key = hashlib.sha256(repr(command).encode() + source.read_bytes()).hexdigest()

    def make(directory: Path) -> None:
        build.run((*command, str(source), "-o", "monitor"), directory)

    return build.cached(cache, f"monitor-{key[:16]}", make) / "monitor"
