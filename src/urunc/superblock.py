"""The file system of a block device, told by the magic numbers of its superblock (their kernels' headers).

The one rule: what is not known is "", never a guess.
"""

import os

SIZE = 65536 + 128  # bytes: btrfs has its superblock at 64 KiB
# name, offset, magic; the more certain ones first
_MAGICS = (
    ("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    ("xfs", 0, b"XFSB"),
    ("squashfs", 0, b"hsqs"),
    ("ntfs", 3, b"NTFS    "),
    ("exfat", 3, b"EXFAT   "),
    ("vfat", 54, b"FAT1"),
    ("vfat", 82, b"FAT32"),
    ("LVM2_member", 536, b"LVM2 001"),
    ("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    ("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("ufs", 8192 + 1372, b"\x54\x19\x01\x00"),
    ("iso9660", 32769, b"CD001"),
    ("btrfs", 65536 + 64, b"_BHRfS_M"),
    ("a table of partitions", 512, b"EFI PART"),
)
_EXT, _EXT_MAGIC = 1024, b"\x53\xef"  # struct ext4_super_block, s_magic at 56
_HAS_JOURNAL = 0x4
# features (fs/ext2/ext2.h, fs/ext4/ext4.h): incompatible, read-only compatible ones that each can have
_EXT2 = (0x2 | 0x10, 0x1 | 0x2 | 0x4)  # filetype, meta_bg; sparse_super, large_file, btree_dir
_EXT3 = (_EXT2[0] | 0x4, _EXT2[1])  # recover


def read(fd: int) -> str:
    """Return the name of the file system on the file or device `fd`, as mount(8) has it; "" if it is not known."""
    return name(os.pread(fd, SIZE, 0))


def name(start: bytes) -> str:
    """Return what `start`, the first SIZE bytes of a device, belongs to."""
    if start[_EXT + 56 : _EXT + 58] == _EXT_MAGIC:
        return _ext(start)
    found = next((name for name, offset, magic in _MAGICS if start[offset : offset + len(magic)] == magic), "")
    # a boot sector that belongs to none of them, with an entry that is active or not
    if not found and start[510:512] == b"\x55\xaa" and start[446:447] in (b"\x00", b"\x80") and start[450:451] > b"\0":
        return "a table of partitions"
    return found


def _ext(start: bytes) -> str:
    compatible, incompatible, read_only = (
        int.from_bytes(start[_EXT + at : _EXT + at + 4], "little") for at in (92, 96, 100)
    )
    for kind, (most, most_read_only) in (("ext2", _EXT2), ("ext3", _EXT3)):
        if bool(compatible & _HAS_JOURNAL) == (kind == "ext3") and not (
            incompatible & ~most or read_only & ~most_read_only
        ):
            return kind
    return "ext4"
