"""events: statistics of a container's cgroups, in the form that runc gives them, and its ends for lack of memory.

The one rule: what a cgroup does not have is left out or 0, as by runc; nothing here changes anything.
"""

import os

from . import cgroup, lifecycle, runtime
from .jsontext import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .request import Request

    Table = dict[str, object]

UNLIMITED = 2**64 - 1  # what Go prints for "max"


def events(request: "Request") -> "Iterator[str]":
    """Yield statistics: once with --stats, else every interval, and each OOM, until the container has stopped."""
    with runtime.open_(request, locked=False) as container:
        record = container.record()
        lifecycle.check(container.status(record), "events", request.id)
        groups = record.cgroups()
        if request.stats:
            yield _event("stats", request.id, stats(groups))
            return
        kills = Kills(groups)
        try:
            pidfd = os.pidfd_open(record.pid)
        except ProcessLookupError:
            return  # it has just ended
        try:
            running = container.status(record) != "stopped"  # looked at with the pidfd open: it is of our process
            while running:
                running = not _ends_within(pidfd, request.interval_ms)
                for _ in range(kills.new()):
                    yield _event("oom", request.id)
                if running:
                    yield _event("stats", request.id, stats(groups))
        finally:
            os.close(pidfd)


def _ends_within(pidfd: int, milliseconds: int) -> bool:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _event(kind: str, container_id: str, data: "Table | None" = None) -> str:
    return encode({"type": kind, "id": container_id} | ({} if data is None else {"data": data}))


class Kills:
    """How many processes of the cgroups the kernel has killed for lack of memory."""

    def __init__(self, groups: "tuple[tuple[str, str], ...]") -> None:
        self.groups = groups
        self.seen = self._count()

    def new(self) -> int:
        """Return how many since the last call."""
        before, self.seen = self.seen, self._count()
        return max(0, self.seen - before)

    def _count(self) -> int:
        directory = _directory("memory", self.groups)
        file = "memory.events" if _is_unified(self.groups) else "memory.oom_control"
        return _keyed(f"{directory}/{file}").get("oom_kill", 0)


def stats(groups: "tuple[tuple[str, str], ...]") -> "Table":
    """Return the statistics of a container's cgroups (controllers, directory): runc's types.Stats."""
    made = _unified(groups[0][1]) if _is_unified(groups) else _separate(groups)
    limit = _number(_read(f"{_directory('pids', groups)}/pids.max"))
    pids = {
        "current": _value(f"{_directory('pids', groups)}/pids.current"),
        "limit": 0 if limit == UNLIMITED else limit,
    }
    return made | {
        "pids": _filled(pids),
        "hugetlb": _huge(_directory("hugetlb", groups)),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _is_unified(groups: "tuple[tuple[str, str], ...]") -> bool:
    return len(groups) == 1 and groups[0][0] == cgroup.CGROUP2


def _directory(controller: str, groups: "tuple[tuple[str, str], ...]") -> str:
    number = cgroup.number_of(controller, tuple(name for name, _ in groups))
    return groups[number][1] if number >= 0 else "/nonexistent"


def _separate(groups: "tuple[tuple[str, str], ...]") -> "Table":
    """The statistics of version 1."""
    cpu, account = _directory("cpu", groups), _directory("cpuacct", groups)
    throttled = _keyed(f"{cpu}/cpu.stat")
    each = [line.split() for line in _read(f"{account}/cpuacct.usage_all").splitlines()[1:]]
    usage = _filled({
        "total": _value(f"{account}/cpuacct.usage"),
        "percpu": [int(word) for word in _read(f"{account}/cpuacct.usage_percpu").split()],
        "percpu_kernel": [int(words[2]) for words in each],
        "percpu_user": [int(words[1]) for words in each],
    })  # fmt: skip
    usage |= {"kernel": _value(f"{account}/cpuacct.usage_sys"), "user": _value(f"{account}/cpuacct.usage_user")}
    memory = _directory("memory", groups)
    raw = _keyed(f"{memory}/memory.stat")
    kinds = (("usage", ""), ("swap", "memsw."), ("kernel", "kmem."), ("kernelTCP", "kmem.tcp."))
    return {
        "cpu": {"usage": usage, "throttling": _throttling(throttled, "throttled_time", 1)},
        "cpuset": _cpuset(_directory("cpuset", groups)),
        "memory": _filled({"cache": raw.get("total_cache", raw.get("cache", 0))})
        | {kind: _memory_entry(f"{memory}/memory.{prefix}") for kind, prefix in kinds}
        | ({"raw": raw} if raw else {}),
        "blkio": _blkio(_directory("blkio", groups)),
    }


def _throttling(found: "dict[str, int]", time: str, unit_ns: int) -> "Table":
    return _filled({
        "periods": found.get("nr_periods", 0),
        "throttledPeriods": found.get("nr_throttled", 0),
        "throttledTime": found.get(time, 0) * unit_ns,
    })  # fmt: skip


def _memory_entry(prefix: str) -> "Table":
    found = {"usage": _value(prefix + "usage_in_bytes"), "max": _value(prefix + "max_usage_in_bytes")}
    return {"limit": _value(prefix + "limit_in_bytes"), **_filled(found), "failcnt": _value(prefix + "failcnt")}


def _cpuset(directory: str) -> "Table":
    names = (
        *("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page"),
        *("memory_spread_slab", "memory_pressure", "sched_load_balance", "sched_relax_domain_level"),
    )
    found = {"cpus": _numbers(f"{directory}/cpuset.cpus"), "mems": _numbers(f"{directory}/cpuset.mems")}
    return _filled(found) | {name: _value(f"{directory}/cpuset.{name}") for name in names}


def _numbers(path: str) -> "list[int]":
    """Return 0, 1, 2, 5 of the file 0-2,5."""
    found: list[int] = []
    for part in _read(path).strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1)
    return found


def _blkio(directory: str) -> "Table":
    files = (
        ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
        ("ioServicedRecursive", "io_serviced_recursive"),
    )
    found = {}
    for name, file in files:
        text = _read(f"{directory}/blkio.bfq.{file}")
        if len(text.splitlines()) < 2:  # "Total 0": bfq serves no disk here
            text = _read(f"{directory}/blkio.throttle.{file}")
        lines = [line.split() for line in text.splitlines()]
        found[name] = [_io_entry(*words) for words in lines if len(words) == 3]
    return _filled(found)


def _io_entry(device: str, operation: str, value: str) -> "Table":
    major, _, minor = device.partition(":")
    return _filled({"major": int(major), "minor": int(minor), "op": operation, "value": int(value)})


def _unified(directory: str) -> "Table":
    """The statistics of cgroup2."""
    cpu = _keyed(f"{directory}/cpu.stat")
    usage = _filled({"total": cpu.get("usage_usec", 0) * 1000})
    usage |= {"kernel": cpu.get("system_usec", 0) * 1000, "user": cpu.get("user_usec", 0) * 1000}
    raw = _keyed(f"{directory}/memory.stat")
    limit, swap_limit = (_number(_read(f"{directory}/memory.{name}max")) for name in ("", "swap."))
    current, swap = (_value(f"{directory}/memory.{name}current") for name in ("", "swap."))
    failures = _keyed(f"{directory}/memory.events").get("max", 0)
    both = UNLIMITED if UNLIMITED in (limit, swap_limit) else limit + swap_limit  # version 1 counts them together
    kernel = raw.get("kernel", raw.get("slab", 0) + raw.get("kernel_stack", 0))
    peak = _value(f"{directory}/memory.peak")
    return {
        "cpu": {"usage": usage, "throttling": _throttling(cpu, "throttled_usec", 1000)},
        "cpuset": _filled({name: _numbers(f"{directory}/cpuset.{name}.effective") for name in ("cpus", "mems")}),
        "memory": _filled({"cache": raw.get("file", 0)})
        | {
            "usage": {"limit": limit, **_filled({"usage": current, "max": peak}), "failcnt": failures},
            "swap": {"limit": both, **_filled({"usage": current + swap}), "failcnt": 0},
            "kernel": {"limit": 0, **_filled({"usage": kernel}), "failcnt": 0},
            "kernelTCP": {"limit": 0, **_filled({"usage": raw.get("sock", 0)}), "failcnt": 0},
        }
        | ({"raw": raw} if raw else {}),
        "blkio": _io(directory),
    }


def _io(directory: str) -> "Table":
    """io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ..."."""
    names = {
        "rbytes": ("ioServiceBytesRecursive", "Read"),
        "wbytes": ("ioServiceBytesRecursive", "Write"),
        "rios": ("ioServicedRecursive", "Read"),
        "wios": ("ioServicedRecursive", "Write"),
    }
    found: dict[str, list[Table]] = {}
    for line in _read(f"{directory}/io.stat").splitlines():
        device, *pairs = line.split()
        for pair in pairs:
            key, _, value = pair.partition("=")
            if key in names:
                name, operation = names[key]
                found.setdefault(name, []).append(_io_entry(device, operation, value))
    return dict(found)


def _huge(directory: str) -> "Table":
    found: Table = {}
    try:
        names = os.listdir(directory)
    except OSError:
        return found
    for name in sorted(names):
        words = name.split(".")
        if len(words) == 3 and words[0] == "hugetlb" and words[2] in ("usage_in_bytes", "current"):
            base = f"{directory}/hugetlb.{words[1]}"
            failures = _value(f"{base}.failcnt") or _keyed(f"{base}.events").get("max", 0)
            used = {"usage": _value(f"{directory}/{name}"), "max": _value(f"{base}.max_usage_in_bytes")}
            found[words[1]] = _filled(used) | {"failcnt": failures}
    return found


def _filled(found: "Mapping[str, object]") -> "Table":
    """Return what Go's omitempty leaves."""
    return {name: value for name, value in found.items() if value}


def _read(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall().decode()
    except OSError:
        return ""  # not of this kernel or hierarchy, or the container is gone


def _number(text: str) -> int:
    word = text.strip()
    return UNLIMITED if word == "max" else int(word) if word.lstrip("-").isdigit() else 0


def _value(path: str) -> int:
    return _number(_read(path))


def _keyed(path: str) -> "dict[str, int]":
    """Return the lines "key value" of a file."""
    words = [line.split() for line in _read(path).splitlines()]
    return {pair[0]: _number(pair[1]) for pair in words if len(pair) == 2}
