"""The ELF parser against real files, files made by hand, and files made to hurt it."""

import os
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI

SOURCES = Path(__file__).parents[2] / "src" / "_fastpath"
DECLARATIONS = """
struct fp_error { int number; char step[48]; char path[256]; };
struct fp_image {
    uint64_t size, entry, pvh_entry, extent;
    uint32_t kind, solo5_target, solo5_version;
    uint16_t boot_protocol, machine, type;
    uint8_t bits;
    bool multiboot, pvh;
};
struct fp_elf_dependencies {
    char *interpreter, *soname, *rpath, *runpath;
    char **needed;
    size_t needed_count;
    uint16_t machine;
    uint8_t bits;
    bool dynamic;
};
int fp_image_identify(int fd, struct fp_image *ret, struct fp_error *error);
int fp_elf_dependencies(int fd, struct fp_elf_dependencies *ret, struct fp_error *error);
void fp_elf_dependencies_deinit(struct fp_elf_dependencies *dependencies);
"""
UNKNOWN, BZIMAGE, ELF64, ELF32, GZIP, XZ, ZSTD, ARM64, DISK = range(9)
ENOEXEC, EINVAL = 8, 22
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_SONAME, DT_RPATH, DT_RUNPATH = 1, 5, 10, 14, 15, 29
EM_386, EM_X86_64 = 3, 62


Segment = tuple[int, int, int, int, int]
Maker = Callable[[list[Segment], bytes], bytes]


class Parser:
    """The C functions as Python ones that take a file's contents."""

    def __init__(self, library: Path) -> None:
        self.ffi: Any = FFI()
        self.ffi.cdef(DECLARATIONS)
        self.c: Any = self.ffi.dlopen(str(library))

    def open(self, contents: bytes) -> int:
        fd = os.memfd_create("elf")
        os.write(fd, contents)
        return fd

    def identify(self, contents: bytes | int) -> Any:
        fd = contents if isinstance(contents, int) else self.open(contents)
        image, error = self.ffi.new("struct fp_image *"), self.ffi.new("struct fp_error *")
        try:
            status = self.c.fp_image_identify(fd, image, error)
        finally:
            os.close(fd)
        self.raise_error(status, error)
        return image

    def dependencies(self, contents: bytes | int) -> dict[str, Any]:
        fd = contents if isinstance(contents, int) else self.open(contents)
        found, error = self.ffi.new("struct fp_elf_dependencies *"), self.ffi.new("struct fp_error *")
        try:
            status = self.c.fp_elf_dependencies(fd, found, error)
            text = {field: self.text(getattr(found, field)) for field in ("interpreter", "soname", "rpath", "runpath")}
            needed = [self.text(found.needed[i]) for i in range(found.needed_count)]
            result = {**text, "needed": needed, "bits": found.bits, "machine": found.machine, "dynamic": found.dynamic}
        finally:
            self.c.fp_elf_dependencies_deinit(found)
            os.close(fd)
        self.raise_error(status, error)
        return result

    def text(self, pointer: Any) -> str | None:
        return os.fsdecode(self.ffi.string(pointer)) if pointer else None

    def raise_error(self, status: int, error: Any) -> None:
        assert (status == -1) == (error.number != 0)
        if status:
            raise OSError(error.number, self.ffi.string(error.path).decode())


@pytest.fixture(scope="session")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Parser:
    library = tmp_path_factory.mktemp("elf") / "elf.so"
    sources = [SOURCES / name for name in ("elf.c", "elf_dependencies.c", "elf_image.c", "error.c")]
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, "-o", library, *sources], check=True)
    return Parser(library)


def elf64(segments: list[Segment], contents: bytes = b"", machine: int = EM_X86_64, count: int | None = None) -> bytes:
    """An ELF file: header, program headers (type, offset, address, size, align), then `contents` at 0x1000."""
    count = len(segments) if count is None else count
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0x1234, 64, 0, 0, 64, 56, count, 0, 0, 0)
    )
    table = b"".join(
        struct.pack("<IIQQQQQQ", kind, 0, offset, address, address, size, size, align)
        for kind, offset, address, size, align in segments
    )
    return (header + table).ljust(0x1000, b"\0") + contents


def elf32(segments: list[Segment], contents: bytes = b"") -> bytes:
    header = (
        b"\x7fELF\x01\x01\x01"
        + bytes(9)
        + struct.pack("<HHIIIIIHHHHHH", 2, EM_386, 1, 0x1234, 52, 0, 0, 52, 32, len(segments), 0, 0, 0)
    )
    table = b"".join(
        struct.pack("<IIIIIIII", kind, offset, address, address, size, size, 0, align)
        for kind, offset, address, size, align in segments
    )
    return (header + table).ljust(0x1000, b"\0") + contents


def note(name: bytes, kind: int, descriptor: bytes, align: int = 4) -> bytes:
    def pad(data: bytes) -> bytes:
        return data + bytes(-len(data) % align)

    return pad(pad(struct.pack("<III", len(name), len(descriptor), kind) + name) + descriptor)


def with_notes(notes: bytes, align: int = 4, make: Maker = elf64) -> bytes:
    return make([(PT_NOTE, 0x1000, 0, len(notes), align)], notes)


def with_dynamic(
    entries: list[tuple[int, int]], strings: bytes, make: Maker = elf64, strings_size: int | None = None
) -> bytes:
    """`entries`: (tag, value); the string table follows them, everything in one PT_LOAD at 0x400000."""
    wide = "<QQ" if make is elf64 else "<II"
    length = struct.calcsize(wide) * (len(entries) + 3)
    table = [
        *entries,
        (DT_STRTAB, 0x400000 + length),
        (DT_STRSZ, len(strings) if strings_size is None else strings_size),
        (0, 0),
    ]
    contents = b"".join(struct.pack(wide, *entry) for entry in table) + strings
    return make(
        [(PT_LOAD, 0x1000, 0x400000, len(contents), 0x1000), (PT_DYNAMIC, 0x1000, 0x400000, length, 8)], contents
    )


XEN_PHYS32 = note(b"Xen\0", 18, struct.pack("<Q", 0x100200))
SOLO5_SPT = note(b"Solo5\0", 0x31494241, struct.pack("<IIII", 2, 1, 0, 0))
OTHER = note(b"GNU\0", 3, b"build-id")


@pytest.mark.parametrize("make", [elf64, elf32])
def test_an_elf_is_told_with_its_header_fields(parser: Parser, make: "Maker") -> None:
    """Kind, bits, machine, type, entry and size are the file's."""
    image = parser.identify(make([], b""))

    expected = (ELF64, 64, EM_X86_64) if make is elf64 else (ELF32, 32, EM_386)
    assert expected == (image.kind, image.bits, image.machine)
    assert (2, 0x1234, 0x1000) == (image.type, image.entry, image.size)
    assert not image.pvh
    assert not image.multiboot


def test_a_64_bit_elf_marked_i386_is_told_as_it_is(parser: Parser) -> None:
    """Mewz has such a header, for multiboot."""
    image = parser.identify(elf64([], machine=EM_386))

    assert (64, EM_386) == (image.bits, image.machine)


@pytest.mark.parametrize(
    "notes", [XEN_PHYS32, OTHER + XEN_PHYS32, XEN_PHYS32 + OTHER, note(b"Xen\0", 18, struct.pack("<I", 0x100200))]
)
@pytest.mark.parametrize("make", [elf64, elf32])
def test_a_pvh_note_is_found_with_its_entry(parser: Parser, notes: bytes, make: "Maker") -> None:
    """As the first, a later or the last note, its descriptor four or eight bytes."""
    image = parser.identify(with_notes(notes, make=make))

    assert image.pvh
    assert image.pvh_entry == 0x100200


@pytest.mark.parametrize("align", [4, 8])
def test_notes_in_a_segment_of_alignment_8_are_found_in_either_layout(parser: Parser, align: int) -> None:
    """Linkers merge notes aligned to 4 into segments aligned to 8."""
    notes = note(b"GNU\0", 5, bytes(12), align) + note(b"Solo5\0", 0x31494241, struct.pack("<IIII", 1, 1, 0, 0), align)

    assert parser.identify(with_notes(notes, align=8)).solo5_target == 1


@pytest.mark.parametrize(
    "wrong",
    [
        note(b"Xen\0", 17, bytes(8)),
        note(b"xen\0", 18, bytes(8)),
        note(b"Xen\0", 18, bytes(3)),
        note(b"Xen", 18, bytes(8)),
        note(b"Solo5\0", 0x3154464D, bytes(16)),
        note(b"Solo5\0", 0x31494241, bytes(8)),
    ],
)
def test_a_note_of_other_name_type_or_size_is_not_taken(parser: Parser, wrong: bytes) -> None:
    """Every part of a note is compared."""
    image = parser.identify(with_notes(wrong))

    assert (False, 0) == (image.pvh, image.solo5_target)


def test_a_solo5_note_gives_target_and_version(parser: Parser) -> None:
    """SPT is target 2."""
    image = parser.identify(with_notes(OTHER + SOLO5_SPT))

    assert (2, 1) == (image.solo5_target, image.solo5_version)


@pytest.mark.parametrize("offset", [0, 4, 4096, 8192 - 12])
def test_a_multiboot_header_is_found_in_the_first_8192_bytes(parser: Parser, offset: int) -> None:
    """Anywhere that is four-aligned, in a file of any kind."""
    header = struct.pack("<III", 0x1BADB002, 3, (-0x1BADB002 - 3) % 2**32)

    assert parser.identify(bytes(offset) + header + bytes(8192)).multiboot


@pytest.mark.parametrize(
    "contents",
    [
        bytes(2) + struct.pack("<III", 0x1BADB002, 0, -0x1BADB002 % 2**32),
        bytes(8192 - 8) + struct.pack("<III", 0x1BADB002, 0, -0x1BADB002 % 2**32),
        struct.pack("<III", 0x1BADB002, 0, 1),
        struct.pack("<II", 0x1BADB002, 0),
    ],
)
def test_what_only_looks_like_a_multiboot_header_is_none(parser: Parser, contents: bytes) -> None:
    """Not aligned, too late, wrong checksum, cut off."""
    assert not parser.identify(contents).multiboot


def test_a_bzimage_is_told_with_its_boot_protocol(parser: Parser) -> None:
    """HdrS at 0x202, and it wins over the boot sector's and the EFI program's magic."""
    contents = bytearray(b"MZ" + bytes(4094))
    contents[510:512] = b"\x55\xaa"
    contents[0x202:0x208] = b"HdrS\x0f\x02"
    image = parser.identify(bytes(contents))

    assert (BZIMAGE, 0x020F, 0) == (image.kind, image.boot_protocol, image.bits)


@pytest.mark.parametrize(
    ("contents", "kind"),
    [
        (b"", UNKNOWN),
        (b"#!/bin/sh\n", UNKNOWN),
        (b"\x7fELF", UNKNOWN),
        (b"\x7fELF\x02\x02\x01" + bytes(100), UNKNOWN),
        (b"\x1f\x8b\x08" + zlib.compress(b"x"), GZIP),
        (b"\xfd7zXZ\0" + bytes(9), XZ),
        (b"\x28\xb5\x2f\xfd" + bytes(9), ZSTD),
        (bytes(56) + b"ARM\x64" + bytes(4), ARM64),
        (bytes(510) + b"\x55\xaa", DISK),
        (bytes(510) + b"\x55", UNKNOWN),
    ],
)
def test_other_kinds_are_told_by_their_magic(parser: Parser, contents: bytes, kind: int) -> None:
    """A short file is of no kind, never an error."""
    image = parser.identify(contents)

    assert (kind, len(contents)) == (image.kind, image.size)


@pytest.mark.parametrize(
    "contents",
    [
        elf64([], count=129),
        elf64([], count=0xFFFF),
        elf64([(PT_NOTE, 0x1000, 0, 1, 4)]),
        elf64([(PT_NOTE, 2**64 - 8, 0, 64, 4)]),
        elf64([(PT_NOTE, 0, 0, 65537, 4)], bytes(70000)),
        elf64([(PT_NOTE, 0, 0, 40000, 4), (PT_NOTE, 0, 0, 40000, 4)], bytes(70000)),
        elf64([(PT_NOTE, 0, 0, 2**64 - 1, 4)]),
        elf64([])[:63],
        elf64([], count=1)[:64],
        elf32([])[:51],
        elf64([(0, 0, 0, 0, 0)]).replace(struct.pack("<HH", 56, 1), struct.pack("<HH", 57, 1)),
        elf64([(0, 0, 0, 0, 0)]).replace(struct.pack("<QQ", 0x1234, 64), struct.pack("<QQ", 0x1234, 2**64 - 56)),
    ],
)
def test_an_elf_with_tables_beyond_file_or_limits_is_refused(parser: Parser, contents: bytes) -> None:
    """ENOEXEC, by both functions' common reader."""
    with pytest.raises(OSError, match=r"\S") as refusal:
        parser.identify(contents)

    assert refusal.value.errno == ENOEXEC


@pytest.mark.parametrize("size", [2**32 - 1, 2**32 - 12, 2**31, 0xFFFC])
@pytest.mark.parametrize("field", [0, 4])
def test_a_note_longer_than_its_segment_ends_the_walk(parser: Parser, size: int, field: int) -> None:
    """Neither a name nor a descriptor leads out of the segment."""
    lie = bytearray(OTHER)
    struct.pack_into("<I", lie, field, size)

    assert not parser.identify(with_notes(bytes(lie) + XEN_PHYS32)).pvh


@pytest.mark.parametrize("call", ["identify", "dependencies"])
def test_what_is_no_regular_file_is_refused(parser: Parser, call: str) -> None:
    """Directories, devices and pipes."""
    reader, writer = os.pipe()
    os.close(writer)
    for fd in (os.open("/", os.O_RDONLY), os.open("/dev/zero", os.O_RDONLY), reader):
        with pytest.raises(OSError, match="not a regular file") as refusal:
            getattr(parser, call)(fd)

        assert refusal.value.errno == EINVAL


@pytest.mark.parametrize("call", ["identify", "dependencies"])
def test_the_offset_of_the_descriptor_stays(parser: Parser, call: str) -> None:
    """pread only: the descriptor may be shared."""
    fd = parser.open(elf64([]))
    os.lseek(fd, 7, os.SEEK_SET)
    shared = os.dup(fd)
    getattr(parser, call)(fd)
    offset = os.lseek(shared, 0, os.SEEK_CUR)
    os.close(shared)

    assert offset == 7


@pytest.mark.parametrize("make", [elf64, elf32])
def test_dynamic_entries_are_read(parser: Parser, make: "Maker") -> None:
    """Names in order, soname, and both kinds of search paths."""
    strings = b"\0liba.so.1\0libb.so\0me.so\0$ORIGIN/../lib\0/opt/x:/opt/y\0"
    at = {
        name: strings.index(name) for name in (b"liba.so.1", b"libb.so", b"me.so", b"$ORIGIN/../lib", b"/opt/x:/opt/y")
    }
    found = parser.dependencies(
        with_dynamic(
            [
                (DT_NEEDED, at[b"liba.so.1"]),
                (DT_SONAME, at[b"me.so"]),
                (DT_NEEDED, at[b"libb.so"]),
                (DT_RPATH, at[b"/opt/x:/opt/y"]),
                (DT_RUNPATH, at[b"$ORIGIN/../lib"]),
            ],
            strings,
            make,
        )
    )

    assert found == {
        "interpreter": None,
        "soname": "me.so",
        "rpath": "/opt/x:/opt/y",
        "runpath": "$ORIGIN/../lib",
        "needed": ["liba.so.1", "libb.so"],
        "bits": 64 if make is elf64 else 32,
        "machine": EM_X86_64 if make is elf64 else EM_386,
        "dynamic": True,
    }


def test_an_interpreter_is_read(parser: Parser) -> None:
    """PT_INTERP, with Solo5's deliberate one as the example."""
    path = b"/nonexistent/solo5/\0"

    assert (
        parser.dependencies(elf64([(PT_INTERP, 0x1000, 0, len(path), 1)], path))["interpreter"] == "/nonexistent/solo5/"
    )


def test_a_static_program_needs_nothing(parser: Parser) -> None:
    """No PT_DYNAMIC is no error."""
    found = parser.dependencies(elf64([]))

    assert (False, [], None) == (found["dynamic"], found["needed"], found["interpreter"])


def test_entries_after_dt_null_are_not_read(parser: Parser) -> None:
    """As the dynamic linker does."""
    contents = with_dynamic([(0, 0), (DT_NEEDED, 1)], b"\0x\0")

    assert parser.dependencies(contents)["needed"] == []


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"", "not a little-endian ELF"),
        (b"#!/bin/sh\n", "not a little-endian ELF"),
        (b"\x7fELF\x02\x02\x01" + bytes(100), "not a little-endian ELF"),
        (with_dynamic([(DT_NEEDED, 7)], b"\0abc\0"), "outside the dynamic string table"),
        (with_dynamic([(DT_NEEDED, 2**63)], b"\0abc\0"), "outside the dynamic string table"),
        (with_dynamic([(DT_NEEDED, 1)], b"\0abc"), "without an end"),
        (with_dynamic([(DT_NEEDED, 1)], b"\0abc\0", strings_size=3), "without an end"),
        (with_dynamic([(DT_NEEDED, 1)], b"\0abc", strings_size=2**64 - 1) + b"xx\0", "without an end"),
        (with_dynamic([(DT_NEEDED, 1)], b"\0" + b"x" * 4096 + b"\0"), "longer than 4095"),
        (with_dynamic([(DT_NEEDED, 1)] * 257, b"\0x\0"), "256 needed"),
        (elf64([(PT_DYNAMIC, 0, 0, 65537, 8)], bytes(70000)), "more than 64 KiB"),
        (elf64([(PT_DYNAMIC, 0x1000, 0, 16, 8)] * 2, bytes(16)), "two dynamic"),
        (elf64([(PT_DYNAMIC, 2**64 - 16, 0, 64, 8)]), "beyond the end"),
        (elf64([(PT_INTERP, 0x1000, 0, 0, 1)]), "without an end"),
        (elf64([(PT_INTERP, 2**64 - 1, 0, 9, 1)]), "beyond the end"),
    ],
)
def test_broken_dynamic_information_is_refused(parser: Parser, contents: bytes, words: str) -> None:
    """ENOEXEC and a sentence."""
    with pytest.raises(OSError, match=words) as refusal:
        parser.dependencies(contents)

    assert refusal.value.errno == ENOEXEC


def test_256_needed_libraries_are_read(parser: Parser) -> None:
    """The limit itself is allowed."""
    assert len(parser.dependencies(with_dynamic([(DT_NEEDED, 1)] * 256, b"\0x\0"))["needed"]) == 256


def test_a_real_program_agrees_with_readelf(parser: Parser) -> None:
    """The interpreter that runs this test, and its libraries."""
    program = os.path.realpath(sys.executable)
    words = subprocess.run(["readelf", "-dlW", program], check=True, capture_output=True, text=True).stdout
    needed = [line.split("[")[1].rstrip("]") for line in words.splitlines() if "(NEEDED)" in line]
    interpreter = next(line.split(": ")[1].rstrip("]") for line in words.splitlines() if "interpreter" in line)
    found = parser.dependencies(os.open(program, os.O_RDONLY))

    assert (needed, interpreter) == (found["needed"], found["interpreter"])


def both(parser: Parser, contents: bytes) -> None:
    """Call both functions; only ENOEXEC may come out."""
    for call in (parser.identify, parser.dependencies):
        try:
            call(contents)
        except OSError as refusal:
            assert refusal.errno == ENOEXEC


def real_elf(length: int | None = None) -> bytes:
    return Path(os.path.realpath("/bin/true")).read_bytes()[:length]


def test_a_file_cut_at_every_byte_of_its_first_4_kib_does_no_harm(parser: Parser) -> None:
    """Truncation, at every length."""
    contents = real_elf(4096)
    for length in range(len(contents)):
        both(parser, contents[:length])


@pytest.mark.parametrize("seed", range(8))
def test_random_flips_do_no_harm(parser: Parser, seed: int) -> None:
    """In a real program and in one made of everything the parser reads."""
    dice = random.Random(seed)  # the same flips on every run
    strings = b"\0liba.so.1\0/opt/x\0"
    made = with_dynamic([(DT_NEEDED, 1), (DT_RPATH, 11)], strings) + OTHER + XEN_PHYS32 + SOLO5_SPT
    for original, end in ((real_elf(), 4096), (made, len(made)), (made, 200), (with_notes(OTHER + XEN_PHYS32), 120)):
        for _ in range(250):
            contents = bytearray(original)
            for _ in range(dice.randint(1, 6)):
                contents[dice.randrange(end)] = dice.choice((0, 1, 4, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            both(parser, bytes(contents))


def test_nothing_is_leaked(parser: Parser) -> None:
    """Neither memory nor descriptors, by successes and by failures."""
    contents = with_dynamic(
        [(DT_NEEDED, 1), (DT_RPATH, 1), (DT_RPATH, 1), (DT_NEEDED, 99)], b"\0" + b"x" * 4000 + b"\0", strings_size=50
    )
    good = with_dynamic([(DT_NEEDED, 1)] * 50, b"\0" + b"x" * 4000 + b"\0")

    def resident() -> int:
        both(parser, contents)
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    for _ in range(50):
        both(parser, good)
    before, descriptors = resident(), len(os.listdir("/proc/self/fd"))
    for _ in range(300):
        both(parser, contents)
        both(parser, good)

    assert resident() - before < 4 << 20  # a leak of `good` alone would be 60 MB
    assert len(os.listdir("/proc/self/fd")) == descriptors
