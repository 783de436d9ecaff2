"""Which system calls a monitor may make, and the filter that says so.  Pure.

The one rule: a list is what ci/record_calls.py has seen, and REVIEWED; what is in neither ends the monitor.  The lists
of a machine are in calls_<machine>.py; where nobody has recorded any, a monitor's own filter stands alone.
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
    "clocks where the vDSO has none": "clock_gettime gettimeofday clock_nanosleep",
    "a disk that is full, sparse, slow or flushed": "fallocate fdatasync fsync pread64 pwrite64 preadv pwritev lseek",
    "vCPUs that are kicked": "ioctl rt_sigtimedwait rt_sigpending",
    "a control socket that is inherited": (
        "accept4 recvmsg sendmsg recvfrom getsockname getpeername getsockopt setsockopt shutdown"
    ),
    "a directory shared over 9p, within the monitor's root": (
        "openat newfstatat fstat statfs fstatfs getdents64 readlinkat mkdirat mknodat unlinkat renameat renameat2"
        " linkat symlinkat fchmod fchmodat fchownat utimensat ftruncate fgetxattr fsetxattr flistxattr fremovexattr"
        " lgetxattr lsetxattr llistxattr lremovexattr"
    ),
    "a console whose reader is slow or gone": "poll ppoll read write readv writev",
}
# Said not to exist (ENOSYS), so that a library takes the older way: clone3 hides its flags from a filter, and what
# is asked of a ring passes by every filter.
HIDDEN = ("clone3", "io_uring_setup")
CLONE_THREAD = 0x00010000

_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06  # BPF_LD | BPF_W | BPF_ABS, ...
_KILL_PROCESS, _LOG, _ALLOW, _ENOSYS = 0x80000000, 0x7FFC0000, 0x7FFF0000, 0x00050000 | 38  # SECCOMP_RET_*
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
    lists = _lists(machine)
    if not lists or monitor not in lists.ALLOWED:
        return b""
    known = {**lists.REVIEWED, **lists.ALLOWED[monitor]}
    for name in HIDDEN:
        known.pop(name, None)
    clone = known.pop("clone")
    ends = {"clone": 0, "allow": 2, "deny": 3, "hide": 4}  # offsets in the tail
    head = [
        (_LOAD, _MACHINE, "", ""),
        (_EQUAL, lists.ARCHITECTURE, "", "deny"),
        (_LOAD, _NUMBER, "", ""),
        (_GREATER, lists.LAST, "hide", ""),
        *((_EQUAL, number, "allow", "") for number in sorted(known.values())),
        *((_EQUAL, number, "hide", "") for number in lists.HIDDEN.values()),
        (_EQUAL, clone, "clone", "deny"),
    ]
    tail = [
        (_LOAD, _FLAGS, "", ""),
        (_ANY_BIT, CLONE_THREAD, "allow", "deny"),
        (_RETURN, _ALLOW, "", ""),
        (_RETURN, _LOG if log else _KILL_PROCESS, "", ""),
        (_RETURN, _ENOSYS, "", ""),
    ]
    rows = [*head, *tail]
    packed = []
    for at, (code, value, true, false) in enumerate(rows, 1):
        jumps = [len(head) + ends[end] - at if end else 0 for end in (true, false)]
        packed.append((code | jumps[0] << 16 | jumps[1] << 24 | value << 32).to_bytes(8, "little"))
    return b"".join(packed)


def _lists(machine: str) -> "Any":
    try:
        return __import__(f"calls_{machine}", globals(), None, ("ALLOWED",), 1)
    except ImportError:
        return None
