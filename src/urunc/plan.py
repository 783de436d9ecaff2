"""What to do, as data: two pure functions of the spec, the unikernel and the facts.

The one rule: nothing here asks the machine, reads the environment or looks at a clock.
"""

from ._record import Record
from .errors import HostError, SpecError, UnikernelError
from .monitors import Machine
from .unikernels import Boot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .annotations import Unikernel
    from .bundle import Spec
    from .facts import File, Host, Network
    from .monitors import Monitor
    from .unikernels import Guest

    Operation = tuple[object, ...]

# include/uapi/linux/sched.h
CLONE_NEW = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
# asm-generic/resource.h
RLIMITS = (
    *("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC"),
    *("RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE"),
    *("RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"),
)
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8  # MOUNT_ATTR_*, mount_setattr(2)
S_IFCHR = 0o020000
ROOT_BYTES = 16 << 20  # of the monitor's tmpfs: directories, nodes and small files
MIB = 1 << 20
MONITOR_TREE = ".monitor"  # where the prepared tree is in the monitor's root


class Plan(Record):
    """Operations for the executor (plan.h) and the files whose descriptors it finds in slots 1, 2, ..."""

    operations: "tuple[Operation, ...]"
    files: "tuple[File, ...]" = ()


def sandbox(spec: "Spec") -> Plan:
    """Return what must exist before hooks and CNI can run: the namespaces, with urunc-init waiting in them."""
    joins, flags = [], CLONE_NEW["mount"]  # the monitor's root is its own whatever the spec says
    for namespace in spec.namespaces:
        kind = CLONE_NEW.get(namespace.type)
        if kind is None or (namespace.type == "mount" and namespace.path):
            joined = f" by path {namespace.path}" if namespace.path else ""
            raise SpecError(f"namespace {namespace.type}{joined} is not supported: remove it from linux.namespaces")
        if namespace.path:
            joins.append(("join", kind, namespace.path))
        else:
            flags |= kind
    return Plan(operations=(("stage", "sandbox"), *joins, ("clone", flags)))


def monitor(  # noqa: PLR0913, PLR0917  all that the last decision is made of
    spec: "Spec",
    chosen: "Monitor",
    machine: Machine,
    host: "Host",
    network: "Network",
    console: str = "",
    wait_hooks: "tuple[Operation, ...]" = (),
    start_hooks: "tuple[Operation, ...]" = (),
) -> Plan:
    """Return how urunc-init becomes the monitor of `machine`.

    `console` is the path of --console-socket; the hooks are those of createContainer and of startContainer.
    """
    if network.interfaces:
        raise SpecError(
            f"the container's network ({', '.join(network.interfaces)}) cannot be given to a guest yet:"
            " run it without a network (ctr run without --cni, docker run --network none)"
        )
    slots = {file.role: number for number, file in enumerate(host.files, 1)}
    slots |= {"tree": len(slots) + 1, "console": len(slots) + 2}
    operations = (
        ("stage", "root"),
        *_root(chosen, host, machine, slots),
        *_console(spec, console, slots["console"]),
        *_rootfs(spec, start_hooks),
        ("stage", "wait"),
        # from here on: a client waits for the end of create's own streams before it starts a container with a terminal
        *([("terminal", slots["console"])] if spec.terminal else []),
        *wait_hooks,
        ("stage", "enter"),
        *_enter(spec, host, slots, start_hooks),
        ("stage", "exec"),
        *_credentials(spec),
        ("exec", "/" + host.binary.lstrip("/"), chosen.argv(machine), ()),
    )
    return Plan(operations=operations, files=host.files)


def check_pair(guest: "Guest", chosen: "Monitor") -> None:
    """Raise UnikernelError if the framework does not run on the monitor."""
    if chosen.name not in guest.monitors:
        raise UnikernelError(
            f'unikernelType "{guest.name}" does not run on hypervisor "{chosen.name}":'
            f" use one of {', '.join(guest.monitors)}"
        )


def machine_of(spec: "Spec", unikernel: "Unikernel", guest: "Guest", chosen: "Monitor", host: "Host") -> Machine:
    """Return the virtual machine that the monitor is to make; the pair has been checked."""
    paths = {file.role: f"/guest/{file.role}" for file in host.files}
    for file in host.files:
        if file.role == "kernel" and not set(file.kinds) & set(chosen.kernels):
            raise UnikernelError(
                f"binary {file.name} is {' '.join(file.kinds)}: {chosen.name} loads {', '.join(chosen.kernels)}"
            )
    kernel_words = next((k.cmdline for k in host.config.kernels if k.name == unikernel.kernel), "")
    boot = Boot(monitor=chosen.name, args=_args(spec, unikernel), env=spec.env, initrd="initrd" in paths)
    words = guest.words(boot)
    return Machine(
        binary=host.binary,
        accelerator=accelerator(unikernel.accelerator or host.config.accelerator, chosen, host.kvm),
        memory_mib=_memory_mib(spec, host),
        vcpus=_vcpus(spec, host),
        kernel=paths["kernel"],
        initrd=paths.get("initrd", ""),
        words=(f"{kernel_words} {words[0]}", *words[1:]) if kernel_words else words,
    )


def accelerator(wanted: str, chosen: "Monitor", kvm: str) -> str:
    """Return kvm, tcg or none; HostError if what is wanted does not work (DESIGN section 4)."""
    if chosen.kvm == "none":
        return "none"
    if wanted == "tcg" or (wanted == "auto" and chosen.kvm == "optional" and kvm != "full"):
        if chosen.kvm == "needed":
            raise HostError(f"accelerator tcg: {chosen.name} has none, it needs KVM: use hypervisor qemu")
        return "tcg"
    if kvm == "none":
        raise HostError("accelerator kvm: /dev/kvm does not work here: enable virtualization, or use accelerator tcg")
    return "kvm"


def _args(spec: "Spec", unikernel: "Unikernel") -> "tuple[str, ...]":
    # published images are started with the placeholder `unikernel`; their command line is the annotation's
    if spec.args in ((), ("unikernel",)) and unikernel.cmdline:
        return tuple(unikernel.cmdline.split())
    return spec.args


def _memory_mib(spec: "Spec", host: "Host") -> int:
    if not spec.memory_limit_bytes:
        return host.config.default_memory_mib
    if spec.memory_limit_bytes < MIB:
        raise SpecError(f"linux.resources.memory.limit of {spec.memory_limit_bytes} bytes: a guest needs 1 MiB or more")
    return spec.memory_limit_bytes // MIB


def _vcpus(spec: "Spec", host: "Host") -> int:
    if spec.cpu_quota_us <= 0:
        return 1
    period = spec.cpu_period_us or 100_000  # the kernel's default
    return max(1, min(-(-spec.cpu_quota_us // period), host.cpus))


def _root(chosen: "Monitor", host: "Host", machine: Machine, slots: "dict[str, int]") -> "list[Operation]":
    operations: list[Operation] = [
        ("root", ROOT_BYTES, 0o755),
        ("directory", "dev", 0o755),
        ("directory", "guest", 0o755),
        ("directory", "tmp", 0o1777),
        ("directory", MONITOR_TREE, 0o755),
        ("clone_tree", slots["tree"], host.tree, RDONLY | NOSUID | NODEV),
    ]
    operations += [("symlink", f"{MONITOR_TREE}/{entry}", entry) for entry in host.entries]
    nodes = (*chosen.nodes, *((("dev/kvm", 10, 232),) if machine.accelerator == "kvm" else ()))
    operations += [("node", path, S_IFCHR | 0o666, major, minor) for path, major, minor in nodes]
    for file in host.files:
        operations.append(("file", f"guest/{file.role}", 0o444, b""))
        operations.append(("clone_file", slots[file.role], RDONLY | NOSUID | NODEV | NOEXEC))
    return operations


def _console(spec: "Spec", console: str, slot: int) -> "list[Operation]":
    if not spec.terminal:
        return []
    rows, columns = spec.console_size
    return [("console", slot, console, rows, columns, spec.uid, spec.gid)]


def _rootfs(spec: "Spec", start_hooks: "tuple[Operation, ...]") -> "list[Operation]":
    return [("clone_tree", ROOTFS_SLOT, spec.rootfs, 0)] if start_hooks else []


ROOTFS_SLOT = 32  # of the container's rootfs, for startContainer hooks


def _enter(
    spec: "Spec", host: "Host", slots: "dict[str, int]", start_hooks: "tuple[Operation, ...]"
) -> "list[Operation]":
    operations: list[Operation] = []
    if spec.oom_score_adj is not None:
        operations.append(("oom_score_adj", spec.oom_score_adj))
    operations += [("attach_root",), ("attach", slots["tree"], MONITOR_TREE)]
    operations += [("attach", slots[file.role], f"guest/{file.role}") for file in host.files]
    own_uts = any(namespace.type == "uts" and not namespace.path for namespace in spec.namespaces)
    if (spec.hostname or spec.domainname) and not own_uts:
        raise SpecError("unable to set hostname without a private UTS namespace: add uts to linux.namespaces")
    operations += [("hostname", spec.hostname)] if spec.hostname else []
    operations += [("domainname", spec.domainname)] if spec.domainname else []
    return [*operations, ("pivot_root",), *start_hooks]


def _credentials(spec: "Spec") -> "list[Operation]":
    """Return stage exec in the order of DESIGN section 5; a monitor needs no capability of the spec."""
    operations: list[Operation] = [
        ("rlimit", RLIMITS.index(limit.type), _signed(limit.soft), _signed(limit.hard)) for limit in spec.rlimits
    ]
    if spec.umask >= 0:
        operations.append(("umask", spec.umask))
    return [
        *operations,
        ("bounding_set", 0),
        ("groups", spec.groups),
        ("user", spec.uid, spec.gid),
        ("capabilities", 0, 0, 0, 0),
        ("no_new_privileges",),
    ]


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value  # RLIM_INFINITY


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
