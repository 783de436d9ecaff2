"""Which system calls a monitor may make, and the filter that says so.  Pure.

The one rule: a list is what ci/record_calls.py has seen, OWN and REVIEWED; what is in none of them ends the monitor.
The lists of a machine are in calls_<machine>.py; where nobody has recorded any, a monitor's own filter stands alone,
which create says, and a monitor that has none is refused (launch.filters).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# What a run may need that a recorded one did not happen to, for every monitor.
REVIEWED = {
    "between our filter and the monitor, in urunc-init": "seccomp execve execveat sendto exit_group",
    "an end by abort(3) or a signal": "rt_sigaction rt_sigprocmask rt_sigreturn tgkill getpid gettid exit",
    "questions whose answers tell nothing": "uname getuid geteuid getgid getegid getppid getrusage times sysinfo",
    "a call that a stop or a signal has interrupted": "restart_syscall",
    "memory when it gets scarce or large": "brk mmap munmap mremap madvise mprotect",
    "threads that wait for each other": "futex clone sched_yield set_robust_list rseq membarrier",
    "an event loop with many descriptors": "epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2",
    "clocks where the vDSO has none": "clock_gettime gettimeofday time clock_nanosleep",
    "a disk that is full, sparse, slow or flushed": "fallocate fdatasync fsync pread64 pwrite64 preadv pwritev lseek",
    "vCPUs that are kicked": "ioctl rt_sigtimedwait rt_sigpending",
    "a control socket that is inherited": (
        "listen accept4 recvmsg sendmsg recvfrom getsockname getpeername getsockopt setsockopt shutdown unlink"
    ),
    "a device that another process serves (vhost-user)": "socketpair sendmsg recvmsg",
    "a directory shared over 9p, within the monitor's root": (
        "openat newfstatat fstat statfs fstatfs getdents64 readlinkat mkdirat mknodat unlinkat renameat renameat2"
        " linkat symlinkat chmod fchmod fchmodat fchownat utimensat ftruncate fgetxattr fsetxattr flistxattr"
        " fremovexattr lgetxattr lsetxattr llistxattr lremovexattr"
    ),
    "a console whose reader is slow or gone": "poll ppoll read write readv writev",
}
# What the filters of monitors themselves let through, in the versions that were recorded: a list of ours without it
# would end what they provide for.  Not here is what only serves options that no container has (migration, landlock).
OWN = {
    "firecracker": (
        "accept4 brk clock_gettime close connect epoll_ctl epoll_pwait eventfd2 exit exit_group fcntl fstat fsync"
        " ftruncate futex getrandom gettid io_uring_enter io_uring_register ioctl lseek madvise memfd_create mincore"
        " mmap mprotect mremap msync munmap open read readv recvfrom recvmsg restart_syscall rt_sigaction"
        " rt_sigprocmask rt_sigreturn sched_yield sendmsg sendto sigaltstack socket stat timerfd_create"
        " timerfd_settime tkill write writev"
    ),
    "cloud-hypervisor": (
        "accept4 access arch_prctl bind brk clock_gettime clock_nanosleep close close_range connect dup epoll_create1"
        " epoll_ctl epoll_pwait epoll_wait eventfd2 exit exit_group faccessat fallocate fcntl fdatasync fstat fsync"
        " ftruncate futex getcwd getdents64 getpgid getpgrp getpid getrandom getsockname gettid gettimeofday getuid"
        " io_cancel io_destroy io_getevents io_setup io_submit io_uring_enter io_uring_register ioctl listen lseek"
        " madvise mbind memfd_create mmap mprotect mremap munmap nanosleep newfstatat open openat pipe2 poll ppoll"
        " prctl pread64 preadv prlimit64 pwrite64 pwritev pwritev2 read readlink readlinkat readv recvfrom recvmsg"
        " restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_setaffinity"
        " sched_yield seccomp sendmsg sendto set_robust_list setsockopt shutdown sigaltstack socket socketpair stat"
        " statfs statx tgkill timerfd_create timerfd_settime tkill unlink unlinkat write writev"
    ),
    "hvt": (
        "clock_gettime close epoll_pwait exit exit_group futex ioctl madvise mmap mprotect munmap pread64 pwrite64 read"
        " rt_sigprocmask rt_sigreturn timerfd_settime write"
    ),
}
# Said not to exist (ENOSYS), so that a library takes the older way: clone3 hides its flags from a filter, and what
# is asked of a ring passes by every filter.
HIDDEN = ("clone3", "io_uring_setup")
CLONE_THREAD = 0x00010000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF_LD | BPF_W | BPF_ABS, ...
_KILL_PROCESS, _LOG, _ALLOW, _ENOSYS = 0x80000000, 0x7FFC0000, 0x7FFF0000, 0x00050000 | 38  # SECCOMP_RET_*
_ENDS = {"clone": 0, "allow": 2, "deny": 3, "hide": 4}  # after the tree: a look at the flags, answers
_programs: "dict[tuple[str, str, bool], bytes]" = {}  # what `program` has returned: that depends on nothing else
_NUMBER, _MACHINE, _FLAGS = 0, 4, 16  # in struct seccomp_data; the low half of the first argument


def table(machine: str) -> "Mapping[str, Mapping[str, int]]":
    """Return the recorded lists of a machine by monitor, nothing if nobody has recorded any there."""
    lists = _lists(machine)
    return lists.ALLOWED if lists else {}


def program(monitor: str, machine: str, *, log: bool = False) -> bytes:
    """Return the filter of a monitor as struct sock_filter[], b"" if it has no list on this machine.

    A call that is not on the list ends the process; with `log` it is logged and made.  Numbers that are younger than
    the list do not exist for the monitor.
    """
    key = (monitor, machine, log)
    if key not in _programs:
        _programs[key] = _program(monitor, machine, log=log)
    return _programs[key]


def _program(monitor: str, machine: str, *, log: bool) -> bytes:
    lists = _lists(machine)
    if not lists or monitor not in lists.ALLOWED:
        return b""
    answers = dict.fromkeys([*lists.REVIEWED.values(), *lists.ALLOWED[monitor].values()], "allow")
    answers.update(dict.fromkeys(lists.HIDDEN.values(), "hide"))
    answers[lists.REVIEWED["clone"]] = "clone"
    tree = _tree(_segments(answers, lists.LAST))
    head = [
        (_LOAD, _MACHINE, 0, 0),
        (_EQUAL, lists.ARCHITECTURE, 0, len(tree) + 1 + _ENDS["deny"]),
        (_LOAD, _NUMBER, 0, 0),
    ]
    tail = [
        (_LOAD, _FLAGS, 0, 0),
        (_ANY_BIT, CLONE_THREAD, 0, 1),
        (_RETURN, _ALLOW, 0, 0),
        (_RETURN, _LOG if log else _KILL_PROCESS, 0, 0),
        (_RETURN, _ENOSYS, 0, 0),
    ]
    rows = [*head, *tree, *tail]
    return b"".join(
        [(code | true << 16 | false << 24 | k << 32).to_bytes(8, "little") for code, k, true, false in rows]
    )


def _segments(answers: "Mapping[int, str]", last: int) -> "list[tuple[int, str]]":
    """Return where in the row of numbers from 0 on the answer changes, and to what."""
    found: list[tuple[int, str]] = []
    after = 0  # the first number that no segment has
    for number in sorted(answers):
        if number > after:
            found.append((after, "deny"))
        if not found or found[-1][1] != answers[number]:
            found.append((number, answers[number]))
        after = number + 1
    return [*found, *([(after, "deny")] if after <= last else []), (last + 1, "hide")]


def _tree(segments: "list[tuple[int, str]]") -> "list[tuple[int, int, int, int]]":
    """Return jumps that find the segment of a number by halves; the ends follow them.

    The kernel tries every number when it loads a filter, to remember what is always allowed (seccomp_cache_prepare): a
    list takes it three times as long as this.
    """
    rows: list[list[int]] = []
    total = len(segments) - 1

    def place(low: int, high: int) -> int:
        """Place what decides between these segments; return where it is."""
        if low == high:
            return total + _ENDS[segments[low][1]]
        at, middle = len(rows), (low + high + 1) // 2
        rows.append([_AT_LEAST, segments[middle][0], 0, 0])
        rows[at][3] = place(low, middle - 1) - at - 1
        rows[at][2] = place(middle, high) - at - 1
        return at

    place(0, total)
    return [(code, k, true, false) for code, k, true, false in rows]


def _lists(machine: str) -> "Any":
    try:
        return __import__(f"calls_{machine}", globals(), None, ("ALLOWED",), 1)
    except ImportError:
        return None
