"""What to do, as data: two pure functions of the spec, the unikernel and the facts.

The one rule: nothing here asks the machine, reads the environment or looks at a clock.
"""

from . import credentials, network, shared, snapshot, storage
from ._record import Record
from .errors import SpecError
from .monitors import EXIT_CODES
from .slots import CONTROL_SLOT, DENIED_SLOT, FIRST_FIXED_SLOT, NIC_SLOT, QMP_SLOT, ROOTFS_SLOT, TIME_SLOT
from .storage import NODEV, NOSUID, RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .credentials import Confinement
    from .facts import Host, Network
    from .image import File
    from .monitors import Machine, Monitor
    from .spec import IdMapping, Spec

    Operation = tuple[object, ...]

# include/uapi/linux/sched.h
CLONE_NEW = {
    "time": 0x00000080,
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
S_IFCHR = 0o020000
ROOT_BYTES = 16 << 20  # of the monitor's tmpfs: directories, nodes and small files
MONITOR_TREE = ".monitor"  # where the prepared tree is in the monitor's root


class Plan(Record):
    """Operations for the executor (plan.h) and the files whose descriptors it finds in slots 1, 2, ..."""

    operations: "tuple[Operation, ...]"
    files: "tuple[File, ...]" = ()


def sandbox(spec: "Spec", groups: "tuple[Operation, ...]" = ()) -> Plan:
    """Return what must exist before hooks and CNI can run: cgroups (cgroup.made, cgroup.settings) and namespaces, with
    urunc-init waiting in them.
    """
    joins: list[Operation] = []
    flags = CLONE_NEW["mount"]  # the monitor's root is its own whatever the spec says, and whatever it joins
    for namespace in spec.namespaces:
        kind = CLONE_NEW[namespace.type]
        if namespace.path:
            joins.append(("join", kind, namespace.path))
        elif namespace.type == "user":
            joins.append(("user_namespace", _map(spec.uid_mappings), _map(spec.gid_mappings)))
        else:
            flags |= kind
    offsets = "".join([f"{clock} {seconds} {nanoseconds}\n" for clock, seconds, nanoseconds in spec.cage.time_offsets])
    if offsets and not flags & CLONE_NEW["time"]:
        raise SpecError("linux.timeOffsets need a new time namespace: add time to linux.namespaces")
    joins += [("time_offsets", offsets)] if offsets else []
    ready = (("ready",),) if spec.prestart or spec.create_runtime else ()
    return Plan(operations=(("stage", "sandbox"), *groups, *joins, ("clone", flags), *ready))


def late_joins(spec: "Spec") -> "list[Operation]":
    """Return what only a process with memory of its own can do (setns(2) of a time namespace)."""
    joined = [namespace for namespace in spec.namespaces if namespace.type == "time" and namespace.path]
    return [("enter_namespace", TIME_SLOT, CLONE_NEW["time"])] if joined else []


def _map(mappings: "tuple[IdMapping, ...]") -> str:
    return "".join([f"{row.container_id} {row.host_id} {row.size}\n" for row in mappings])


def monitor(  # noqa: PLR0913, PLR0917  all that the last decision is made of
    spec: "Spec",
    chosen: "Monitor",
    machine: "Machine",
    host: "Host",
    net: "Network",
    console: str = "",
    wait_hooks: "tuple[Operation, ...]" = (),
    start_hooks: "tuple[Operation, ...]" = (),
    confinement: "Confinement" = credentials.DEFAULT,
) -> Plan:
    """Return how urunc-init becomes the monitor of `machine`.

    `console` is the path of --console-socket; the hooks are those of createContainer and of startContainer.
    """
    slots = _slots(host)
    uid, gid = host.owner or (spec.uid, spec.gid)
    watched = _companion(chosen, machine)
    operations = (
        ("stage", "root"),
        *_root(spec, chosen, host, machine, slots),
        *network.operations(chosen, machine, net, uid, NIC_SLOT),
        *([("control", CONTROL_SLOT)] if machine.control_fd >= 0 else []),
        *([("denied", DENIED_SLOT)] if watched else []),
        *console_of(spec, console, slots["console"], (uid, gid)),
        *_rootfs(spec, start_hooks),
        ("stage", "wait"),
        # from here on: a client waits for the end of create's own streams before it starts a container with a terminal
        *([("terminal", slots["console"])] if spec.terminal else []),
        *late_joins(spec),
        *credentials.before(spec, confinement),
        *wait_hooks,
        ("stage", "enter"),
        *_enter(spec, host, machine, slots, start_hooks),
        *storage.claims(host, machine, slots),
        *storage.released(host, machine, slots, (ROOTFS_SLOT,) if start_hooks else ()),
        ("stage", "exec"),
        *_exec(spec, chosen, machine, host, slots, watched),
    )
    return Plan(operations=operations, files=host.files)


def _slots(host: "Host") -> "dict[str, int]":
    slots = {file.role: number for number, file in enumerate(host.files, 1)}
    slots |= {"tree": len(slots) + 1, "console": len(slots) + 2}
    slots |= {name: slots["console"] + 1 + number for number, name in enumerate(storage.device_slots(host))}
    if max(slots.values()) >= FIRST_FIXED_SLOT:
        raise SpecError(
            f"block: a container takes {FIRST_FIXED_SLOT - 5} block images, of which a device counts twice: remove some"
        )
    return slots


def _root(
    spec: "Spec", chosen: "Monitor", host: "Host", machine: "Machine", slots: "dict[str, int]"
) -> "list[Operation]":
    root_bytes = ROOT_BYTES + shared.initrd_bytes(machine) + snapshot.copied_bytes(host, machine)
    operations: list[Operation] = [
        ("root", root_bytes, 0o755, spec.cage.mount_label),
        ("directory", "dev", 0o755),
        ("directory", "guest", 0o755),
    ]
    if host.tree:
        operations.append(("directory", MONITOR_TREE, 0o755))
        operations.append(("clone_tree", slots["tree"], host.tree, RDONLY | NOSUID | NODEV))
    taken = {path for name, path, *_ in operations if name == "directory"}
    operations += [("symlink", f"{MONITOR_TREE}/{entry}", entry) for entry in host.entries if entry not in taken]
    kvm = (("dev/kvm", 10, 232),) if machine.accelerator == "kvm" else ()
    taps = chosen.tap_nodes if any(nic.linked for nic in machine.nics) else ()
    operations += [("directory", "dev/net", 0o755)] if taps else []
    nodes = (*chosen.nodes, *kvm, *taps)
    operations += [("node", path, S_IFCHR | 0o666, major, minor) for path, major, minor in nodes]
    operations += [("file", path, 0o444, content) for path, content in chosen.files(machine)]
    operations += [("directory", _button(machine), 0o755)] if machine.button else []
    return [*operations, *storage.operations(host, machine, slots), *shared.operations(host, machine, slots)]


def _button(machine: "Machine") -> str:
    return machine.button.rpartition("/")[0].lstrip("/")


def _exec(  # noqa: PLR0913, PLR0917  as `monitor`
    spec: "Spec",
    chosen: "Monitor",
    machine: "Machine",
    host: "Host",
    slots: "dict[str, int]",
    watched: "list[Operation]",
) -> "list[Operation]":
    argv, after_nics = chosen.argv(machine), network.next_fd(machine.nics)
    return [
        *credentials.operations(spec, chosen, machine, shared.capabilities(machine)),
        *watched,
        *shared.kept(machine),
        *network.kept(chosen, machine, NIC_SLOT),
        *([("keep", CONTROL_SLOT, machine.control_fd)] if machine.control_fd >= 0 else []),
        *snapshot.kept(machine, after_nics + 3),
        *storage.kept(host, machine, slots, after_nics + 4),
        *(("seccomp", flags, program) for flags, program in host.filters),
        ("exec_slot", slots["monitor"], argv, ()) if "monitor" in slots else
        ("exec", f"/{MONITOR_TREE}{host.program}", argv, ()),
    ]  # fmt: skip


def console_of(spec: "Spec", console: str, slot: int, owner: "tuple[int, int]") -> "list[Operation]":
    """Return what makes the terminal whose master goes to the socket `console`; nothing if there is to be none."""
    if not spec.terminal:
        return []
    rows, columns = spec.console_size
    return [("console", slot, console, rows, columns, *owner)]


def _rootfs(spec: "Spec", start_hooks: "tuple[Operation, ...]") -> "list[Operation]":
    return [("clone_tree", ROOTFS_SLOT, spec.rootfs, 0)] if start_hooks else []


def _enter(
    spec: "Spec", host: "Host", machine: "Machine", slots: "dict[str, int]", start_hooks: "tuple[Operation, ...]"
) -> "list[Operation]":
    operations: list[Operation] = []
    if spec.oom_score_adj is not None:
        operations.append(("oom_score_adj", spec.oom_score_adj))
    operations.append(("attach_root",))
    if host.tree:
        operations.append(("attach", slots["tree"], MONITOR_TREE))
    operations += [("attach", slots[file.role], f"guest/{file.role}") for file in storage.attached(host, machine)]
    operations += shared.attached(machine)
    operations += [("scratch", _button(machine), spec.uid, spec.gid)] if machine.button else []
    return [*operations, ("read_only",), *names(spec), ("pivot_root",), *start_hooks]


def names(spec: "Spec", *, joined: bool = False) -> "list[Operation]":
    """Return what sets the names of the container's UTS namespace; of one that it joins if `joined`."""
    own_uts = any(namespace.type == "uts" and (joined or not namespace.path) for namespace in spec.namespaces)
    if (spec.hostname or spec.domainname) and not own_uts:
        raise SpecError("unable to set hostname without a private UTS namespace: add uts to linux.namespaces")
    operations: list[Operation] = [("hostname", spec.hostname)] if spec.hostname else []
    return [*operations, *([("domainname", spec.domainname)] if spec.domainname else [])]


def _companion(chosen: "Monitor", machine: "Machine") -> "list[Operation]":
    """Return the step after which the monitor is a child; nothing for the machines that need no companion."""
    code = EXIT_CODES.get(machine.exit_code, 0)
    if not (machine.helpers or code or machine.button):
        return []
    qmp, events = (QMP_SLOT if fd >= 0 else -1 for fd in (machine.qmp_fd, machine.events_fd))
    button = chosen.powerdown if machine.button else ""
    made: list[Operation] = [("companion", code, qmp, events, machine.button, button)]
    kept = max(machine.qmp_fd, machine.events_fd)
    return [*made, ("keep", QMP_SLOT, kept)] if kept >= 0 else made


def text(operations: "tuple[Operation, ...]") -> str:
    """Return a plan for people to read: a line an operation, indented below its stage."""
    lines = []
    for name, *arguments in operations:
        if name == "stage":
            lines.append(f"{arguments[0]}:")
        else:
            lines.append("  ".join(["", str(name), *(_shown(argument) for argument in arguments)]))
    return "\n".join(lines)


def _shown(argument: object) -> str:
    if isinstance(argument, tuple):
        return "[" + ", ".join(_shown(item) for item in argument) + "]"
    return str(argument) if isinstance(argument, int) else repr(argument)
