"""A resident planner: create without the start of an interpreter (planner.h; `urunc planner`).

The one rule: it does what create does, by the same functions; only the execution of plans is ordered from the front, so
that a container is the child of its caller.  What is out of the ordinary it refuses: the front goes on without it.
"""

import errno
import os
import signal
import socket
import struct
import threading
import time
from array import array

from .cli import Log
from .errors import HostError, UruncError
from .request import Request
from .wanted import Wanted, build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

SOCKET = "/run/urunc/@planner"
MAGIC, VERSION = 0x4E4C5052, 2
TEXT_MAX = 16 << 10
BACKLOG = 64
SCARCE, PAUSE_S = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM), 0.01
REQUEST = struct.Struct("=II4Q5Q")  # struct fp_planner_request without its text
ORDER = struct.Struct("=II")
RESULT = struct.Struct("=qQi48s256s4x")  # struct fp_planner_result
STATE, EXECUTE, LOCK, RELEASE, CLOSE, DONE, REFUSED = b"SELRCDN"
NAMESPACES = ("mnt", "pid", "net", "user", "cgroup")


def serve(request: Request) -> None:
    """Answer requests until SIGTERM or SIGINT; HostError if there is a planner already.

    With --debug a line for each goes to standard error.
    """
    signal.signal(signal.SIGTERM, _end)
    here = (_build(), _namespaces())
    listener = _listen(SOCKET)
    if request.debug:
        os.write(2, b"urunc planner: listening\n")
    try:
        while True:
            _accept(listener, here, request.debug)
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
        os.unlink(SOCKET)


def _accept(listener: socket.socket, here: "tuple[tuple[int, ...], tuple[int, ...]]", debug: bool) -> None:
    """Have a thread answer the next one; without room for that now it waits, or goes on by itself."""
    try:
        connection, _ = listener.accept()
    except OSError as error:
        if error.errno not in SCARCE:
            raise
        time.sleep(PAUSE_S)  # until another one has been answered
        return
    try:
        threading.Thread(target=_answer, args=(connection, here, debug), daemon=True).start()
    except RuntimeError:  # no more threads
        connection.close()


def _end(_number: int, _frame: "FrameType | None") -> None:
    raise KeyboardInterrupt


def _build() -> "tuple[int, ...]":
    """Return which file this is: the front that asks must be the same one."""
    from .delegate import ourselves

    path = ourselves()
    if not path:
        raise HostError("a planner serves the single file: start it as `urunc planner`")
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _namespaces() -> "tuple[int, ...]":
    return tuple(os.stat(f"/proc/self/ns/{name}").st_ino for name in NAMESPACES)


def _listen(path: str) -> socket.socket:
    """Return a socket that root alone can reach; one that a planner has left is replaced."""
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            os.unlink(path)
        else:
            raise HostError(f"a planner serves {path} already: end it first")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


def _answer(connection: socket.socket, here: "tuple[tuple[int, ...], tuple[int, ...]]", debug: bool) -> None:
    with connection:
        last, words = DONE, "made"
        try:
            _create(_request(connection, here), connection)
        except (UruncError, OSError, ValueError) as error:
            last, words = REFUSED, f"refused: {error}"  # the front comes to the same end by itself, and says why
        if debug:
            os.write(2, f"urunc planner: {words}\n".encode())
        try:
            connection.send(ORDER.pack(last, 0))
        except OSError:
            pass  # it has gone


def _request(connection: socket.socket, here: "tuple[tuple[int, ...], tuple[int, ...]]") -> Request:
    """Return what is asked for; ValueError for whom or what is not served."""
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    data, descriptors, _, _ = socket.recv_fds(connection, REQUEST.size + TEXT_MAX, 1)
    try:
        if uid != os.geteuid() or len(data) <= REQUEST.size or len(descriptors) != 1:
            raise ValueError("no request, or of another user")
        magic, version, *numbers = REQUEST.unpack_from(data)
        if (magic, version) != (MAGIC, VERSION) or (tuple(numbers[:4]), tuple(numbers[4:])) != here:
            raise ValueError("of another build of urunc, or of other namespaces")
        container_id, root, bundle, console, pid_file, config, log, form = map(
            os.fsdecode, data[REQUEST.size : -1].split(b"\0")
        )
        if not os.path.samestat(os.stat(bundle), os.fstat(descriptors[0])):
            raise ValueError(f"{bundle} is another directory here")
    finally:
        for fd in descriptors:
            os.close(fd)
    return Request(
        verb="create",
        id=container_id,
        root=os.path.abspath(root),
        bundle=os.path.abspath(bundle),
        console_socket=console,
        pid_file=pid_file,
        config=config,
        log=log,
        log_format=form,
        hands_over=False,
    )


def _create(request: Request, connection: socket.socket) -> None:
    """Make the container; ValueError for one that is none of the ordinary case."""
    with Wanted(request) as wanted:
        spec = wanted.spec
        # hooks of create are run by who was called, and once: what has failed by them is not to be tried again without
        hooks = (spec.prestart, spec.create_runtime, spec.create_container)
        if wanted.unikernel is None or any(hooks) or wanted.config.timestamps:
            raise ValueError(f"{request.id} has hooks of create or timestamps, or is an ordinary container")
        if spec.cgroups_path[:1] != "/" and not _shares_cgroups(connection):
            raise ValueError(f"{request.id} gets its cgroups where its caller is, which is elsewhere")
        prepared = wanted.prepare()
        if wanted.notices and not request.log:
            raise ValueError("; ".join(wanted.notices))  # they belong on the standard error of who asked
        build(request, wanted, prepared, lambda state_fd: Front(connection, state_fd))
        if request.log and (wanted.notices or wanted.hints):
            log = Log()
            log.open({"log": request.log, "log_format": request.log_format})
            for notice in (*wanted.notices, *wanted.hints):
                log.warning(notice)
            log.close()


def _shares_cgroups(connection: socket.socket) -> bool:
    pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    with open(f"/proc/{pid}/cgroup", "rb") as theirs, open("/proc/self/cgroup", "rb") as ours:
        return theirs.read() == ours.read()


class Front:
    """Executes plans as _fastpath.Sandbox does, in the process that asked."""

    def __init__(self, connection: socket.socket, state_fd: int) -> None:
        self._connection = connection
        self._closed = False
        self._pid = self._start_time = 0
        self._send(STATE, 0, (state_fd,))

    @property
    def pid(self) -> int:
        """The pid of the container's process; 0 before there is one."""
        return self._pid

    @property
    def start_time(self) -> int:
        """The start time of that process."""
        return self._start_time

    def execute(self, plan: bytes, descriptors: "tuple[int, ...]" = ()) -> None:
        """Have the stages sandbox and root executed, and the rest kept."""
        fd = os.memfd_create("urunc-plan", os.MFD_CLOEXEC)
        try:
            os.write(fd, plan)
            self._order(EXECUTE, len(plan), (fd, *descriptors))
        finally:
            os.close(fd)

    def lock_network(self) -> None:
        """Keep other creators out of the network namespace."""
        self._order(LOCK)

    def release(self) -> None:
        """Commit."""
        self._order(RELEASE)

    def close(self) -> None:
        """End what there is; a front that has gone has done so."""
        if not self._closed and self._pid:
            self._closed = True
            try:
                self._order(CLOSE)
            except OSError:
                pass

    def _send(self, kind: int, size: int, descriptors: "tuple[int, ...]") -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        self._connection.sendmsg([ORDER.pack(kind, size)], rights)

    def _order(self, kind: int, size: int = 0, descriptors: "tuple[int, ...]" = ()) -> None:
        self._send(kind, size, descriptors)
        answer = self._connection.recv(RESULT.size)
        if len(answer) != RESULT.size:
            raise ConnectionResetError("the front has gone")
        self._pid, self._start_time, number, step, path = RESULT.unpack(answer)
        if number:
            error = OSError(number, os.strerror(number), os.fsdecode(path.rstrip(b"\0").split(b"\0")[0]) or None)
            error.step = os.fsdecode(step.split(b"\0")[0])  # type: ignore[attr-defined]
            raise error
