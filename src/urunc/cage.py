"""What config.json asks of the cage beside users and limits: labels, scheduling, clocks, the seccomp profile.

The one rule: what is asked for is taken over whole or refused by name; nothing of it is passed over in silence.
"""

from . import _fastpath
from ._record import Record
from .errors import SpecError
from .jsontext import fields, known, rows, strings, table, table_unread, text, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# include/uapi/linux/sched.h, ioprio.h, personality.h
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = (
    *("SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_KEEP_POLICY"),
    *("SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"),
)
IO_CLASSES = ("IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
CLOCKS = ("monotonic", "boottime")
# include/uapi/linux/mempolicy.h
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13}
_NODES = 1024  # of the largest kernel
_MAX_U32, _MAX_U64 = 2**32 - 1, 2**64 - 1


class Scheduler(Record):
    """process.scheduler, by the numbers of sched_setattr(2); times in nanoseconds."""

    policy: int
    flags: int
    nice: int
    priority: int
    runtime_ns: int
    deadline_ns: int
    period_ns: int


class MemoryPolicy(Record):
    """linux.memoryPolicy, by the numbers of set_mempolicy(2): MPOL_* and MPOL_F_* together, and the nodes."""

    mode: int
    nodes: "tuple[int, ...]"


class Cage(Record):
    """What is asked for: "", None or () where nothing is.

    `io_priority` is class and level (ioprio_set(2)), `personality` a number of personality(2), `time_offsets` are
    clock, seconds and nanoseconds (time_namespaces(7)); `seccomp` is the profile, an object.
    """

    selinux_label: str = ""
    mount_label: str = ""
    apparmor_profile: str = ""
    io_priority: "tuple[int, int] | None" = None
    scheduler: "Scheduler | None" = None
    personality: "int | None" = None
    time_offsets: "tuple[tuple[str, int, int], ...]" = ()
    seccomp: "_fastpath.Json | None" = None
    memory_policy: "MemoryPolicy | None" = None
    intel_rdt: str = ""  # the names of fields that a unikernel cannot have, where they are given
    net_devices: str = ""


NONE = Cage()


def load(document: "Mapping[str, object]") -> Cage:
    """Return what a config.json asks for; SpecError names what cannot be."""
    found = fields(document, "config.json: ", _FIELDS)
    del found["affinity"]  # checked, and by the runtime-spec not for the process that create makes
    return Cage(**found)


def check(cage: Cage) -> None:
    """Raise SpecError for what no unikernel can be given; an ordinary container may have it."""
    for where in (cage.intel_rdt, cage.net_devices):
        if where:
            raise SpecError(f"{where} is not supported: remove it")


def _given(value: object, where: str) -> str:
    return where if table(value, where) else ""


def _numbers(value: object, where: str, names: "Mapping[str, int]") -> int:
    return names[known(value, where, tuple(names), "%s is none of " + ", ".join(names))]


def _policy(value: object, where: str) -> int:
    return _numbers(value, where, POLICIES)


def _flags(value: object, where: str) -> int:
    flags = 0
    for name in strings(value, where):
        flags |= 1 << SCHEDULER_FLAGS.index(known(name, where, SCHEDULER_FLAGS, "%s is no scheduler flag"))
    return flags


def _scheduler(value: object, where: str) -> "Scheduler | None":
    return None if value is None else Scheduler(**fields(table(value, where), where + ".", _SCHEDULER))


def _io_priority(value: object, where: str) -> "tuple[int, int] | None":
    if value is None:
        return None
    priority = table(value, where)
    name = known(priority.get("class"), f"{where}.class", IO_CLASSES, "%s is none of " + ", ".join(IO_CLASSES))
    return IO_CLASSES.index(name), whole(priority.get("priority"), f"{where}.priority", 0, 7)


def _personality(value: object, where: str) -> "int | None":
    if value is None:
        return None
    persona = table(value, where)
    if strings(persona.get("flags"), f"{where}.flags"):
        raise SpecError(f"{where}.flags are not supported: remove them")  # the runtime-spec defines none
    return _numbers(persona.get("domain"), f"{where}.domain", PERSONALITIES)


def _memory_policy(value: object, where: str) -> "MemoryPolicy | None":
    if value is None:
        return None
    policy = table(value, where)
    unknown = f"invalid memory policy mode %s: none of {', '.join(MEMORY_MODES)}"
    mode = MEMORY_MODES[known(policy.get("mode"), f"{where}.mode", tuple(MEMORY_MODES), unknown)]
    flags = 0
    for name in strings(policy.get("flags"), f"{where}.flags"):
        flags |= MEMORY_FLAGS[known(name, f"{where}.flags", tuple(MEMORY_FLAGS), "invalid memory policy flag %s")]
    nodes = _node_list(text(policy.get("nodes"), f"{where}.nodes"), f"{where}.nodes")
    if nodes and mode in (MEMORY_MODES["MPOL_DEFAULT"], MEMORY_MODES["MPOL_LOCAL"]):
        raise SpecError(f"{where}: mode requires 0 nodes but got {len(nodes)}: remove nodes, or give another mode")
    return MemoryPolicy(mode=mode | flags, nodes=nodes)


def _node_list(given: str, where: str) -> "tuple[int, ...]":
    """A list as of cpuset(7): "0-3,7"."""
    nodes: set[int] = set()
    for part in given.split(",") if given else ():
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        numbers = [int(end) for end in ends if end.isdecimal() and end.isascii() and len(end) <= 4]
        if len(numbers) < 2 or not numbers[0] <= numbers[1] < _NODES:
            raise SpecError(f"{where}: invalid memory policy nodes {given}: give a list of numbers below {_NODES}")
        nodes |= set(range(numbers[0], numbers[1] + 1))
    return tuple(sorted(nodes))


def _time_offsets(value: object, where: str) -> "tuple[tuple[str, int, int], ...]":
    offsets = []
    for clock, offset in table(value, where).items():
        known(clock, where, CLOCKS, "%s is no clock of a time namespace: use monotonic or boottime")
        row = table(offset, f"{where}.{clock}")
        seconds = whole(row.get("secs"), f"{where}.{clock}.secs", -(2**63), 2**63 - 1)
        offsets.append((clock, seconds, whole(row.get("nanosecs"), f"{where}.{clock}.nanosecs", 0, 999_999_999)))
    return tuple(offsets)


def _profile(value: object, where: str) -> "_fastpath.Json | None":
    return None if value is None else table_unread(value, where)


_SCHEDULER = rows(
    ("policy", "policy", _policy),
    ("flags", "flags", _flags),
    ("nice", "nice", whole, -20, 19),
    ("priority", "priority", whole, 0, 99),
    ("runtime_ns", "runtime", whole, 0, _MAX_U64 // 2),
    ("deadline_ns", "deadline", whole, 0, _MAX_U64 // 2),
    ("period_ns", "period", whole, 0, _MAX_U64 // 2),
)
_FIELDS = rows(
    ("selinux_label", "process.selinuxLabel", text),
    ("apparmor_profile", "process.apparmorProfile", text),
    ("io_priority", "process.ioPriority", _io_priority),
    ("scheduler", "process.scheduler", _scheduler),
    ("affinity", "process.execCPUAffinity", table),
    ("mount_label", "linux.mountLabel", text),
    ("personality", "linux.personality", _personality),
    ("time_offsets", "linux.timeOffsets", _time_offsets),
    ("seccomp", "linux.seccomp", _profile),
    ("intel_rdt", "linux.intelRdt", _given),
    ("memory_policy", "linux.memoryPolicy", _memory_policy),
    ("net_devices", "linux.netDevices", _given),
)
