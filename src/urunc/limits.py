"""Resources -> what is written into which file of a cgroup, for version 1 and for cgroup2.  Pure.

The one rule: what a version does not have is an error that names the field, never left out.
"""

from ._record import Record
from .errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .resources import Resources

    Rows = list[tuple[str, str | tuple[str, ...], str | tuple[str, ...], str]]

_WEIGHTS = 262_142  # of cpu.shares: from 2 to 2^18


class Write(Record):
    """What a limit is: `values` for the one of `files`, each in turn; of several files the first that is there,
    and its own value.  `limit` names it in errors.
    """

    controller: str
    files: "tuple[str, ...]"
    values: "tuple[str, ...]"
    limit: str


def writes(resources: "Resources", overhead_bytes: int, *, unified: bool) -> "tuple[Write, ...]":
    """Return what is to be written for `resources`, in an order in which a new cgroup takes it."""
    r = resources
    if r.memory_limit > 0:
        memory = r.memory_limit + overhead_bytes
        swap = r.memory_swap + overhead_bytes if r.memory_swap > 0 else r.memory_swap
    else:
        memory, swap = r.memory_limit, r.memory_swap
    if swap > 0 and memory <= 0:
        raise SpecError("linux.resources.memory.swap: unable to set swap limit without memory limit")
    if 0 < swap < memory:
        raise SpecError("linux.resources.memory.swap: memory+swap limit should be >= memory limit")
    reservation = r.memory_reservation + overhead_bytes if r.memory_reservation > 0 else r.memory_reservation
    if unified:
        found = [*_memory2(r, memory, swap, reservation), *_cpu2(r), *_io2(r)]
        _refuse(((r.class_id, "network.classID"), (r.priorities, "network.priorities")))
    else:
        found = [*_memory1(r, memory, swap, reservation), *_cpu1(r), *_io1(r), *_net1(r)]
    found += [("cpuset", "cpuset.cpus", r.cpus, "cpu.cpus"), ("cpuset", "cpuset.mems", r.mems, "cpu.mems")]
    found += [("pids", "pids.max", _max(r.pids_limit) if r.pids_limit else "", "pids.limit"), *_huge(r)]
    found += [("rdma", "rdma.max", _rdma(r), "rdma")]
    writes = [_write(*row) for row in found if row[2]]
    return (*writes, *(_write("cgroup2", name, value, "unified") for name, value in r.unified))


def _write(controller: str, files: "str | tuple[str, ...]", values: "str | tuple[str, ...]", limit: str) -> Write:
    return Write(
        controller=controller,
        files=(files,) if isinstance(files, str) else files,
        values=(values,) if isinstance(values, str) else values,
        limit=f"linux.resources.{limit}",
    )


def _max(value: int) -> str:
    return "max" if value < 0 else str(value)


def _text(value: "int | None") -> str:
    return str(value) if value else ""


def _maybe(value: "int | None") -> str:
    return "" if value is None else str(value)


def _refuse(pairs: "tuple[tuple[object, str], ...]") -> None:
    for value, limit in pairs:
        if value:
            raise SpecError(f"linux.resources.{limit}: cgroup2 has no such limit: remove it")


def _memory1(r: "Resources", memory: int, swap: int, reservation: int) -> "Rows":
    if memory < 0 and not swap:
        swap = -1  # a limit of both that stays would forbid to take away that of memory
    return [
        ("memory", "memory.limit_in_bytes", _text(memory), "memory.limit"),
        ("memory", "memory.memsw.limit_in_bytes", _text(swap), "memory.swap"),
        ("memory", "memory.soft_limit_in_bytes", _text(reservation), "memory.reservation"),
        ("memory", "memory.kmem.limit_in_bytes", _text(r.memory_kernel), "memory.kernel"),
        ("memory", "memory.kmem.tcp.limit_in_bytes", _text(r.memory_kernel_tcp), "memory.kernelTCP"),
        ("memory", "memory.oom_control", "1" if r.disable_oom_killer else "", "memory.disableOOMKiller"),
        ("memory", "memory.swappiness", _maybe(r.memory_swappiness), "memory.swappiness"),
    ]


def _memory2(r: "Resources", memory: int, swap: int, reservation: int) -> "Rows":
    _refuse((
        (r.memory_kernel, "memory.kernel"),
        (r.memory_kernel_tcp, "memory.kernelTCP"),
        (r.memory_swappiness is not None, "memory.swappiness"),
        (r.disable_oom_killer, "memory.disableOOMKiller"),
    ))  # fmt: skip
    if memory < 0 and not swap:
        swap = -1
    alone = "" if not swap else "max" if swap < 0 else str(swap - memory)  # cgroup2 counts swap by itself
    return [
        ("memory", "memory.max", _max(memory) if memory else "", "memory.limit"),
        ("memory", "memory.swap.max", alone, "memory.swap"),
        ("memory", "memory.low", _max(reservation) if reservation else "", "memory.reservation"),
    ]


def _cpu1(r: "Resources") -> "Rows":
    return [
        ("cpu", "cpu.shares", _text(r.cpu_shares), "cpu.shares"),
        ("cpu", "cpu.rt_period_us", _text(r.cpu_rt_period), "cpu.realtimePeriod"),
        ("cpu", "cpu.rt_runtime_us", _text(r.cpu_rt_runtime), "cpu.realtimeRuntime"),
        ("cpu", "cpu.cfs_period_us", _text(r.cpu_period), "cpu.period"),
        ("cpu", "cpu.cfs_quota_us", _text(r.cpu_quota), "cpu.quota"),
        ("cpu", "cpu.cfs_burst_us", _maybe(r.cpu_burst), "cpu.burst"),
        ("cpu", "cpu.idle", _maybe(r.cpu_idle), "cpu.idle"),
    ]


def _cpu2(r: "Resources") -> "Rows":
    _refuse(((r.cpu_rt_period, "cpu.realtimePeriod"), (r.cpu_rt_runtime, "cpu.realtimeRuntime")))
    idle = r.cpu_idle == 1  # it has no weight of its own then
    # a quota without a period leaves the period as it is
    quota = f"{_max(r.cpu_quota or -1)} {_text(r.cpu_period)}".rstrip() if r.cpu_quota or r.cpu_period else ""
    return [
        ("cpu", "cpu.weight", str(weight_of(r.cpu_shares)) if r.cpu_shares and not idle else "", "cpu.shares"),
        ("cpu", "cpu.max", quota, "cpu.quota"),
        ("cpu", "cpu.max.burst", _maybe(r.cpu_burst), "cpu.burst"),
        ("cpu", "cpu.idle", _maybe(r.cpu_idle), "cpu.idle"),
    ]


def weight_of(shares: int) -> int:
    """Return the cpu.weight (1 to 10000) that stands for cpu.shares (2 to 262144), as runc and crun convert it."""
    return 1 + (min(max(shares, 2), _WEIGHTS + 2) - 2) * 9999 // _WEIGHTS


def _rates(r: "Resources") -> "tuple[tuple[str, str, str, str, tuple[str, ...]], ...]":
    rows = (
        ("throttleReadBpsDevice", "read_bps", "rbps", r.blkio_read_bps),
        ("throttleWriteBpsDevice", "write_bps", "wbps", r.blkio_write_bps),
        ("throttleReadIOPSDevice", "read_iops", "riops", r.blkio_read_iops),
        ("throttleWriteIOPSDevice", "write_iops", "wiops", r.blkio_write_iops),
    )
    return tuple(
        (
            f"blockIO.{limit}",
            f"blkio.throttle.{old}_device",
            f"{rate.major}:{rate.minor} {rate.rate}",
            "io.max",
            (f"{rate.major}:{rate.minor} {new}={rate.rate or 'max'}",),
        )
        for limit, old, new, rates in rows
        for rate in rates
    )


def _io1(r: "Resources") -> "Rows":
    return [
        ("blkio", ("blkio.weight", "blkio.bfq.weight"), (str(r.blkio_weight),) * 2 if r.blkio_weight else "",
         "blockIO.weight"),
        ("blkio", "blkio.leaf_weight", _text(r.blkio_leaf_weight), "blockIO.leafWeight"),
        *(("blkio", ("blkio.weight_device", "blkio.bfq.weight_device"), (f"{w.major}:{w.minor} {w.weight}",) * 2,
           "blockIO.weightDevice") for w in r.blkio_weights if w.weight),
        *(("blkio", "blkio.leaf_weight_device", f"{w.major}:{w.minor} {w.leaf_weight}", "blockIO.weightDevice")
          for w in r.blkio_weights if w.leaf_weight),
        *(("blkio", file, value, limit) for limit, file, value, _, _ in _rates(r)),
    ]  # fmt: skip


def _io2(r: "Resources") -> "Rows":
    leaves = any(w.leaf_weight for w in r.blkio_weights)
    _refuse(((r.blkio_leaf_weight, "blockIO.leafWeight"), (leaves, "blockIO.weightDevice[].leafWeight")))
    files = ("io.bfq.weight", "io.weight")

    def both(prefix: str, weight: int) -> "tuple[str, str]":
        return f"{prefix}{weight}", f"{prefix or 'default '}{1 + (weight - 10) * 9999 // 990}"

    return [
        ("io", files, both("", r.blkio_weight) if r.blkio_weight else "", "blockIO.weight"),
        *(("io", files, both(f"{w.major}:{w.minor} ", w.weight), "blockIO.weightDevice")
          for w in r.blkio_weights if w.weight),
        *(("io", file, values, limit) for limit, _, _, file, values in _rates(r)),
    ]  # fmt: skip


def _net1(r: "Resources") -> "Rows":
    return [
        ("net_cls", "net_cls.classid", _text(r.class_id), "network.classID"),
        ("net_prio", "net_prio.ifpriomap", tuple(f"{p.name} {p.priority}" for p in r.priorities),
         "network.priorities"),
    ]  # fmt: skip


def _huge(r: "Resources") -> "Rows":
    """Both kinds of limit of each size: of pages in use, and of reserved ones where the kernel has that (5.7)."""
    rows: Rows = []
    for pages in r.huge_pages:
        use = (f"hugetlb.{pages.size}.limit_in_bytes", f"hugetlb.{pages.size}.max")
        reserved = (f"hugetlb.{pages.size}.rsvd.limit_in_bytes", f"hugetlb.{pages.size}.rsvd.max", *use)
        rows += [("hugetlb", files, (str(pages.limit),) * len(files), "hugepageLimits") for files in (use, reserved)]
    return rows


def _rdma(r: "Resources") -> "tuple[str, ...]":
    lines = []
    for entry in r.rdma:
        pairs = (("hca_handle", entry.handles), ("hca_object", entry.objects))
        lines.append(" ".join([entry.device, *(f"{key}={value}" for key, value in pairs if value >= 0)]))
    return tuple(lines)
