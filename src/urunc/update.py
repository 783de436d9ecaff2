"""update: new limits for a container that exists.

The one rule: either all of them are in force afterwards, or those of before.
"""

import errno
import os

from . import _fastpath, cgroup, lifecycle, limits, resources, runtime
from ._record import replace
from .errors import SpecError
from .jsontext import decode
from .launch import advised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .limits import Write
    from .request import Request
    from .resources import Resources

    Groups = tuple[tuple[str, str], ...]

# field of Resources -> field of Request
FLAGS = {
    "memory_limit": "memory_bytes",
    "memory_reservation": "memory_reservation_bytes",
    "memory_swap": "memory_swap_bytes",
    "cpu_quota": "cpu_quota_us",
    "cpu_period": "cpu_period_us",
    "cpu_shares": "cpu_shares",
    "cpu_burst": "cpu_burst_us",
    "cpu_idle": "cpu_idle",
    "cpu_rt_runtime": "cpu_rt_runtime_us",
    "cpu_rt_period": "cpu_rt_period_us",
    "cpus": "cpuset_cpus",
    "mems": "cpuset_mems",
    "pids_limit": "pids_limit",
    "blkio_weight": "blkio_weight",
}


def update(request: "Request") -> None:
    """Change the limits that are given; SpecError or HostError, and nothing changed, if one cannot be kept."""
    wanted = asked(request)
    with runtime.open_(request, locked=True) as container:
        record = container.record()
        lifecycle.check(container.status(record), "update", request.id)
        groups = record.cgroups()
        overhead = record.overhead_bytes
        wanted = _completed(wanted, groups, overhead)
        unified = len(groups) == 1 and groups[0][0] == cgroup.CGROUP2
        _check_usage(wanted, groups, overhead)
        apply(limits.writes(wanted, overhead, unified=unified), groups)
        if request.systemd_cgroup:
            from . import systemd

            systemd.update(groups, wanted, overhead, unified=unified)


def asked(request: "Request") -> "Resources":
    """Return what --resources holds, all other options are not looked at then; else what they say."""
    if request.l3_cache_schema or request.mem_bw_schema:
        raise SpecError("Intel RDT is not supported: leave out --l3-cache-schema and --mem-bw-schema")
    if request.resources:
        # devices stay as they are: clients send those of the spec again, which are in force, and runc takes no others
        found = resources.of(decode(_content(request.resources), "resources"), "resources")
        return replace(found, devices=())
    values = {field: getattr(request, flag) for field, flag in FLAGS.items()}
    if values["cpu_idle"] not in (None, 0, 1):
        raise SpecError(f"invalid value for cpu-idle: {values['cpu_idle']}: give 0 or 1")
    if (values["cpu_burst"] or 0) < 0:
        raise SpecError(f"invalid value for cpu-burst: {values['cpu_burst']}: give microseconds")
    return resources.Resources(**{field: value for field, value in values.items() if value is not None})


def _content(path: str) -> bytes:
    if path == "-":
        with open(0, "rb", buffering=0, closefd=False) as stream:
            return stream.readall()
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _completed(wanted: "Resources", groups: "Groups", overhead_bytes: int) -> "Resources":
    """Return `wanted` with what is written together with it: memory with swap, a quota with its period."""
    if wanted.memory_swap > 0 and not wanted.memory_limit:
        current = _first_number(groups, "memory", ("memory.limit_in_bytes", "memory.max"))
        wanted = replace(wanted, memory_limit=max(current - overhead_bytes, 0) if current < 2**62 else -1)
    if wanted.cpu_period and not wanted.cpu_quota:
        wanted = replace(wanted, cpu_quota=_first_number(groups, "cpu", ("cpu.cfs_quota_us", "cpu.max")))
    return wanted


def _first_number(groups: "Groups", controller: str, files: "tuple[str, ...]") -> int:
    """Return the first number of the file that is there, -1 for none and for "max"."""
    for file in files:
        words = _current(groups, controller, file).split()
        if words:
            return int(words[0]) if words[0].lstrip("-").isdigit() else -1
    return -1


def _current(groups: "Groups", controller: str, file: str) -> str:
    number = cgroup.number_of(controller, tuple(name for name, _ in groups))
    try:
        with open(f"{groups[number][1]}/{file}", "rb", buffering=0) as opened:
            return opened.readall().decode()
    except (OSError, IndexError):
        return ""


def _check_usage(wanted: "Resources", groups: "Groups", overhead_bytes: int) -> None:
    if wanted.memory_check and wanted.memory_limit > 0:
        used = _first_number(groups, "memory", ("memory.usage_in_bytes", "memory.current"))
        if used > wanted.memory_limit + overhead_bytes:
            raise SpecError(f"memory.limit of {wanted.memory_limit} bytes is below what is used: {used} bytes")


def apply(writes: "tuple[Write, ...]", groups: "Groups") -> None:
    """Write all of `writes`, or none.

    The order that is right depends on the values that are there (memory and memory with swap, quota and period): what
    is refused at first is tried again after the others.
    """
    names = tuple(name for name, _ in groups)
    done: list[tuple[str, str, str]] = []
    try:
        refused = [write for write in writes if not _write(write, groups, names, done, last=False)]
        for write in refused:
            _write(write, groups, names, done, last=True)
    except (OSError, SpecError) as error:
        for directory, file, before in reversed(done):
            _restore(directory, file, before)
        if isinstance(error, OSError):
            raise advised(error) from None
        raise


def _write(
    write: "Write", groups: "Groups", names: "tuple[str, ...]", done: "list[tuple[str, str, str]]", *, last: bool
) -> bool:
    number = cgroup.number_of(write.controller, names)
    if number < 0:
        raise SpecError(
            f"{write.limit}: no cgroup of the container has the controller {write.controller}: create it with that"
            " limit, or with linux.cgroupsPath"
        )
    directory = groups[number][1]
    file, values = write.files[0], write.values
    if len(write.files) > 1:
        there = [(f, v) for f, v in zip(write.files, values, strict=True) if os.path.exists(f"{directory}/{f}")]
        file, *values = there[0] if there else (file, values[0])  # type: ignore[assignment]
    dirfd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        before = _current(groups, write.controller, file)
        for value in values:
            _fastpath.cgroup_write(dirfd, file, value)
        done.append((directory, file, before))
    except OSError as error:
        if last or error.errno not in (errno.EINVAL, errno.EBUSY):
            raise
        return False
    finally:
        os.close(dirfd)
    return True


def _restore(directory: str, file: str, before: str) -> None:
    if len(before.splitlines()) != 1:
        return  # one value of many, of a device: there is no telling which it was
    try:
        with open(f"{directory}/{file}", "w", encoding="ascii") as opened:
            opened.write(before.strip())
    except OSError:
        pass  # the error that led here is the one to report
