"""The compiled core: every function that touches the kernel on the path of a container.

Errors of the kernel are OSError with errno, text and the thing (`filename`) as usual, and the step that failed in
the attribute `step`.  Functions that wait or make system calls release the interpreter's lock.  Descriptors given
are borrowed unless a name says `take`; descriptors returned are the caller's and close-on-exec.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

OPERATIONS: dict[str, tuple[int, str]]
"""Operation of a plan -> its code and the kinds of its arguments (plan.h: i s b n v)."""

STAGES: dict[str, int]
STATUSES: dict[str, int]
IMAGE_KINDS: tuple[str, ...]

FLAG_HOOKS: int
"""The container has poststart or poststop hooks, kept in hooks.json."""

def pack(operations: Iterable[tuple[object, ...]]) -> bytes:
    """Return a plan in its wire format (plan.h).  KeyError or ValueError for an operation that C does not know."""

FLAG_TIMESTAMPS: int
"""The host's configuration wants the steps of its start written down."""

FLAG_PROCESS: int
"""The container is one of the process monitor: it has a place for more processes."""

FLAG_LATE: int
"""It had no network when it was created, and its guest can use one."""

FLAG_WAITS: int
"""And the guest cannot be without."""

FLAG_CHROOT: int
"""It is in a mount namespace of others, whose root is not its own."""

class Sandbox:
    """A container in the making; its urunc-init dies with this object unless it was released."""

    def __init__(self, state_fd: int, streams: tuple[int, ...] = ()) -> None:
        """`state_fd` -1: a process that joins a container.

        `streams`: descriptors for standard input, output and error of the container; -1 or none: the caller's.
        """

    @property
    def pid(self) -> int:
        """The pid of urunc-init, later of the monitor, in the caller's pid namespace; 0 before it exists."""

    @property
    def start_time(self) -> int:
        """Clock ticks from boot to the start of that process (proc_pid_stat(5), field 22)."""

    def adopt(self, pid: int, start_time: int) -> None:
        """Take a process that another sandbox has made and released: plans of stage root alone are executed for it."""

    def take_pidfd(self) -> int:
        """Return the pidfd of that process, of a sandbox that was released; it is the caller's from now on."""

    def execute(self, plan: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Execute the stages sandbox and root; have urunc-init run stage wait and keep the rest for start.

        `descriptors` fill slots 1, 2, ...
        """

    def create(
        self,
        root: str,
        container_id: str,
        plans: tuple[bytes, ...],
        descriptors: tuple[int, ...],
        flags: int,
        overhead_bytes: int,
        document: tuple[bytes, bytes, Json, bytes],
    ) -> bool:
        """Make a container in one call, from its state directory to its release; the sandbox has none of its own (-1).

        `plans` are three: directories of cgroups, namespaces, the root; the last one has the `descriptors`.  False, and
        nothing done, if the id or the root is for others to look at first; after an OSError it is undone.
        """

    def lock_network(self) -> None:
        """Keep others from the container's network namespace until `execute` has changed it, or `close`.

        OSError EAGAIN: somebody else keeps it for more than 20 s.
        """

    def release(self) -> None:
        """Commit: urunc-init waits for start and no longer for its maker."""

    def start(self) -> None:
        """Have a process that joins a container (made with a state directory of -1) execute its program."""

    def close(self) -> None:
        """End and reap a urunc-init that was not released; close everything.  May be called twice."""

class State:
    """The record of a container as it was when this object was made."""

    def __init__(self, state_fd: int) -> None:
        """Read it.  FileNotFoundError: no record; OSError EINVAL: one that this version cannot read."""

    @property
    def pid(self) -> int: ...
    @property
    def start_time(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def overhead_bytes(self) -> int:
        """What of its memory limits is for the monitor, as create counted it."""

    @property
    def entered_ns(self) -> int:
        """CLOCK_MONOTONIC when urunc-init was about to execute the monitor, after `start`; 0 before."""

    def status(self) -> str:
        """Return creating, created, running, paused or stopped, judged by process and cgroup as they are now."""

    def denied(self, state_fd: int) -> int | None:
        """Return the system call for which a seccomp filter has ended the process, -1 if it cannot be told; None if
        none has.  The kernel's log may lack it (audit.h).
        """

    def json(self, status: str, reason: str = "") -> str:
        """Return the OCI state document with this status and the reason for it, if it has one; pid 0 when stopped."""

    def start(self, state_fd: int, plan: bytes = b"", sandbox: Sandbox | None = None) -> None:
        """Ask urunc-init to become the monitor; return when its execve has succeeded.  The lock is the caller's.

        The stages enter and exec of `plan`, if one is given, take the place of those that urunc-init keeps, and the
        slots of `sandbox`, which has adopted the process, that of its slots.
        """

    def open_process(self) -> int:
        """Return a pidfd of the container's process.  ProcessLookupError: it has ended."""

    def kill(self, number: int, state_fd: int = -1) -> None:
        """Send a signal by pidfd, SIGKILL where pid 1 would not see it.  ProcessLookupError: the process has ended.

        With the state directory a first SIGTERM presses the guest's power button instead, if it has one.
        """

    def kill_all(self, number: int) -> None:
        """Send a signal to every process of the container's cgroup."""

    def pause(self, paused: bool) -> None:
        """Freeze the container's cgroup or thaw it; return when that is so (TimeoutError after 10 s).

        Without a cgroup that has a freezer its processes are stopped and continued by signals.
        """

    def cgroups(self) -> tuple[tuple[str, str], ...]:
        """Return the container's cgroups: controllers ("cgroup2" for cgroup2), directory."""

    def end(self) -> None:
        """Send SIGKILL and wait for the end, 10 s at most (TimeoutError)."""

def cgroup_layout() -> tuple[tuple[str, str, str, str], ...]:
    """Return the hierarchies that are mounted: controllers ("cgroup2" for cgroup2), where, what of it, the caller's own
    cgroup.  cgroup2 alone where it is on /sys/fs/cgroup.
    """

def cgroup_processes(path: str) -> tuple[int, ...]:
    """Return the processes of a cgroup and of those below it, in the caller's pid namespace; none if it is gone."""

def cgroup_write(dirfd: int, file: str, value: str) -> None:
    """Write `value` to a file of the cgroup `dirfd`, by one write(2).  FileNotFoundError: it has no such limit."""

def cgroup_devices(dirfd: int, rules: Sequence[int]) -> None:
    """Have the cgroup2 `dirfd` grant devices by `rules` (devices.words), and by nothing that was set before."""

def write_state(
    state_fd: int,
    status: str,
    pid: int,
    start_time: int,
    flags: int,
    document: tuple[bytes, bytes, Json, bytes],
    overhead_bytes: int = 0,
) -> None:
    """Write the record and, once there is a container, state.json, each atomically.

    `document` is JSON in pieces; behind the first one go pid and status.
    """

def lock(root_fd: int, container_id: str, timeout_ms: int) -> int:
    """Take the lock of a container id; return a descriptor whose close releases it.  BlockingIOError after the time."""

def remove(root_fd: int, container_id: str) -> None:
    """Remove urunc's files in <root>/<id> and the directory; none is no error, a file of somebody else's is."""

def start(root: str, container_id: str) -> bool:
    """Start an ordinary container; False, and nothing done, if it is none.  OSError: it cannot be tried again."""

def delete(root: str, container_id: str, force: bool) -> bool:
    """Remove an ordinary container; False if it is none, or a step failed, which can be done again."""

def undo(state_fd: int) -> None:
    """Undo what the journal lists, last first; goes on after a failure and raises the first."""

def run_hook(
    path: str, argv: Sequence[str], environment: Sequence[str], stdin: bytes, timeout_s: int, directory: str
) -> None:
    """Run a hook to its end.  OSError ECHILD with how it ended and what it wrote; TimeoutError when it was killed."""

def open_in_root(root_fd: int, path: str) -> int:
    """Open for reading, resolved as if `root_fd` were / (openat2(2), RESOLVE_IN_ROOT); magic links are refused."""

def program(name: str) -> int:
    """Return a sealed, executable memfd of urunc-init or urunc-spt."""

def seccomp(
    action: int,
    architectures: Iterable[str],
    rules: Iterable[tuple[int, str, Sequence[tuple[int, int, int, int]]]],
) -> int:
    """Return a memfd with the struct sock_filter[] of a profile, compiled by libseccomp.

    Actions are SCMP_ACT_* of seccomp.h; a rule is action, system call and its conditions (argument, enum scmp_compare,
    two values), which must all hold.  FileNotFoundError if there is no libseccomp; OSError names the wrong call.
    """

def user_map(path: str, file: str) -> str:
    """Return uid_map or gid_map of the user namespace at `path` as this process sees it (user_namespaces(7))."""

def digest(data: bytes) -> int:
    """Return a number of 64 bits that names `data`; it is no proof against who chooses the data."""

def identify(fd: int) -> tuple[str, int, int, int, bool, bool, int, int, int, int]:
    """Say what a guest file is: kind (IMAGE_KINDS), size, e_machine, bits, pvh, multiboot, boot protocol of a bzImage,
    Solo5 target and its ABI version (0 = none), end in the guest's memory (bytes; 0 = not known).  OSError ENOEXEC: an
    ELF file whose tables lie.
    """

def dependencies(fd: int) -> tuple[str | None, tuple[str, ...], str | None, str | None, int, int]:
    """Return what an ELF file needs: interpreter, DT_NEEDED, DT_RPATH, DT_RUNPATH, e_machine, bits."""

def devices(fd: int, target: int) -> tuple[tuple[str, str], ...]:
    """Return what the manifest of a Solo5 guest declares: ("net" or "block", name) in its order.

    `target` is what it is for, as `identify` says.

    OSError ENOEXEC with a sentence: not such a guest, or a broken one.
    """

def tsc_khz() -> int:
    """Measure the frequency of the time stamp counter for some 20 ms, in kHz; 0 where there is none."""

def has_links(pid: int) -> bool:
    """Whether the network namespace of a process has an interface."""

def discover(
    pid: int,
    again: bool = False,
) -> (
    tuple[
        tuple[tuple[str, int, str, int, tuple[tuple[int, str, int], ...]], ...],
        tuple[int, str, int, str],
        tuple[str, ...],
    ]
    | None
):
    """Look at the network namespace of a process; None if it is our own.

    What guests that have ended left there is removed; what was made for the process itself, too, if `again`.
    Returns the interfaces for a guest, the main one first: name, index, MAC, MTU, addresses (family, text, prefix
    length); the default routes: interface's index (0 = none) and gateway of IPv4, then of IPv6; the names of the taps
    of other guests.  OSError names interfaces that do not fit.
    """

class Json:
    """A value of JSON that is right and not read: one that `decode` has checked and passed over, or `text`."""

    def __init__(self, text: bytes) -> None: ...
    def text(self) -> bytes:
        """Return it as it stands."""

    def value(self) -> Any:
        """Return what it says."""

def decode(text: bytes, later: Mapping[str, Any] | None = None) -> object:
    """Return the value of one JSON text (RFC 8259), whose bytes are UTF-8 that has been checked.

    ValueError for what is none, or holds a number that is none of Python's; RecursionError beyond 900 levels.

    `later` has for keys of the outermost object what may become a Json, or the same for keys inside: "texts" a list
    of strings as jsontext.text wants them, "pairs" an object of such strings with such keys, none twice and all without
    escapes, "whatever" an object.  What is not of that shape, or not certainly right, is read at once.
    """

def beginning(pairs: Json, prefixes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return those of `pairs`, an object of strings, whose key begins with one of `prefixes`; sorted.

    The keys are distinct, and have no escapes within a prefix; no prefix begins another.
    """

def are_texts(values: Iterable[object]) -> bool:
    """Say whether all `values` are strings of ASCII without a NUL byte."""

def quote_pairs(pairs: tuple[tuple[str, str], ...]) -> str:
    """Return `pairs` as an object of JSON in ASCII."""

def quote(text: str) -> str:
    """Return `text` as a string of JSON in ASCII, with its quotes."""

def backing(
    rootfs_fd: int,
) -> tuple[int, int, str, str, str, str, str, str, str, int, bool, tuple[int, int, int]] | None:
    """Say which block device has the file system of a rootfs, if all of it is mounted exactly there; else None.

    Device number, mount point, source, type, options of the mount and of the file system; then of the device: kind
    ("thin" of device-mapper, "mapped" for others of it, "loop", "disk"), name, size in bytes, whether it is read-only,
    and for a thin volume its pool's number and its id in it, as device-mapper's own ioctl has them.  OSError EINVAL:
    that is in contradiction to sysfs, or the device is suspended.
    """
