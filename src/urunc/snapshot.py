"""The rootfs itself as the guest's block device: whether it can be, and how it gets from the host to the guest.  Pure.

The one rule: a file system is never mounted on host and guest at once.  So what the guest boots from is copied out of
it, and start unmounts it as the last thing before the monitor runs (src/_fastpath/snapshot.h).
"""

from ._record import Record
from .errors import UnikernelError
from .slots import SNAPSHOT_SLOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .annotations import Unikernel
    from .facts import Host
    from .image import File
    from .monitors import Machine
    from .unikernels import Guest

    Operation = tuple[object, ...]

S_IFBLK = 0o060000
ROLE = "disk0"
# what is taken without being asked for: containerd's devmapper and blockfile snapshots
_SNAPSHOTS = ("thin", "loop")


class Backing(Record):
    """The block device that a rootfs is all of (_fastpath.backing); `kind` is thin, mapped, loop or disk."""

    major: int
    minor: int
    mount_point: str
    source: str
    type: str
    options: str  # of the mount
    super_options: str  # of the file system
    kind: str
    name: str
    size: int  # bytes
    read_only: bool
    thin: "tuple[int, int, int]" = (0, 0, 0)  # major and minor of the pool, id in it


def chosen(unikernel: "Unikernel", guest: "Guest", host: "Host") -> "Backing | None":
    """Return the device if the guest gets it: it is asked for (mountRootfs, useDMBlock), or nothing is said and it is
    a snapshot that nothing else stands in for.  UnikernelError if it is asked for and there is no way.
    """
    wanted, backing = unikernel.mount_rootfs, host.backing
    if wanted is False or unikernel.share:
        return None
    reason = reason_against(unikernel, guest, backing)
    if reason:
        # a guest that shares directories has other ways to the rootfs (payload.root_kind, payload.shared_root)
        if wanted and (unikernel.block or not {"9pfs", "virtiofs"} & set(guest.roots)):
            raise UnikernelError(f"mountRootfs: {reason}")
        return None
    root = next((kernel.root for kernel in host.config.kernels if kernel.name == unikernel.kernel), "")
    if not wanted and (unikernel.initrd or root not in ("", "block") or (backing and backing.kind not in _SNAPSHOTS)):
        return None
    return backing


def reason_against(unikernel: "Unikernel", guest: "Guest", backing: "Backing | None") -> str:
    """Return why the guest cannot have the rootfs as a device, "" if it can."""
    if not guest.filesystems:
        return f"a {guest.name} guest mounts no file system of a block device: remove it"
    if unikernel.block:
        return f"the image has the block device {unikernel.block}: remove one of them"
    if backing is None:
        return (
            "the rootfs is no file system of its own on a block device:"
            " use the devmapper or the blockfile snapshotter, or remove it"
        )
    if backing.type not in guest.filesystems:
        return (
            f"the rootfs is {backing.type}, a {guest.name} guest mounts {', '.join(guest.filesystems)}:"
            " set fs_type of the snapshotter"
        )
    return ""


def is_copied(file: "File", machine: "Machine") -> bool:
    """Whether the file is on the file system that the host lets go of."""
    taken = machine.snapshot
    return taken is not None and file.device == (taken.major, taken.minor)


def copied_bytes(host: "Host", machine: "Machine") -> int:
    """Return how much memory the copies take: boot files, which do not grow with the rootfs."""
    return sum(file.size + 4096 for file in host.files if is_copied(file, machine))


def operations(machine: "Machine") -> "list[Operation]":
    """Return how the device gets into the monitor's root, and what start is told to unmount."""
    taken = machine.snapshot
    if taken is None:
        return []
    mount = (taken.mount_point, taken.source, taken.type, taken.options, taken.super_options)
    return [
        ("node", f"guest/{ROLE}", S_IFBLK | 0o666, taken.major, taken.minor),
        ("snapshot", taken.major, taken.minor, *mount),
    ]


def released(machine: "Machine", held: "tuple[int, ...]") -> "list[Operation]":
    """Return the last of stage enter; the slots `held` keep the file system mounted until then."""
    taken = machine.snapshot
    if taken is None:
        return []
    return [("release", SNAPSHOT_SLOT, held, f"guest/{ROLE}", int(machine.disks[0].read_only), taken.name)]


def kept(machine: "Machine", number: int) -> "list[Operation]":
    """Return how the monitor gets the descriptor beside which nobody can mount the device; it need not know of it."""
    return [("keep", SNAPSHOT_SLOT, number)] if machine.snapshot else []
