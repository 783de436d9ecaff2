"""File systems told by their superblocks: of real ones where mkfs is there, else by the magic of their headers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from urunc import superblock


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("-t", "ext2"), "ext2"),
        (("-t", "ext3"), "ext3"),
        (("-t", "ext4"), "ext4"),
        (("-t", "ext2", "-O", "extents"), "ext4"),
        (("-t", "ext4", "-O", "^has_journal"), "ext4"),
        (("-t", "ext2", "-r", "0"), "ext2"),
    ],
)
def test_what_mke2fs_makes(tmp_path: Path, options: tuple[str, ...], name: str) -> None:
    mke2fs = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin")
    if mke2fs is None:
        pytest.skip("mke2fs (e2fsprogs) is missing")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run((mke2fs, "-q", *options, str(image)), check=True)
    fd = os.open(image, os.O_RDONLY)
    try:
        assert name == superblock.read(fd)
    finally:
        os.close(fd)


def with_magic(at: int, magic: bytes) -> bytes:
    start = bytearray(superblock.SIZE)
    start[at : at + len(magic)] = magic
    return bytes(start)


@pytest.mark.parametrize(
    ("at", "magic", "name"),
    [
        (0, b"XFSB", "xfs"),
        (65600, b"_BHRfS_M", "btrfs"),
        (0, b"hsqs", "squashfs"),
        (1024, b"\xe2\xe1\xf5\xe0", "erofs"),
        (1024, b"\x10\x20\xf5\xf2", "f2fs"),
        (54, b"FAT16   ", "vfat"),
        (82, b"FAT32   ", "vfat"),
        (3, b"NTFS    ", "ntfs"),
        (0, b"LUKS\xba\xbe\x00\x02", "crypto_LUKS"),
        (4086, b"SWAPSPACE2", "swap"),
        (32769, b"CD001", "iso9660"),
        (512, b"EFI PART", "a table of partitions"),
    ],
)
def test_what_a_header_says(at: int, magic: bytes, name: str) -> None:
    assert name == superblock.name(with_magic(at, magic))


def test_a_table_of_partitions_is_no_file_system() -> None:
    table = bytearray(with_magic(510, b"\x55\xaa"))
    table[446:462] = b"\x80\x00\x02\x00\x83" + bytes(11)

    assert "a table of partitions" == superblock.name(bytes(table))


@pytest.mark.parametrize("start", [b"", b"\0" * 100, bytes(superblock.SIZE), b"\x55\xaa" * 1000])
def test_what_is_not_known_has_no_name(start: bytes) -> None:
    assert "" == superblock.name(start)
