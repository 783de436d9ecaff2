"""Images for the spt tender made by hand: a good one, and what nobody should run, with words of the refusal."""

import struct
from dataclasses import dataclass

PAGE, BASE = 0x1000, 0x100000
PT_LOAD, PT_NOTE = 1, 4
HVT, SPT, VIRTIO = 1, 2, 3
BLOCK, NET, FIRST = 1, 2, 1 << 30


@dataclass(frozen=True)
class Load:
    """A PT_LOAD segment; its bytes are those of the file at `offset`."""

    address: int = BASE
    flags: int = 5
    offset: int = PAGE
    size: int = 16
    memory: int = 16
    align: int = PAGE


def note(name: bytes, kind: int, descriptor: bytes) -> bytes:
    return struct.pack("<III8s", len(name), len(descriptor), kind, name) + descriptor + bytes(-len(descriptor) % 4)


def abi(target: int = SPT, version: int = 2) -> bytes:
    return note(b"Solo5\0", 0x31494241, struct.pack("<IIII", target, version, 0, 0))


def device(name: bytes, kind: int, rest: bytes = b"") -> bytes:
    return struct.pack("<68sI", name, kind) + rest.ljust(32, b"\0")


def manifest(*devices: bytes, version: int = 1, count: int | None = None, first: bytes = device(b"", FIRST)) -> bytes:
    count = len(devices) + 1 if count is None else count
    return note(b"Solo5\0", 0x3154464D, struct.pack("<III", 0, version, count) + first + b"".join(devices))


def elf(
    *loads: Load,
    notes: tuple[bytes, ...] = (abi(), manifest()),
    entry: int = BASE,
    kind: int = 2,
    machine: int = 62,
    count: int | None = None,
    table: int = 64,
    header_size: int = 64,
) -> bytes:
    """A guest that exits with 9 at once, unless something is wrong with it."""
    code = b"\xb8\xe7\0\0\0\xbf\x09\0\0\0\x0f\x05".ljust(16, b"\xcc")
    segments, body = b"", code.ljust(PAGE, b"\0")
    for load in loads or (Load(),):
        segments += struct.pack("<IIQQQQQQ", PT_LOAD, load.flags, load.offset, load.address, 0, load.size, load.memory,
                                load.align)  # fmt: skip
    for text in notes:
        segments += struct.pack("<IIQQQQQQ", PT_NOTE, 4, PAGE + len(body), 0, 0, len(text), len(text), 4)
        body += text
    count = len(segments) // 56 if count is None else count
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, entry, table, 0, 0, header_size, 56, count, 0, 0, 0)
    return (header + segments).ljust(PAGE, b"\0") + body


GOOD = elf()
TWO_TO_64 = 1 << 64
BAD_IMAGES = {
    "empty": (b"", "is not an ELF file"),
    "text": (b"#!/bin/sh\nexit 0\n", "is not an ELF file"),
    "half a header": (GOOD[:40], "truncated"),
    "half a table": (GOOD[:100], "truncated"),
    "no segment's bytes": (GOOD[:PAGE], "truncated"),
    "half a note": (GOOD[: 2 * PAGE + 10], "truncated"),
    "32 bits": (GOOD[:4] + b"\x01" + GOOD[5:], "urunc-spt"),
    "big endian": (GOOD[:5] + b"\x02" + GOOD[6:], "is not an ELF file"),
    "table beyond the end": (elf(table=1 << 40), "truncated"),
    "table wraps": (elf(table=TWO_TO_64 - 56), "truncated"),
    "too many segments": (elf(count=0xFFFF), "more than 128"),
    "no segments": (elf(count=0), "no Solo5 ABI note"),
    "shared object": (elf(kind=3), "static executable"),
    "other machine": (elf(machine=183), "static executable"),
    "header of a wrong size": (elf(header_size=52), "static executable"),
    "hvt": (elf(notes=(abi(HVT), manifest())), "is a Solo5 guest for hvt"),
    "virtio": (elf(notes=(abi(VIRTIO), manifest())), "is a Solo5 guest for virtio"),
    "target unknown": (elf(notes=(abi(77), manifest())), "unknown target"),
    "version 1": (elf(notes=(abi(version=1), manifest())), "version"),
    "version 3": (elf(notes=(abi(version=3), manifest())), "version"),
    "no notes": (elf(notes=()), "no Solo5 ABI note"),
    "no manifest": (elf(notes=(abi(),)), "no Solo5 manifest"),
    "no ABI": (elf(notes=(manifest(),)), "no Solo5 ABI note"),
    "short ABI": (elf(notes=(note(b"Solo5\0", 0x31494241, bytes(8)), manifest())), "ABI note of a wrong size"),
    "two ABIs": (elf(notes=(abi(), abi(HVT), manifest())), "two Solo5 ABI notes"),
    "two manifests": (elf(notes=(abi(), manifest(), manifest(device(b"a", NET)))), "two Solo5 manifests"),
    "note longer than its segment": (elf(notes=(abi(), manifest()[:-8])), "no Solo5 manifest"),
    "note's size wraps": (elf(notes=(abi(), b"\xff" * 8 + manifest()[8:])), "no Solo5 manifest"),
    "manifest's version": (elf(notes=(abi(), manifest(version=2))), "version"),
    "manifest of none": (elf(notes=(abi(), manifest(count=0))), "size and count"),
    "manifest of more": (elf(notes=(abi(), manifest(count=2))), "size and count"),
    "manifest of 2^32 - 1": (elf(notes=(abi(), manifest(count=0xFFFFFFFF))), "size and count"),
    "manifest too long": (elf(notes=(abi(), manifest(*[device(b"a", NET)] * 64))), "of a wrong size"),
    "manifest without a first": (elf(notes=(abi(), manifest(first=device(b"a", NET)))), "first entry"),
    "first with a name": (elf(notes=(abi(), manifest(first=device(b"a", FIRST)))), "first entry"),
    "device's type": (elf(notes=(abi(), manifest(device(b"a", 3)))), "unknown type"),
    "device another first": (elf(notes=(abi(), manifest(device(b"a", FIRST)))), "unknown type"),
    "device without a name": (elf(notes=(abi(), manifest(device(b"", NET)))), "proper name"),
    "device's name without end": (elf(notes=(abi(), manifest(device(b"a" * 68, NET)))), "proper name"),
    "device's name of two lines": (elf(notes=(abi(), manifest(device(b"a\nb", NET)))), "proper name"),
    "device twice": (elf(notes=(abi(), manifest(device(b"a", NET), device(b"a", NET)))), "declares a device twice"),
    "writable and executable": (elf(Load(flags=7)), "writable and executable"),
    "second writable and executable": (elf(Load(), Load(BASE + PAGE, flags=3)), "writable and executable"),
    "overlap": (elf(Load(), Load(BASE, flags=6)), "overlap"),
    "overlap of a page": (elf(Load(memory=PAGE + 1), Load(BASE + PAGE, flags=6)), "overlap"),
    "out of order": (elf(Load(BASE + PAGE, flags=6), Load()), "overlap"),
    "below the base": (elf(Load(BASE - PAGE), entry=BASE - PAGE), "below 0x100000"),
    "at 0": (elf(Load(0), entry=0), "below 0x100000"),
    "aligned below the base": (elf(Load(align=1 << 21)), "below 0x100000"),
    "boot information": (elf(Load(0x11000, flags=4), Load()), "below 0x100000"),
    "more in the file": (elf(Load(size=32, memory=16)), "larger in the file"),
    "only in the file": (elf(Load(size=16, memory=0)), "larger in the file"),
    "memory wraps": (elf(Load(memory=TWO_TO_64 - BASE)), "wraps around"),
    "memory wraps once aligned": (elf(Load(memory=TWO_TO_64 - BASE - 1)), "wraps around"),
    "address wraps": (elf(Load(), Load(TWO_TO_64 - PAGE, memory=PAGE)), "wraps around"),
    "offset beyond the end": (elf(Load(offset=1 << 40)), "beyond the end"),
    "offset wraps": (elf(Load(offset=TWO_TO_64 - 8)), "beyond the end"),
    "size beyond the end": (elf(Load(size=1 << 30, memory=1 << 30)), "beyond the end"),
    "alignment of 0": (elf(Load(align=0)), "power of two"),
    "alignment of 3 pages": (elf(Load(align=3 * PAGE)), "power of two"),
    "alignment of 16": (elf(Load(align=16)), "start and end with a page"),
    "entry nowhere": (elf(entry=0), "entry point"),
    "entry far away": (elf(entry=TWO_TO_64 - 1), "entry point"),
    "entry behind the segment": (elf(entry=BASE + PAGE), "entry point"),
    "entry in data": (elf(Load(), Load(BASE + PAGE, flags=6), entry=BASE + PAGE), "entry point"),
    "larger than its memory": (elf(Load(), Load(BASE + PAGE, flags=6, memory=1 << 30)), "larger than its memory"),
    "no room for a stack": (elf(Load(), Load(BASE + PAGE, flags=6, memory=BASE - PAGE)), "larger than its memory"),
    "above 4 GiB": (elf(Load(), Load(1 << 40, flags=6)), "larger than its memory"),
    "above the tender": (elf(Load(), Load(0x7FFFFFFFF000, flags=6)), "larger than its memory"),
}
