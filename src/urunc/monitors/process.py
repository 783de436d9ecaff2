"""The process monitor: no virtual machine, but the container's own process, in its rootfs.  Pure.

The one rule: it is for conformance suites, whose containers are ordinary programs: it runs in the place, the cage and
the moment of a monitor, only where the host's configuration says so, and never in silence.
"""

from .._record import Record, replace
from ..errors import SpecError
from ..mount_flags import MS_RDONLY, MS_REC, PROPAGATION, bind_numbers, is_bind, new_flags, propagations
from ..slots import MOUNT_SLOT, SOURCE_SLOT, SOURCE_SLOTS
from . import Machine, Monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec import Mount, Spec

    Operation = tuple[object, ...]

WARNING = (
    "the process monitor is in use: this container is no virtual machine, its process runs on the kernel of the host:"
    " unset process_monitor in the configuration for anything but tests"
)
_IN_ROOTFS, _SLOT_SHIFT = 1 << 33, 40  # FP_IN_ROOTFS, FP_SOURCE_SLOT
_SOURCES = range(SOURCE_SLOT, SOURCE_SLOT + SOURCE_SLOTS)

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


def ptmx(spec: "Spec") -> str:
    """Return where the container's own devpts makes terminals, "" if it has none: then they are of the caller's."""
    found = [mount.destination for mount in spec.mounts if mount.type == "devpts" and not is_bind(mount)]
    return found[-1].rstrip("/") + "/ptmx" if found else ""


def terminal_of(spec: "Spec", slot: int) -> "list[Operation]":
    """Return what makes the terminal of the container's own devpts, which is mounted by now, and takes it."""
    if not (spec.terminal and ptmx(spec)):
        return []
    return [("rootfs_terminal", slot, ptmx(spec), *spec.console_size, spec.uid), ("terminal", slot)]


def rootfs(spec: "Spec", tree: Rootfs, console: int = -1) -> "list[Operation]":
    """Return how the rootfs becomes what the process sees, before its hooks: mounts, devices, sysctls.

    `console` is the slot for its terminal, if it has one.
    """
    made: list[Operation] = [("rootfs", spec.rootfs), ("attach_root",)]
    slots = dict(sources(spec))
    for mount in spec.mounts:
        made += _mount(spec, mount, tree, slots.get(mount, 0))
    made += terminal_of(spec, console)
    if not any(is_bind(mount) and mount.destination.rstrip("/") == "/dev" for mount in spec.mounts):
        made += _devices(tree)
        made += [("rootfs_console",)] if spec.terminal else []
    for mount in spec.mounts:
        if mount.destination.rstrip("/") == "/dev" and "ro" in mount.options and not is_bind(mount):
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
        made.append(("propagation", PROPAGATION[tree.propagation]))
    return [*made, ("change_directory", spec.cwd), ("program", spec.args[0], spec.env)]


def _source(spec: "Spec", mount: "Mount") -> str:
    return mount.source if mount.source[:1] == "/" else f"{spec.bundle}/{mount.source}"


def sources(spec: "Spec") -> "list[tuple[Mount, int]]":
    """Return which bind mounts have their source opened outside, and in which slots.

    Those of a user namespace, whose root may not reach it; without slots left it has to.
    """
    if all(namespace.type != "user" for namespace in spec.namespaces):
        return []
    inside = spec.rootfs + "/"
    bound = [mount for mount in spec.mounts if is_bind(mount) and not _source(spec, mount).startswith(inside)]
    return list(zip(bound, _SOURCES, strict=False))


def opened(spec: "Spec") -> "list[Operation]":
    """Return the operations of stage root that open them."""
    return [
        ("source", slot, _source(spec, mount), int(bind_numbers(mount)[0] & MS_REC != 0))
        for mount, slot in sources(spec)
    ]


def _mount(spec: "Spec", mount: "Mount", tree: Rootfs, slot: int) -> "list[Operation]":
    if mount.destination.startswith(spec.rootfs + "/"):  # as runc has it: a path of the host is meant
        mount = replace(mount, destination=mount.destination.removeprefix(spec.rootfs))
    if is_bind(mount):
        source, (flags, *rest) = _source(spec, mount), bind_numbers(mount)
        if source.startswith(spec.rootfs + "/"):
            source, flags = source.removeprefix(spec.rootfs), flags | _IN_ROOTFS
        return [("mount", source, mount.destination, "bind", (flags | slot << _SLOT_SHIFT, *rest), "")]
    if mount.type in ("cgroup", "cgroup2"):
        return _cgroups(mount, tree)
    flags, data = new_flags(mount)
    if mount.destination.rstrip("/") == "/dev":
        flags &= ~MS_RDONLY  # until its nodes are there
    numbers = (flags, 0, 0, 0, 0, *propagations(mount))
    return [("mount", mount.source, mount.destination, mount.type, numbers, data)]


def _cgroups(mount: "Mount", tree: Rootfs) -> "list[Operation]":
    """Return the container's cgroups, bound: below a directory each, if they are of version 1."""
    attributes = bind_numbers(mount)
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
