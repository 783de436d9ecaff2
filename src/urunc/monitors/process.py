"""The process monitor: no virtual machine, but the container's own process, in its rootfs.  Pure.

The one rule: it is for conformance suites, whose containers are ordinary programs: it runs in the place, the cage and
the moment of a monitor, only where the host's configuration says so, and never in silence.
"""

from .._record import Record
from ..errors import SpecError
from ..slots import MOUNT_SLOT
from . import Machine, Monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec import Mount, Spec

    Operation = tuple[object, ...]

WARNING = (
    "the process monitor is in use: this container is no virtual machine, its process runs on the kernel of the host:"
    " unset process_monitor in the configuration for anything but tests"
)
# include/uapi/linux/mount.h
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 1, 32, 4096, 16384
_NEW = {  # of a mount that is made: flags to set, to clear
    "ro": (1, 0),
    "rw": (0, 1),
    "nosuid": (2, 0),
    "suid": (0, 2),
    "nodev": (4, 0),
    "dev": (0, 4),
    "noexec": (8, 0),
    "exec": (0, 8),
    "sync": (16, 0),
    "async": (0, 16),
    "remount": (32, 0),
    "mand": (64, 0),
    "nomand": (0, 64),
    "dirsync": (128, 0),
    "nosymfollow": (256, 0),
    "noatime": (1024, 0),
    "atime": (0, 1024),
    "nodiratime": (2048, 0),
    "diratime": (0, 2048),
    "relatime": (1 << 21, 0),
    "norelatime": (0, 1 << 21),
    "iversion": (1 << 23, 0),
    "noiversion": (0, 1 << 23),
    "strictatime": (1 << 24, 0),
    "nostrictatime": (0, 1 << 24),
    "silent": (1 << 15, 0),
    "loud": (0, 1 << 15),
    "defaults": (0, 0),
}
_BINDS = {"bind": MS_BIND, "rbind": MS_BIND | MS_REC}
_PROPAGATION = {"unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}
_PROPAGATION |= {f"r{name}": flag | MS_REC for name, flag in _PROPAGATION.items()}
_ATIME = 0x70
_BOUND = {  # of what is bound, by mount_setattr(2): MOUNT_ATTR_* to set, to clear
    "ro": (1, 0),
    "rw": (0, 1),
    "nosuid": (2, 0),
    "suid": (0, 2),
    "nodev": (4, 0),
    "dev": (0, 4),
    "noexec": (8, 0),
    "exec": (0, 8),
    "noatime": (0x10, _ATIME),
    "atime": (0, _ATIME),
    "strictatime": (0x20, _ATIME),
    "relatime": (0, _ATIME),
    "nodiratime": (0x80, 0),
    "diratime": (0, 0x80),
    "nosymfollow": (0x200000, 0),
    "symfollow": (0, 0x200000),
}
_IGNORED = ("idmap", "ridmap", "x-systemd", "_netdev")
_COPY_UP = 1 << 32  # FP_COPY_UP

# linux.devices: what is there in any case (runtime-spec, config-linux.md#default-devices)
NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("pts/ptmx", "/dev/ptmx"),
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
)
_S_IFCHR = 0o020000
_TYPES = {"c": _S_IFCHR, "u": _S_IFCHR, "b": 0o060000, "p": 0o010000}
_IPC = ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def no_argv(_: Machine) -> "tuple[str, ...]":
    """Return nothing: what is executed is process.args."""
    return ()


NO_MACHINE = Machine(binary="", accelerator="none", memory_mib=0, vcpus=0, kernel="", words=())
MONITOR = Monitor(name="process", binaries=(), argv=no_argv, kvm="none", takes_tap="name")


class Device(Record):
    """linux.devices[]: `mode` is of permissions only."""

    type: str
    path: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int


class Rootfs(Record):
    """What config.json says of the file system of an ordinary container, beside root and mounts."""

    devices: "tuple[Device, ...]" = ()
    masked: "tuple[str, ...]" = ()
    read_only: "tuple[str, ...]" = ()
    propagation: str = ""
    # controllers, directory of the host: the container's cgroups, for mounts of type cgroup
    groups: "tuple[tuple[str, str], ...]" = ()


def check(spec: "Spec") -> None:
    """Raise SpecError for what could change the host: a sysctl that is not of a namespace of the container."""
    own = [namespace.type for namespace in spec.namespaces]
    for name, _ in spec.sysctl:
        first, _, rest = name.replace("/", ".").partition(".")
        if first == "net" and rest:
            kind = "network"
        elif (first == "kernel" and rest in _IPC) or name.startswith("fs.mqueue."):
            kind = "ipc"
        elif name == "kernel.domainname":
            kind = "uts"
        else:
            raise SpecError(f'sysctl "{name}" is not in a separate kernel namespace: remove it from linux.sysctl')
        if kind not in own:
            raise SpecError(f'sysctl "{name}" is not allowed in the host\'s namespace: add {kind} to linux.namespaces')


def borrowed_mounts(spec: "Spec") -> str:
    """Return the file of the mount namespace that the container is to be in; "" if it gets one of its own."""
    mine = [namespace for namespace in spec.namespaces if namespace.type == "mount"]
    return mine[0].path if mine else "/proc/thread-self/ns/mnt"


def check_mounts(spec: "Spec", tree: Rootfs) -> None:
    """Raise SpecError for what a container without a mount namespace of its own cannot have, or would do to others."""
    kinds = [namespace.type for namespace in spec.namespaces]
    if "mount" not in kinds and (tree.masked or tree.read_only):
        raise SpecError(
            "unable to restrict sys entries without a private MNT namespace: add mount to linux.namespaces,"
            " or remove linux.maskedPaths and readonlyPaths"
        )
    if not borrowed_mounts(spec):
        return
    options = {option for mount in spec.mounts for option in mount.options}
    wrong = {
        "a user namespace": "user" in kinds,
        "linux.rootfsPropagation": tree.propagation,
        "a mount that is unbindable": options & {"unbindable", "runbindable"},
    }
    for name, given in wrong.items():
        if given:
            raise SpecError(f"{name} takes a mount namespace of the container's own: add mount without a path")


def rootfs(spec: "Spec", tree: Rootfs, *, terminal: bool) -> "list[Operation]":
    """Return how the rootfs becomes what the process sees, before its hooks: mounts, devices, sysctls."""
    made: list[Operation] = [("rootfs", spec.rootfs), ("attach_root",)]
    for mount in spec.mounts:
        made += _mount(mount, spec.bundle, tree)
    if not any(_is_bind(mount) and mount.destination.rstrip("/") == "/dev" for mount in spec.mounts):
        made += _devices(tree)
        made += [("rootfs_console",)] if terminal else []
    for mount in spec.mounts:
        if mount.destination.rstrip("/") == "/dev" and "ro" in mount.options and not _is_bind(mount):
            made.append(("read_only_path", "/dev"))
    return [*made, *(("sysctl", name.replace(".", "/"), value) for name, value in spec.sysctl)]


def closing(spec: "Spec", tree: Rootfs) -> "list[Operation]":
    """Return the rest, behind the hooks: what is hidden or read-only, the change of root, directory and program."""
    made: list[Operation] = [("working_directory", spec.cwd)]
    made += [("read_only_path", path) for path in tree.read_only]
    made += [("mask", path) for path in dict.fromkeys(tree.masked)]
    made += [("read_only",)] if spec.readonly else []
    made.append(("leave_mounts", MOUNT_SLOT) if borrowed_mounts(spec) else ("pivot_root",))
    if tree.propagation:
        made.append(("propagation", _PROPAGATION[tree.propagation]))
    return [*made, ("change_directory", spec.cwd), ("program", spec.args[0], spec.env)]


def _is_bind(mount: "Mount") -> bool:
    return mount.type == "bind" or any(option in _BINDS for option in mount.options)


def _mount(mount: "Mount", bundle: str, tree: Rootfs) -> "list[Operation]":
    if _is_bind(mount):
        source = mount.source if mount.source[:1] == "/" else f"{bundle}/{mount.source}"
        return [("mount", source, mount.destination, "bind", _bind_numbers(mount), "")]
    if mount.type in ("cgroup", "cgroup2"):
        return _cgroups(mount, tree)
    flags, data = 0, []
    for option in mount.options:
        setting = _NEW.get(option)
        if setting:
            flags = (flags | setting[0]) & ~setting[1]
        elif option == "tmpcopyup" and mount.type == "tmpfs":
            flags |= _COPY_UP
        elif option not in _PROPAGATION and not option.startswith(_IGNORED):
            data.append(option)
    if mount.destination.rstrip("/") == "/dev":
        flags &= ~MS_RDONLY  # until its nodes are there
    numbers = (flags, 0, 0, 0, 0, *_propagations(mount))
    return [("mount", mount.source, mount.destination, mount.type, numbers, ",".join(data))]


def _bind_numbers(mount: "Mount") -> "tuple[int, ...]":
    flags = MS_BIND
    numbers = [0, 0, 0, 0]  # set and clear, of the mount itself and of all below
    for option in mount.options:
        recursive = 2 if option not in _BOUND and option[1:] in _BOUND and option[:1] == "r" else 0
        setting = _BOUND.get(option[1:] if recursive else option)
        flags |= _BINDS.get(option, 0)
        if setting:
            numbers[recursive] = (numbers[recursive] & ~setting[1]) | setting[0]
            numbers[recursive + 1] = (numbers[recursive + 1] & ~setting[0]) | setting[1]
    return (flags, *numbers, *_propagations(mount))


def _propagations(mount: "Mount") -> "tuple[int, ...]":
    return tuple(_PROPAGATION[option] for option in mount.options if option in _PROPAGATION)


def _cgroups(mount: "Mount", tree: Rootfs) -> "list[Operation]":
    """Return the container's cgroups, bound: below a directory each, if they are of version 1."""
    attributes = _bind_numbers(mount)
    top = mount.destination.rstrip("/")
    if len(tree.groups) == 1 and tree.groups[0][0] == "cgroup2":
        return [("mount", tree.groups[0][1], top, "bind", attributes, "")]
    made: list[Operation] = [("mount", "tmpfs", top, "tmpfs", (2 | 4 | 8, 0, 0, 0, 0), "mode=755")]
    for controllers, directory in tree.groups:
        name = controllers.removeprefix("name=") if controllers != "cgroup2" else "unified"
        made.append(("mount", directory, f"{top}/{name}", "bind", attributes, ""))
        made += [("rootfs_link", name, f"{top}/{one}") for one in name.split(",") if one != name]
    return [*made, ("read_only_path", top)] if attributes[1] & 1 else made


def _devices(tree: Rootfs) -> "list[Operation]":
    listed = {device.path for device in tree.devices}
    made: list[Operation] = [
        ("rootfs_node", f"/dev/{name}", _S_IFCHR | 0o666, major, minor, 0, 0)
        for name, major, minor in NODES
        if f"/dev/{name}" not in listed
    ]
    for device in tree.devices:
        numbers = (device.major, device.minor, device.uid, device.gid)
        made.append(("rootfs_node", device.path.rstrip("/"), _TYPES[device.type] | device.mode, *numbers))
    return [*made, *(("rootfs_link", target, path) for target, path in LINKS)]
