"""The guest's files and disks, as devices of the machine and as operations of a plan.  Pure.

The one rule: what the guest need not write it cannot write, whatever the monitor tries.
"""

from . import snapshot
from .errors import UnikernelError
from .monitors import Disk, order
from .snapshot import ROLE, S_IFBLK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .annotations import Unikernel
    from .facts import Host
    from .image import File
    from .monitors import Machine
    from .snapshot import Backing
    from .unikernels import Guest

    Operation = tuple[object, ...]

SECTOR = 512  # bytes
LOCKS = "/run/urunc/@locks"  # a file for each block device that a guest has had
RDONLY, NOSUID, NODEV, NOEXEC, IDMAP = 1, 2, 4, 8, 0x100000  # MOUNT_ATTR_*, mount_setattr(2)


def disks(guest: "Guest", host: "Host", taken: "Backing | None", *, read_only: bool, name: str) -> "tuple[Disk, ...]":
    """Return the guest's block devices, the first the snapshot `taken` if there is one.

    `name` is what the annotation solo5BlkDev calls the first.  UnikernelError if the guest declares what the
    container does not have, or cannot use what it has.
    """
    images = [file for file in host.files if file.role.startswith("disk")]
    _check_sizes(images)
    named = [(file.role, file.name) for file in images]
    if taken:
        named.insert(0, (ROLE, taken.source))
        read_only = read_only or taken.read_only
    if len(named) > guest.disks:
        raise UnikernelError(f"block {named[-1][1]}: a {guest.name} guest takes {guest.disks} block devices: remove it")
    only_read = [file.role for file in images if file.read_only]
    names = _names(guest, host, [shown for _, shown in named], name)
    return tuple(
        Disk(
            path=f"/guest/{role}",
            device=device,
            order=order(host.devices, "block", device),
            read_only=read_only or role in only_read,
            id=role,
            root=number == 0 and "block" in guest.roots,
        )
        for number, ((role, _), device) in enumerate(zip(named, names, strict=True))
    )


def _check_sizes(images: "list[File]") -> None:
    """Raise UnikernelError for an image that is no whole number of sectors: monitors round it, or say less."""
    for image in images:
        if not image.size:
            raise UnikernelError(f"block {image.name} is empty: put a file system into it")
        if image.size % SECTOR:
            raise UnikernelError(
                f"block {image.name} of {image.size} bytes is cut short: a disk is a multiple of {SECTOR}"
            )


def places(unikernel: "Unikernel", host: "Host") -> "tuple[str, ...]":
    """Return where each disk of the image is mounted, "" for nowhere: blkMntPoint, a list as block is one.

    Without it the first disk is /.  UnikernelError for a list that is longer, or names a place twice.
    """
    count = sum(file.role.startswith("disk") for file in host.files)
    if not unikernel.block_mount_point:
        return ("/", *[""] * (count - 1)) if count else ()
    listed = ["/" + place.strip("/") if place else "" for place in unikernel.block_mount_point.split(",")]
    used = [place for place in listed if place]
    if len(listed) > count or len(set(used)) < len(used) or "/" in listed[1:]:
        raise UnikernelError(
            f"blkMntPoint {unikernel.block_mount_point}: there are {count} disks, of which the first may be /, and each"
            " needs a place of its own: correct it"
        )
    return (*listed, *[""] * (count - len(listed)))


def check_filesystems(guest: "Guest", unikernel: "Unikernel", host: "Host", *, uinit: bool) -> None:
    """Raise UnikernelError for a disk that is to be mounted and has a file system that the guest cannot have.

    What is told apart by no superblock is the guest's affair; so is what it does with a disk that is not mounted.
    """
    if not guest.filesystems:
        return
    mountable = guest.filesystems if uinit else guest.filesystems + guest.images
    images = [file for file in host.files if file.role.startswith("disk")]
    spots = places(unikernel, host) if uinit else ["/"] * min(len(images), 1)
    for image, place in zip(images, spots, strict=False):
        if place and image.filesystem and image.filesystem not in mountable:
            raise UnikernelError(
                f"block {image.name} is {image.filesystem}: {'urunc' if uinit else f'a {guest.name} guest'} mounts"
                f" {', '.join(mountable)}: make it one of them"
            )


def attached(host: "Host", machine: "Machine") -> "tuple[File, ...]":
    """Return the files that are mounted for the monitor, in /guest."""
    return tuple([file for file in host.files if _way(file, machine) == "mounted"])


def _way(file: "File", machine: "Machine") -> str:
    """Return how the file gets to the monitor; the one of an initrd that is made goes into that."""
    if file.role == "monitor":
        return "executed"
    if machine.archive and file.role in ("initrd", "initrd1"):
        return "archived"
    if file.node:
        return "node"
    return "copied" if snapshot.is_copied(file, machine) else "mounted"


def released(host: "Host", machine: "Machine", slots: "dict[str, int]", hooks: "tuple[int, ...]") -> "list[Operation]":
    """Return the last of stage enter; `hooks` are slots of theirs that keep the rootfs mounted."""
    archived = [slots[file.role] for file in host.files if _way(file, machine) == "archived"]
    return snapshot.released(machine, (*archived, *hooks))


def claims(host: "Host", machine: "Machine", slots: "dict[str, int]") -> "list[Operation]":
    """Return how disks are had: those that the guest may write to by nobody else, no mount of a device included, and
    those that it reads by none who writes.
    """
    made: list[Operation] = []
    for file, exclusive in _shared(host, machine):
        path = "" if file.node else f"guest/{file.role}"
        made.append(("lock", slots[file.role], path, int(exclusive), file.name))
        made += [("claim", slots[_device(file)], f"guest/{file.role}")] if file.node and exclusive else []
    return made


def kept(host: "Host", machine: "Machine", slots: "dict[str, int]", number: int) -> "list[Operation]":
    """Return how the monitor gets, from `number` on, the descriptors by which disks are had."""
    names = []
    for file, exclusive in _shared(host, machine):
        names += [file.role, _device(file)] if file.node and exclusive else [file.role]
    return [("keep", slots[name], number + at) for at, name in enumerate(names)]


def device_slots(host: "Host") -> "list[str]":
    """Return the names of the slots for devices that are had exclusively."""
    return [_device(file) for file in host.files if file.node and not file.read_only]


def _device(file: "File") -> str:
    return f"device {file.role}"


def _shared(host: "Host", machine: "Machine") -> "list[tuple[File, bool]]":
    """Return the disks that another guest may have, too, and whether this one may write to them; no copies."""
    writable = {disk.path for disk in machine.disks if not disk.read_only}
    disks = [file for file in host.files if file.role.startswith("disk")]
    return [(f, f"/guest/{f.role}" in writable) for f in disks if _way(f, machine) in ("node", "mounted")]


def operations(host: "Host", machine: "Machine", slots: "dict[str, int]") -> "list[Operation]":
    """Return how the files come into the monitor's root: as mounts of the descriptors that were checked."""
    writable = {disk.path for disk in machine.disks if not disk.read_only}
    made: list[Operation] = []
    for file in attached(host, machine):
        may_write = f"/guest/{file.role}" in writable
        made.append(("file", f"guest/{file.role}", 0o444, b""))
        attributes = (0 if may_write else RDONLY) | (IDMAP if file.role in host.idmapped else 0)
        made.append(("clone_file", slots[file.role], attributes | NOSUID | NODEV | NOEXEC))
    for file in host.files:
        if file.node:
            made.append(("node", f"guest/{file.role}", S_IFBLK | 0o666, *file.node))
            made.append(("lock_file", slots[file.role], f"{LOCKS}/{file.node[0]}:{file.node[1]}"))
    # what is on the snapshot is copied before that goes
    copied = [file.role for file in host.files if _way(file, machine) == "copied"]
    made += [("copy", slots[role], f"guest/{role}", 0o444) for role in copied]
    return [*made, *snapshot.operations(machine)]


def _names(guest: "Guest", host: "Host", files: "list[str]", name: str) -> "list[str]":
    """Return the names of the devices: the manifest's, the annotation's for the first, the framework's without both."""
    if host.devices is None:
        return [name or guest.solo5_block if number == 0 else "" for number in range(len(files))]
    declared = [device for kind, device in host.devices if kind == "block"]
    missing = [device for device in declared[len(files) :] if device != name]
    if missing:
        raise UnikernelError(
            f"the guest declares block device {missing[0]}, which the container does not have: give one by block"
        )
    if name and files:
        if name not in declared:
            raise UnikernelError(f"solo5BlkDev {name} is not declared by the guest, which has: {', '.join(declared)}")
        declared = [name, *(device for device in declared if device != name)]
    if len(files) > len(declared):
        raise UnikernelError(f"block {files[-1]}: the guest declares {len(declared)} block devices: remove it")
    return declared
