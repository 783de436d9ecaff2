"""The mounts of the spec as a guest can have them.  Pure.

The one rule: what a guest does not get is an error, or a notice where clients add it to every container.
"""

from ._record import Record
from .errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import Mount, Spec

# MS_*, include/uapi/linux/mount.h
_FLAGS = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "sync": 16,
    "dirsync": 128,
    "noatime": 1024,
    "nodiratime": 2048,
    "relatime": 1 << 21,
    "strictatime": 1 << 24,
}
READ_ONLY = _FLAGS["ro"]
# what a kernel has of its own: the guest mounts it without being told, or has no use for the host's
_OWN = ("proc", "sysfs", "devpts", "devtmpfs", "mqueue", "cgroup", "cgroup2")
_SHM = "/dev/" + "shm"
SCRATCH = (_SHM, "/run", "/tmp")  # noqa: S108  a tmpfs there is for programs of a system, not for one of its own
_OWN_PLACES = ("/dev", "/dev/pts", _SHM, "/dev/mqueue", "/proc", "/sys")
# clients add these to every container
ADDED = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/dev/termination-log", "/run/.containerenv"),
    "/var/run/secrets/kubernetes.io/serviceaccount",
)


class Volume(Record):
    """A bind mount or a tmpfs: `flags` are MS_*, `data` is the file system's own; `source` is "" for a tmpfs."""

    source: str
    target: str
    flags: int
    data: str = ""
    directory: bool = True

    @property
    def read_only(self) -> bool:
        return bool(self.flags & READ_ONLY)


def is_bind(mount: "Mount") -> bool:
    """Whether a mount takes something of the host."""
    return mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options


def is_own(mount: "Mount") -> bool:
    """Whether the guest has this without us."""
    target = "/" + mount.destination.strip("/")
    below = target.startswith(("/proc/", "/sys/"))
    if is_bind(mount):
        return target in _OWN_PLACES or below
    return mount.type in _OWN or below or (mount.type == "tmpfs" and target in _OWN_PLACES and target != _SHM)


def check(spec: "Spec") -> None:
    """SpecError for a mount with ids of its own (config.md#posix-platform-mounts): nobody here can make one."""
    for mount in spec.mounts:
        asked = mount.mapped or next((option for option in mount.options if option in ("idmap", "ridmap")), "")
        if asked:
            raise SpecError(f"mounts: {mount.destination}: {asked} is not supported: remove it")


def volumes(spec: "Spec", directories: "tuple[str, ...]") -> "tuple[Volume, ...]":
    """Return what of the spec's mounts is to be made for the guest, in their order.

    `directories` are those sources that are directories.  SpecError for a file system that no guest has.
    """
    found = []
    for mount in spec.mounts:
        if is_own(mount):
            continue
        flags = 0
        for option in mount.options:
            flags |= _FLAGS.get(option, 0)
        target = "/" + mount.destination.strip("/")
        if is_bind(mount):
            directory = mount.source in directories
            found.append(Volume(source=mount.source, target=target, flags=flags, directory=directory))
        elif mount.type == "tmpfs":
            data = ",".join(option for option in mount.options if "=" in option)
            found.append(Volume(source="", target=target, flags=flags, data=data))
        else:
            raise SpecError(f"mounts: {mount.destination}: a guest cannot mount {mount.type} of the host: remove it")
    return tuple(found)


def refused(spec: "Spec", guest: str) -> "tuple[str, ...]":
    """Return the notices for a guest that no mount can be given to; SpecError for one that it was meant to have."""
    lost = [mount.destination for mount in spec.mounts if not is_own(mount)]
    meant = [target for target in lost if target not in ADDED and target not in SCRATCH]
    if meant:
        raise SpecError(f"mounts: {meant[0]}: a {guest} guest cannot be given it: remove it")
    return tuple(f"{target}: a {guest} guest does not get it" for target in lost if target in ADDED)
