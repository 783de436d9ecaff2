"""linux.resources -> Resources: the limits of a container (runtime-spec, config-linux.md#control-groups).

The one rule: what is asked for is checked here for its form; whether a machine can give it, cgroup.py decides.
"""

from ._record import Record
from .errors import SpecError
from .jsontext import fields, flag, known, pairs, quote, records, rows, text, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    Rates = tuple["Rate", ...]

_I64, _U64, _U32 = 2**63 - 1, 2**64 - 1, 2**32 - 1
DEVICE_TYPES = ("", "a", "b", "c", "u")


class Device(Record):
    """devices[]: `type` a, b or c; major and minor -1 = any; `access` of the letters r, w and m."""

    allow: bool
    type: str
    major: int
    minor: int
    access: str


class Node(Record):
    """linux.devices[]: what the container's /dev would have at `path`."""

    type: str
    path: str
    major: int
    minor: int


class Rate(Record):
    """blockIO.throttle*[]: bytes or operations in a second."""

    major: int
    minor: int
    rate: int


class Weight(Record):
    """blockIO.weightDevice[]: 10 to 1000, 0 = unset."""

    major: int
    minor: int
    weight: int
    leaf_weight: int


class HugePages(Record):
    """hugepageLimits[]: bytes of pages of a size such as 2MB."""

    size: str
    limit: int


class Priority(Record):
    """network.priorities[]: of what leaves by the interface `name`."""

    name: str
    priority: int


class Rdma(Record):
    """A value of rdma: -1 = unset."""

    device: str
    handles: int
    objects: int


class Resources(Record):
    """What is asked for; bytes, microseconds.

    0, "" and None are "not asked for", as for runc, -1 is "unlimited".  None is there where 0 means something.
    """

    memory_limit: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_kernel: int = 0
    memory_kernel_tcp: int = 0
    memory_swappiness: "int | None" = None
    disable_oom_killer: bool = False
    memory_check: bool = False  # checkBeforeUpdate: refuse a limit below what is used
    cpu_shares: int = 0
    cpu_quota: int = 0
    cpu_burst: "int | None" = None
    cpu_period: int = 0
    cpu_rt_runtime: int = 0
    cpu_rt_period: int = 0
    cpus: str = ""
    mems: str = ""
    cpu_idle: "int | None" = None
    pids_limit: int = 0
    blkio_weight: int = 0
    blkio_leaf_weight: int = 0
    blkio_weights: "tuple[Weight, ...]" = ()
    blkio_read_bps: "Rates" = ()
    blkio_write_bps: "Rates" = ()
    blkio_read_iops: "Rates" = ()
    blkio_write_iops: "Rates" = ()
    huge_pages: "tuple[HugePages, ...]" = ()
    class_id: int = 0
    priorities: "tuple[Priority, ...]" = ()
    rdma: "tuple[Rdma, ...]" = ()
    unified: "tuple[tuple[str, str], ...]" = ()
    devices: "tuple[Device, ...]" = ()


NONE = Resources()


def of(value: object, where: str) -> Resources:
    """Return the resources of the object `value`, NONE for None.  SpecError names the field, from `where` on."""
    if value is None:
        return NONE
    if not isinstance(value, dict):
        raise SpecError(f"{where} must be an object")
    return Resources(**fields(value, where + ".", _RESOURCES)) if value else NONE


def limit(value: object, where: str, unlimited: int = -1) -> int:
    """Return a limit; `unlimited` for what is negative."""
    return max(whole(value, where, -_I64 - 1, _I64), unlimited)


def _maybe(value: object, where: str, most: int) -> "int | None":
    return None if value is None else whole(value, where, 0, most)


def _line(value: object, where: str) -> str:
    line = text(value, where)
    if "\n" in line or line != line.strip():
        raise SpecError(f"{where} {quote(line)} must be one line without blanks around it")
    return line


def _access(value: object, where: str) -> str:
    access = text(value, where)
    if not set(access) <= set("rwm"):
        raise SpecError(f"{where} {quote(access)} must be of the letters r, w and m")
    return access


def _rdma(value: object, where: str) -> "tuple[Rdma, ...]":
    if value is not None and not isinstance(value, dict):
        raise SpecError(f"{where} must be an object")
    found = []
    for name, entry in sorted((value or {}).items()):
        place = f"{where}[{quote(name)}]"
        if not isinstance(entry, dict):
            raise SpecError(f"{place} must be an object")
        found.append(Rdma(device=_line(name, place), **fields(entry, place + ".", _RDMA)))
    return tuple(found)


def _unified(value: object, where: str) -> "tuple[tuple[str, str], ...]":
    found = pairs(value, where)
    for name, _ in found:
        if "/" in name or name in ("", ".", ".."):
            raise SpecError(f"{where}: unified resource {quote(name)} must be a file name (no slashes)")
    return found


_PAIR = (("major", "major", whole, -1, _U32), ("minor", "minor", whole, -1, _U32))
_RATE = rows(*_PAIR, ("rate", "rate", whole, 0, _U64))
_WEIGHT = rows(*_PAIR, ("weight", "weight", whole, 0, 1000), ("leaf_weight", "leafWeight", whole, 0, 1000))
_HUGE_PAGES = rows(("size", "pageSize", _line), ("limit", "limit", whole, 0, _U64))
_PRIORITY = rows(("name", "name", _line), ("priority", "priority", whole, 0, _U32))
_RDMA = rows(("handles", "hcaHandles", whole, 0, _U32, -1), ("objects", "hcaObjects", whole, 0, _U32, -1))
_DEVICE = rows(
    ("allow", "allow", flag),
    ("type", "type", known, DEVICE_TYPES, "invalid device type %s: use a, b or c"),
    ("major", "major", whole, -1, _U32, -1),
    ("minor", "minor", whole, -1, _U32, -1),
    ("access", "access", _access),
)
NODE = rows(
    ("type", "type", text),
    ("path", "path", text),
    ("major", "major", whole, 0, _U32),
    ("minor", "minor", whole, 0, _U32),
)
_RESOURCES = rows(
    ("memory_limit", "memory.limit", limit),
    ("memory_reservation", "memory.reservation", limit),
    ("memory_swap", "memory.swap", limit),
    ("memory_kernel", "memory.kernel", limit),
    ("memory_kernel_tcp", "memory.kernelTCP", limit),
    ("memory_swappiness", "memory.swappiness", _maybe, 200),
    ("disable_oom_killer", "memory.disableOOMKiller", flag),
    ("memory_check", "memory.checkBeforeUpdate", flag),
    ("cpu_shares", "cpu.shares", whole, 0, _U64),
    ("cpu_quota", "cpu.quota", limit),
    ("cpu_burst", "cpu.burst", _maybe, _U64),
    ("cpu_period", "cpu.period", whole, 0, _U64),
    ("cpu_rt_runtime", "cpu.realtimeRuntime", limit),
    ("cpu_rt_period", "cpu.realtimePeriod", whole, 0, _U64),
    ("cpus", "cpu.cpus", _line),
    ("mems", "cpu.mems", _line),
    ("cpu_idle", "cpu.idle", _maybe, 1),
    ("pids_limit", "pids.limit", limit),
    ("blkio_weight", "blockIO.weight", whole, 0, 1000),
    ("blkio_leaf_weight", "blockIO.leafWeight", whole, 0, 1000),
    ("blkio_weights", "blockIO.weightDevice", records, Weight, _WEIGHT),
    ("blkio_read_bps", "blockIO.throttleReadBpsDevice", records, Rate, _RATE),
    ("blkio_write_bps", "blockIO.throttleWriteBpsDevice", records, Rate, _RATE),
    ("blkio_read_iops", "blockIO.throttleReadIOPSDevice", records, Rate, _RATE),
    ("blkio_write_iops", "blockIO.throttleWriteIOPSDevice", records, Rate, _RATE),
    ("huge_pages", "hugepageLimits", records, HugePages, _HUGE_PAGES),
    ("class_id", "network.classID", whole, 0, _U32),
    ("priorities", "network.priorities", records, Priority, _PRIORITY),
    ("rdma", "rdma", _rdma),
    ("unified", "unified", _unified),
    ("devices", "devices", records, Device, _DEVICE),
)
