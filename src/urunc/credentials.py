"""Who the monitor is and what it may do, as operations of a plan.  Pure.

The one rule: the spec bounds what a monitor gets, its table entry what it needs; it has what is in both, and no more.
"""

from ._record import Record
from .slots import APPARMOR_SLOT, SELINUX_SLOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .monitors import Helper, Machine, Monitor
    from .spec import Spec

    Operation = tuple[object, ...]

# asm-generic/resource.h
RLIMITS = (
    *("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC"),
    *("RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE"),
    *("RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"),
)
# include/uapi/linux/capability.h
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
UMASK = 0o022  # where the spec has none, as runc


class Confinement(Record):
    """What of the cage the spec does not say: `keyring` = it gets a session keyring of its own (--no-new-keyring)."""

    keyring: bool = True


DEFAULT = Confinement()


def granted(spec: "Spec", chosen: "Monitor", for_files: int) -> int:
    """Return the capabilities of the monitor as a mask: what its table entry and `for_files` name and the spec has.

    A spec without capabilities says nothing about them; one with some must have them bounding, permitted and effective.
    """
    needed = for_files | _mask(chosen.capabilities)
    given = spec.capabilities
    if given is None:
        return needed
    return needed & _mask(given.bounding) & _mask(given.permitted) & _mask(given.effective)


def before(spec: "Spec", confinement: Confinement) -> "list[Operation]":
    """Return what comes while the host's /proc is in sight, during create: the files of labels must be there."""
    operations: list[Operation] = [("keyring",)] if confinement.keyring else []
    if spec.cage.selinux_label:
        operations.append(("label_file", SELINUX_SLOT, "attr"))
    if _apparmor(spec):
        operations.append(("label_file", APPARMOR_SLOT, "attr/apparmor"))
    return operations


def operations(spec: "Spec", chosen: "Monitor", machine: "Machine", for_files: int) -> "list[Operation]":
    """Return the end of stage exec, in an order in which each step still has the privilege for it.

    The monitor's capabilities are ambient ones, as its user need not be root.  Helpers have credentials of their own.
    Whoever is their parent may end them whatever their user, and loses that by exec.
    """
    mask = granted(spec, chosen, for_files)
    kept = mask | (1 << CAPABILITIES.index("KILL") if machine.helpers else 0)
    return [
        *(("rlimit", RLIMITS.index(limit.type), _signed(limit.soft), _signed(limit.hard)) for limit in spec.rlimits),
        # a core would be the guest's memory, in the hands of a program of the host's
        *([] if any(limit.type == "RLIMIT_CORE" for limit in spec.rlimits) else [("no_core",)]),
        ("umask", spec.umask if spec.umask >= 0 else UMASK),
        *_scheduling(spec),
        *(_helper(helper) for helper in machine.helpers),
        ("bounding_set", mask),
        ("groups", tuple(dict.fromkeys(spec.groups))),
        ("user", spec.uid, spec.gid),
        ("capabilities", kept, kept, mask, mask),
        ("no_new_privileges",),
        *([("label", SELINUX_SLOT, spec.cage.selinux_label)] if spec.cage.selinux_label else []),
        *([("label", APPARMOR_SLOT, f"exec {_apparmor(spec)}")] if _apparmor(spec) else []),
    ]


def _helper(helper: "Helper") -> "Operation":
    mask = sum(1 << capability for capability in helper.capabilities)
    return (
        "helper",
        helper.slot,
        helper.path,
        helper.argv,
        helper.env,
        helper.uid,
        helper.gid,
        mask,
        int(helper.quiet),
    )


def _scheduling(spec: "Spec") -> "list[Operation]":
    cage = spec.cage
    made: list[Operation] = []
    if cage.io_priority:
        made.append(("io_priority", *cage.io_priority))
    if cage.scheduler:
        made.append(("scheduler", *(getattr(cage.scheduler, field) for field in cage.scheduler.__slots__)))
    if cage.memory_policy:
        made.append(("memory_policy", cage.memory_policy.mode, cage.memory_policy.nodes))
    if cage.personality is not None:
        made.append(("personality", cage.personality))
    return made


def _apparmor(spec: "Spec") -> str:
    profile = spec.cage.apparmor_profile
    return "" if profile == "unconfined" else profile


def _mask(names: "tuple[str, ...]") -> int:
    """A name that is no capability of ours is in no set, as with runc."""
    mask = 0
    for name in names:
        short = name.removeprefix("CAP_")
        if short in CAPABILITIES:
            mask |= 1 << CAPABILITIES.index(short)
    return mask


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value  # RLIM_INFINITY
