"""The words about a monitor that its seccomp filter has ended.

The one rule: which call it was is said where the kernel's log has it (audit.h); else the message does without.
"""

SIGSYS = 31  # what ends the process


def message(call: int) -> str:
    """Return one line about the end; `call` is the number of the system call, -1 if nobody knows it."""
    name = "a system call" if call < 0 else f"the system call {_name(call)}"
    advice = "run with --debug to have such calls logged and made"
    return f"the monitor was ended by its seccomp filter, which denies {name}: {advice}"


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
