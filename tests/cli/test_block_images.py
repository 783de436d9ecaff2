"""What an image names as a block device and is none: one line of error, and nothing is made."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.container import UNIKERNEL, Runtime
from tests.guests import build, multiboot_build

BLOCK = {**UNIKERNEL, "com.urunc.unikernel.block": "/disk.img"}
NULL = os.makedev(1, 3)
FIRST_LOOP = os.makedev(7, 0)


def sized(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file or directory"),
        (sized(0), "block /disk.img is empty"),
        (sized(513), "block /disk.img of 513 bytes is cut short: a disk is a multiple of 512"),
        (Path.mkdir, "disk0 /disk.img is not a regular file"),
        (os.mkfifo, "disk0 /disk.img is not a regular file"),
        (lambda path: os.mknod(path, 0o020666, NULL), "disk0 /disk.img is not a regular file"),
        # of another container, or of the host
        (lambda path: os.mknod(path, 0o060666, FIRST_LOOP), "disk0 /disk.img"),
        (lambda path: path.symlink_to("/etc/hostname"), "no such file or directory"),
        (lambda path: path.symlink_to("../../../etc/hostname"), "no such file or directory"),
        (lambda path: path.symlink_to("disk.img"), "disk0 /disk.img in "),
        (lambda path: path.symlink_to("/proc/self/fd/0"), "no such file or directory"),
    ],
    ids=["none", "empty", "cut", "directory", "fifo", "character", "block", "absolute", "up", "loop", "magic"],
)
def test_what_is_no_disk_is_refused(
    urunc: Runtime, bundle: Callable[..., Path], make: Callable[[Path], Any], says: str
) -> None:
    directory = bundle(annotations=BLOCK)
    make(directory / "rootfs" / "disk.img")
    ended = urunc("create", "--bundle", directory, "c")

    assert 1 == ended.returncode
    assert says in ended.stderr
    assert 1 == ended.stderr.count("\n")
    assert "gone" == urunc.status()


def test_rootfs_that_is_no_device_is_refused_where_it_can_be_nothing_else(
    urunc: Runtime, bundle: Callable[..., Path]
) -> None:
    keys = {"unikernelType": "rumprun", "mountRootfs": "true"}
    directory = bundle(annotations={f"com.urunc.unikernel.{key}": value for key, value in keys.items()})
    shutil.copy(multiboot_build.image(build.default_cache(), "halt"), directory / "rootfs" / "hello")
    ended = urunc("create", "--bundle", directory, "c")

    assert 1 == ended.returncode
    assert "mountRootfs: the rootfs is no file system of its own on a block device" in ended.stderr
    assert "gone" == urunc.status()
