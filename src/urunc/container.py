"""A container in the hands of a program (api.py): what can be done to one that exists.

The one rule: whatever goes wrong is an UruncError, and a container that is not deleted here lives on.
"""

import os
import threading

from . import _fastpath, events, runtime, update
from ._record import Record, replace
from .errors import StateError
from .jsontext import decode
from .launch import advised
from .request import Request
from .wanted import listeners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import BinaryIO, Protocol, Self, TypedDict, Unpack

    from .launch import Launch

    class Template(Protocol):
        """api.Template, which plans a start with other arguments."""

        def plan(self, launch: Launch, args: "tuple[str, ...]", env: "tuple[str, ...] | None") -> bytes: ...

    class Limits(TypedDict, total=False):
        """What `update` changes: fields of request.Request; -1 is unlimited."""

        memory_bytes: int
        memory_reservation_bytes: int
        memory_swap_bytes: int
        cpu_quota_us: int
        cpu_period_us: int
        cpu_shares: int
        cpu_burst_us: int
        cpu_idle: int
        cpu_rt_runtime_us: int
        cpu_rt_period_us: int
        cpuset_cpus: str
        cpuset_mems: str
        pids_limit: int
        blkio_weight: int


class State(Record):
    """What is true of a container now (runtime-spec, runtime.md#state); `pid` is 0 when it has stopped."""

    id: str
    status: str  # creating, created, running, paused, stopped
    pid: int
    bundle: str
    created: str  # RFC 3339
    annotations: "tuple[tuple[str, str], ...]"


class Container:
    """One container.  As a context manager it is deleted at the end, running or not."""

    def __init__(
        self, request: Request, pidfd: int, launch: "Launch | None" = None, template: "Template | None" = None
    ) -> None:
        self.id = request.id
        self.status: int | None = None  # exit status once `wait` has seen it; 128 + n for signal n
        self.is_deleted = False  # by us: the id may be another container's by now
        self.stdin: BinaryIO | None = None  # our ends of streams that are PIPE
        self.stdout: BinaryIO | None = None
        self.stderr: BinaryIO | None = None
        self._request = request
        self._pidfd = pidfd
        self._launch = launch
        self._template = template
        self._lock = threading.Lock()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        if not self.is_deleted:
            self.delete(force=True)
        self.close()

    def close(self) -> None:
        """Close our ends of its pipes and the pidfd: it cannot be waited for any more; the container is not touched."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)

    def __del__(self) -> None:
        self.close()

    def start(self, args: "tuple[str, ...]" = (), env: "tuple[str, ...] | None" = None) -> "tuple[str, ...]":
        """Run the guest: return once the monitor executes; the warnings of poststart hooks.

        `args` and `env`, if given, take the place of process.args and process.env of the bundle.
        """
        with told():
            if not args and env is None and self._is_quiet() and _fastpath.start(self._request.root, self.id):
                return ()
            plan = b""
            if args or env is not None:
                if self._launch is None or self._template is None:
                    raise StateError(f"container {self.id} was made elsewhere: it starts as it was created")
                plan = self._template.plan(self._launch, args or self._launch.spec.args, env)
            return runtime.start(self._request, plan).warnings

    def kill(self, signal: int = 15, *, if_running: bool = False) -> None:
        """Send a signal; StateError if the container has stopped, unless `if_running`."""
        with told():
            runtime.kill(self._asking("kill", signal=int(signal), all=if_running))

    def delete(self, *, force: bool = False) -> "tuple[str, ...]":
        """Remove what create made, the container's end awaited first with `force`; the warnings of poststop hooks."""
        with told():
            served = self._is_quiet() and _fastpath.delete(self._request.root, self.id, force)
            warnings = () if served else runtime.delete(self._request, force=force).warnings
        self.is_deleted = True
        self._reap()
        return warnings

    def state(self) -> State:
        """Return what is true now; StateError once it is deleted."""
        with told():
            text = runtime.state(self._asking("state"))
        found = decode(text.encode("utf-8", "surrogateescape"), self.id)
        fields = ("id", "status", "pid", "bundle", "created")
        return State(**{key: found[key] for key in fields}, annotations=tuple(found["annotations"].items()))  # type: ignore[index]

    def pause(self) -> None:
        """Freeze its processes; StateError unless it is created or running."""
        with told():
            runtime.pause(self._asking("pause"))

    def resume(self) -> None:
        """Let a paused container go on."""
        with told():
            runtime.resume(self._asking("resume"))

    def update(self, **limits: "Unpack[Limits]") -> None:
        """Change limits, all or none: memory_bytes, cpu_quota_us, pids_limit ...; -1 is unlimited.  TypeError."""
        for name, value in limits.items():
            kind = str if name.startswith("cpuset_") else int
            if name not in update.FLAGS.values():
                raise TypeError(f"update: there is no limit {name}: the limits are {', '.join(update.FLAGS.values())}")
            if not isinstance(value, kind):
                raise TypeError(f"update: {name} is of type {kind.__name__}, not {type(value).__name__}")
        with told():
            update.update(self._asking("update", **limits))

    def stats(self) -> "dict[str, object]":
        """Return the statistics of its cgroups now, as `urunc events --stats` prints them in `data`."""
        return self._events(stats=True).__next__()["data"]  # type: ignore[return-value]

    def events(self, interval_ms: int = 5000) -> "Iterator[dict[str, object]]":
        """Yield statistics every `interval_ms`, and each lack of memory, until it has stopped: `type`, `id`, `data`."""
        return self._events(interval_ms=interval_ms)

    def _events(self, **options: "bool | int") -> "Iterator[dict[str, object]]":
        with told():
            for line in events.events(self._asking("events", **options)):
                yield decode(line.encode(), self.id)  # type: ignore[misc]  # objects all

    def _asking(self, verb: str, **fields: "bool | int | str") -> Request:
        return replace(self._request, verb=verb, **fields)

    def is_waiting(self) -> bool:
        """Whether it can be started: created, its urunc-init alive."""
        try:
            return self.state().status == "created"
        except StateError:
            return False

    def fileno(self) -> int:
        """Return the pidfd of the container's process, readable once it has ended; -1 if it ended before `get`."""
        return self._pidfd

    def wait(self, timeout_s: "float | None" = None) -> "int | None":
        """Wait for the end of the container's process; return its exit status, 128 + n for signal n.

        None after `timeout_s`, or if the process is no child of ours.
        """
        import select

        if self._pidfd >= 0:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            if not poll.poll(None if timeout_s is None else max(0, int(timeout_s * 1000))):
                return None
        self._reap()
        return self.status

    def _is_quiet(self) -> bool:
        """Whether nobody listens to the steps, so that what is ordinary can be done in one."""
        return not (self._request.trace or listeners(self._request))

    def _reap(self) -> None:
        with self._lock:
            if self._pidfd < 0 or self.status is not None:
                return
            try:
                ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                return  # another process made it, or its status went to somebody else's wait
            if ended is not None:
                self.status = ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


class told:  # noqa: N801  reads as a word of the language
    """Turns what the kernel refused into the error that says so in one line."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: "BaseException | None", __: object) -> None:
        if isinstance(error, OSError):
            raise advised(error) from error
