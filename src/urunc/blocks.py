"""The guest's block devices: images in the rootfs, and devices of the host that the container was given.

The one rule: a device is given by linux.devices and linux.resources.devices both, as to any container.  Who has a disk
is settled at start (storage.claims); that nobody has a device exclusively now is seen here.
"""

import errno
import os

from . import devices, superblock
from ._record import Record
from .errors import SpecError, UnikernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import Spec

S_IFMT, S_IFBLK, S_IFREG = 0o170000, 0o060000, 0o100000  # inode(7)
_TRIES, _PAUSE_S = 20, 0.01
SECTOR = 512  # bytes, the unit of /sys/dev/block/*/size


class Block(Record):
    """What is behind one name of the annotation block; `fd` is the caller's."""

    fd: int
    size: int  # bytes
    filesystem: str  # superblock.name
    node: "tuple[int, int] | None" = None  # major and minor of a device
    read_only: bool = False  # of a device that the container may only read


def given(spec: "Spec", role: str, name: str) -> "Block | None":
    """Return the device that the container has at the path `name`; None if linux.devices has none there."""
    path = "/" + name.strip("/")
    found = [(node.major, node.minor) for node in spec.nodes if node.type == "b" and node.path == path]
    return _device(spec, role, name, found[-1]) if found else None


def opened(spec: "Spec", role: str, name: str, fd: int) -> Block:
    """Return what `fd`, a file of the rootfs, is; UnikernelError for what is no disk of this container."""
    status = os.fstat(fd)
    if _is(status, S_IFBLK):
        number = (os.major(status.st_rdev), os.minor(status.st_rdev))
        if not any(node.type == "b" and (node.major, node.minor) == number for node in spec.nodes):
            raise UnikernelError(
                f"{role} {name} is block device {number[0]}:{number[1]}, which the container was not given:"
                " add it to linux.devices and to linux.resources.devices"
            )
        found = _device(spec, role, name, number)
        os.close(fd)
        return found
    if not _is(status, S_IFREG):
        raise UnikernelError(f"{role} {name} is not a regular file")
    if not spec.readonly and not os.access(f"/proc/self/fd/{fd}", os.W_OK):
        raise SpecError(
            f"{role} {name} cannot be written to, and the guest may: its file system is read-only, or it is immutable:"
            " set root.readonly"
        )
    return Block(fd=fd, size=status.st_size, filesystem=superblock.read(fd))


def _device(spec: "Spec", role: str, name: str, number: "tuple[int, int]") -> Block:
    shown = f"{role} {name} (block device {number[0]}:{number[1]})"
    access = devices.access(spec.resources.devices, "b", *number)
    if "r" not in access:
        raise SpecError(f"{shown}: linux.resources.devices does not let the container read it: allow it")
    read_only = spec.readonly or "w" not in access
    try:
        directory = f"/sys/dev/block/{number[0]}:{number[1]}"
        read_only = read_only or _text(f"{directory}/ro").strip() == "1"
        size = int(_text(f"{directory}/size")) * SECTOR
        fd = _open(number, f"{directory}/uevent")
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise SpecError(f"{shown} is in use: unmount it, or end the guest that has it") from None
        raise SpecError(f"{shown}: {os.strerror(error.errno or 0).lower()}: correct linux.devices") from None
    return Block(fd=fd, size=size, filesystem=superblock.read(fd), node=number, read_only=read_only)


def _open(number: "tuple[int, int]", events: str) -> int:
    """Open the device by its number; EBUSY while anybody has it exclusively, or has it mounted."""
    (node,) = [line[8:] for line in _text(events).splitlines() if line.startswith("DEVNAME=")]
    fd = _exclusive(f"/dev/{node}")
    try:
        status = os.fstat(fd)
        if not _is(status, S_IFBLK) or (os.major(status.st_rdev), os.minor(status.st_rdev)) != number:
            raise OSError(errno.ENXIO, "")
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
    finally:
        os.close(fd)


def _exclusive(path: str) -> int:
    for _ in range(_TRIES):
        try:
            return os.open(path, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        from time import sleep

        sleep(_PAUSE_S)  # another create may be looking at it
    raise OSError(errno.EBUSY, "", path)


def _is(status: os.stat_result, kind: int) -> bool:
    return status.st_mode & S_IFMT == kind


def _text(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read(4096).decode("utf-8", "replace")
