"""Which system call a seccomp filter has denied to a monitor that it ended, by the kernel's audit record.

The one rule: a record is used only if it is this process's; where none can be read, the message does without.
"""

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SIGSYS = 31  # what ends the process
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO: records have pids of there
_RECORD_MAX = 8192  # bytes; a smaller read fails


def message(pid: int, since_s: float) -> str:
    """Return one line about the end of the process, which was started at `since_s` (seconds since 1970)."""
    number = _number(pid, since_s)
    name = "a system call" if number is None else f"the system call {_name(number)}"
    advice = "run with --debug to have such calls logged and made"
    return f"the monitor was ended by its seccomp filter, which denies {name}: {advice}"


def _number(pid: int, since_s: float) -> "int | None":
    try:
        if os.readlink("/proc/self/ns/pid") != _INITIAL_PID_NAMESPACE:
            return None
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    found = None
    with open(fd, "rb", buffering=0):
        for line in _lines(fd):
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            stamp = line.partition("audit(")[2].partition(":")[0]
            if (
                fields.get("pid") == str(pid)
                and stamp.replace(".", "").isdigit()
                and float(stamp) >= since_s
                and "syscall" in fields
            ):
                found = int(fields["syscall"])
    return found


def _name(number: int) -> str:
    """Return the name that libseccomp knows, which whoever has no profiles may not have."""
    try:
        import ctypes

        resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_num_arch
    except (ImportError, OSError, AttributeError):
        return str(number)
    resolve.restype = ctypes.c_char_p
    name = resolve(0, number)  # SCMP_ARCH_NATIVE
    return f"{name.decode()} ({number})" if name else str(number)


def _lines(fd: int) -> "Iterator[str]":
    """Return the records of seccomp in the kernel's log, which ends where reading would wait."""
    while True:
        try:
            line = os.read(fd, _RECORD_MAX).decode("utf-8", "replace")
        except OSError as error:
            if error.errno == errno.EPIPE:  # what came next has been overwritten
                continue
            return
        if "type=1326" in line:  # AUDIT_SECCOMP
            yield line
