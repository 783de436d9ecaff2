"""Hands plans to C, stage by stage, and runs the hooks between them.

The one rule: when anything here fails, nothing that it made is left.
"""

import errno
import os

from . import _fastpath, facts, hooks, plan, slots, state
from .config import CACHE
from .credentials import Confinement
from .errors import HostError, SpecError, UruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from .facts import Host
    from .image import File
    from .monitors import Machine, Monitor
    from .request import Request
    from .spec import Spec
    from .trace import Trace

    class Executor(Protocol):
        """Executes the plans of one container: _fastpath.Sandbox, or what orders that from another process."""

        @property
        def pid(self) -> int: ...
        @property
        def start_time(self) -> int: ...
        def execute(self, plan: bytes, descriptors: "tuple[int, ...]" = ()) -> None: ...
        def lock_network(self) -> None: ...
        def release(self) -> None: ...
        def close(self) -> None: ...


class Launch:
    """One container in the making: `container` is locked and empty."""

    def __init__(
        self,
        request: "Request",
        container: "state.Container",
        spec: "Spec",
        trace: "Trace",
        executor: "Callable[[int], Executor]" = _fastpath.Sandbox,
    ) -> None:
        self.trace = trace
        self.request = request
        self.container = container
        self.spec = spec
        self.sandbox: Executor = executor(container.fd)
        self.network = facts.Network()
        self.has_network = True  # whether the guest has a use for one
        self.has_pid_file = False
        self.overhead_bytes = 0  # what its limits have beside the guest's memory
        self.flags = _fastpath.FLAG_HOOKS if spec.poststart or spec.poststop else 0
        self.document = state.document(spec, container.id)

    def write(self, status: str) -> None:
        """Write the record: from the first one on, every command knows this container."""
        box = self.sandbox
        fd, flags, overhead = self.container.fd, self.flags, self.overhead_bytes
        _fastpath.write_state(fd, status, box.pid, box.start_time, flags, self.document, overhead)

    @property
    def pid(self) -> int:
        """The pid of the container's process."""
        return self.sandbox.pid

    def create(
        self,
        chosen: "Monitor",
        host: "Host",
        groups: "tuple[tuple[object, ...], ...]",
        machine: "Callable[[facts.Network], Machine]",
    ) -> None:
        """Bring the container to `created`.

        `groups` are the operations for its cgroups; `machine` decides once the network is known.
        """
        spec, container = self.spec, self.container
        if spec.poststart or spec.poststop:
            state.write_hooks(container, spec)  # before the record, which says that they are there
        self.write("creating")
        self.trace.mark("plan and state directory")
        self.make_sandbox(groups)
        self.trace.mark("sandbox: clone with namespaces")
        if spec.prestart or spec.create_runtime:
            text = hooks.state(spec, container.id, "creating", self.sandbox.pid)
            hooks.run(spec.prestart, text, spec.bundle, "prestart")
            hooks.run(spec.create_runtime, text, spec.bundle, "createRuntime")
        if self.has_network and not facts.is_new_network(spec):
            self.sandbox.lock_network()  # what is found there holds until it is changed
            self.network = facts.network(spec, self.sandbox.pid)
        self.expect(host)
        self.trace.mark("hooks and network")
        self.make_root(chosen, host, machine)
        self.trace.mark("root of the monitor")
        self.write("created")
        if self.request.pid_file:
            write_pid(self.request.pid_file, self.sandbox.pid)
            self.has_pid_file = True
        self.sandbox.release()
        self.trace.mark("commit")
        self.trace.write()

    def expect(self, host: "Host") -> None:
        """Have start look again for a network that is not there yet, as some clients make it in between."""
        found = self.network
        if self.has_network and not found.interfaces and not found.is_host and self.request.verb == "create":
            self.network = facts.Network(taps=found.taps, may_come=True)
            self.flags |= _fastpath.FLAG_LATE | (_fastpath.FLAG_WAITS if host.devices else 0)

    def make_sandbox(self, groups: "tuple[tuple[object, ...], ...]") -> None:
        """Have stage sandbox executed."""
        self.sandbox.execute(_fastpath.pack(plan.sandbox(self.spec, groups).operations))

    def make_root(self, chosen: "Monitor", host: "Host", machine: "Callable[[facts.Network], Machine]") -> None:
        """Have stage root executed and the rest kept by urunc-init."""
        whole = self.plan(chosen, host, machine(self.network))
        stage, *operations = whole.operations
        asked = self.request.pidfd_socket
        told = (("pidfd_socket", asked),) if asked else ()
        self.sandbox.execute(_fastpath.pack((stage, *told, *operations)), tuple(file.fd for file in whole.files))

    def plan(self, chosen: "Monitor", host: "Host", machine: "Machine") -> plan.Plan:
        """Return how urunc-init becomes the monitor of `machine`, in the network that was found."""
        between, last = hooks.inside(self.spec, self.container.id, slots.ROOTFS_SLOT, self._inner_pid())
        console = self.request.console_socket
        confinement = Confinement(keyring=not self.request.no_new_keyring)
        return plan.monitor(self.spec, chosen, machine, host, self.network, console, between, last, confinement)

    def _inner_pid(self) -> int:
        """The pid of the container's process as the hooks in its pid namespace know it."""
        own = any(namespace.type == "pid" and not namespace.path for namespace in self.spec.namespaces)
        asked = self.spec.create_container or self.spec.start_container
        return 1 if own or not asked else hooks.inner_pid(self.sandbox.pid)

    def discard(self) -> None:
        """Undo everything, the pid file too; the error that led here is not hidden by another."""
        self.sandbox.close()
        if self.has_pid_file:
            try:
                os.unlink(self.request.pid_file)
            except FileNotFoundError:
                pass  # its reader has taken it away
        try:
            self.container.remove()
        except OSError as error:
            message = f"undoing a failed create: {explained(error)}: run delete --force {self.container.id}"
            raise HostError(message) from None
        finally:
            hooks.run_last(self.spec, self.container.id)


def explained(error: OSError) -> str:
    """Return what an operation of the executor failed at, in one line: step, thing, reason."""
    parts = [str(part) for part in (getattr(error, "step", ""), error.filename) if part]
    reason = os.strerror(error.errno or 0)
    return f"{' '.join(parts)}: {reason[:1].lower()}{reason[1:]}" if parts else reason


def advised(error: OSError) -> UruncError:
    """Return the error of a plan's step as one line that says what to do where that is known."""
    step = getattr(error, "step", "")
    advice = {
        errno.ENOSYS: ": urunc needs Linux 5.14 or later, without a filter around it",
        errno.EPERM: _forbidden(step),
        errno.ENOSPC: _full(step),
        errno.EDQUOT: ": free some space there",
    }.get(error.errno or 0, "")
    if step[:14] == "error running ":
        return SpecError(f"{step}: {hooks.FAILED}: {error.filename}")
    return HostError(explained(error) + advice)


def _forbidden(step: str) -> str:
    """Return what to do where the kernel refuses: a hard limit takes a capability of its own (setrlimit(2))."""
    if step == "setrlimit":
        return ": a hard limit is raised with CAP_SYS_RESOURCE, RLIMIT_NOFILE up to fs.nr_open: lower process.rlimits"
    if step == "sched_setattr":  # and no word of capabilities: the kernel groups real-time tasks by cgroup (version 1)
        return ": real-time policies take linux.resources.cpu.realtimeRuntime where the cgroup has none of its own"
    return ": urunc needs to run as root with CAP_SYS_ADMIN"


def _full(step: str) -> str:
    """Return what to do where there is no space: an initrd is bounded by the memory that it is unpacked into."""
    if step == "write the guest's initrd":
        return ": it may be as large as the guest's memory: raise linux.resources.memory.limit, or share what is copied"
    if step == "copy":  # a boot file, into memory of the size that it had
        return ": it is larger than it was a moment ago: try again"
    return ": free some space there"


def write_pid(path: str, pid: int) -> None:
    """Write the decimal pid, without a line end, so that a reader finds all of it or no file; HostError."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, "." + name)
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        try:
            state.write_whole(fd, temporary, str(pid).encode())
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        raise HostError(f"pid file: open {temporary}: {os.strerror(error.errno or 0).lower()}") from None


def filters(
    spec: "Spec", chosen: "Monitor", binary: str, *, debug: bool
) -> "tuple[tuple[tuple[int, bytes], ...], tuple[str, ...]]":
    """Return the seccomp filters, our own first: it lets the other be loaded, which need not let ours; or both in one.

    Behind them: notices.  A list is of the program that was recorded: of the one that is built in, not of what the host
    has in its place.  HostError where neither we nor the monitor has a filter.
    """
    from . import calls

    machine = os.uname().machine
    other = chosen.built_in and binary[:1] == "/"
    program = b"" if other else calls.program(chosen.name, machine, log=debug)
    notices = () if program or other else (_unrecorded(chosen, machine, debug=debug),)
    return profile(spec, program) or (((0, program),) if program else ()), notices


def _unrecorded(chosen: "Monitor", machine: str, *, debug: bool) -> str:
    """Return what there is to say where nobody has recorded the system calls of a monitor."""
    if chosen.seccomp:
        return f"{chosen.name} is held by its own seccomp filter alone: its system calls on {machine} are not recorded"
    if debug:
        return f"{chosen.name} is held by no seccomp filter: --debug"
    raise HostError(
        f"{chosen.name} has no seccomp filter, and its system calls on {machine} are not recorded: have that done"
        " (ci/record_calls.py of urunc's sources), or run with --debug, without a filter"
    )


def owner(spec: "Spec") -> "tuple[int, int] | None":
    """Return whom the container's user is out here, None where its ids are the host's."""
    return users(spec, ())[0]


def users(spec: "Spec", files: "tuple[File, ...]") -> "tuple[tuple[int, int] | None, tuple[str, ...]]":
    """Return `owner`, and what of the guest has ids that have to be mapped: roles of files, sources of directories."""
    if all(namespace.type != "user" for namespace in spec.namespaces):
        return None, ()
    from . import userns

    maps = userns.maps(spec)
    mapped = tuple(file.role for file in files if userns.foreign(maps, os.fstat(file.fd).st_uid))
    sources = (spec.rootfs, *(mount.source for mount in spec.mounts if mount.source[:1] == "/"))
    mapped += tuple(path for path in sources if os.path.exists(path) and userns.foreign(maps, os.stat(path).st_uid))
    return (userns.outside(maps.users, spec.uid), userns.outside(maps.groups, spec.gid)), mapped


def profile(spec: "Spec", ours: bytes = b"", *, answered: bool = False) -> "tuple[tuple[int, bytes], ...]":
    """Return the filter that the spec asks for, if it does, with `ours` in it or before it.

    `answered` = an agent may be asked for calls.
    """
    if not spec.cage.seccomp:
        return ()
    from . import seccomp

    return seccomp.filters(spec.cage.seccomp, f"{CACHE}/seccomp", ours, answered=answered)


def check_terminal(request: "Request", spec: "Spec") -> None:
    """Raise HostError for a terminal that nobody would have, and for a socket that nobody would need."""
    detached = request.verb == "create" or request.detach
    if spec.terminal and detached and not request.console_socket:
        raise HostError("cannot allocate tty if urunc will detach without setting console socket: give one")
    if not spec.terminal and request.console_socket:
        raise HostError("cannot use console socket if process.terminal is not true: set it, or drop --console-socket")
