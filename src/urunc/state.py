"""The state directory <root>/<id> and who it belongs to; the files themselves are read and written in C.

The one rule: whoever changes a container holds its lock.
"""

import errno
import os

from . import _fastpath
from .errors import StateError
from .jsontext import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import Hook, Spec

LOCK_TIMEOUT_MS = 10_000
OCI_VERSION = "1.3.0"  # of the state documents written here
_HALF_MADE = {"record.new", "hooks.json", "hooks.new"}  # what a create killed before its first record leaves


class Container:
    """An open state directory; a context manager that lets go of directory and lock."""

    def __init__(self, root_fd: int, container_id: str, fd: int, lock_fd: int) -> None:
        self.root_fd = root_fd
        self.id = container_id
        self.fd = fd
        self.lock_fd = lock_fd

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Close what is open, and give up the lock with it; may be called twice."""
        for fd in (self.fd, self.lock_fd, self.root_fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self.lock_fd = self.root_fd = -1

    def owner(self) -> str:
        """Return whose container this is: "urunc", "fallback", or "nobody" for what a killed create has left."""
        if self.fd < 0:
            return "nobody"
        if os.access("record", os.F_OK, dir_fd=self.fd):
            return "urunc"
        try:
            files = set(os.listdir(self.fd))
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise StateError(f"read the state directory of container {self.id}: {reason}") from None
        return "fallback" if files - _HALF_MADE else "nobody"

    def record(self) -> "_fastpath.State":
        """Return the record; StateError if there is none that this version can read."""
        try:
            return _fastpath.State(self.fd)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise StateError(f"container does not exist: {self.id}") from None
            if error.errno not in (errno.EINVAL, errno.EPROTONOSUPPORT):  # nothing is wrong with the record
                reason = os.strerror(error.errno or 0).lower()
                raise StateError(f"read the record of container {self.id}: {reason}: try again") from None
            advice = "use that one for it, or remove" if error.errno == errno.EPROTONOSUPPORT else "remove"
            raise StateError(
                f"the record of container {self.id} cannot be read ({error.filename}): {advice} it by delete --force"
            ) from None

    def status(self, record: "_fastpath.State") -> str:
        """Return the status as it is now; a create that nobody works on any more has stopped."""
        status = record.status()
        if status != "creating" or (self.lock_fd < 0 and not self.lock(0)):
            return status
        status = self.record().status()  # it may have been committed before we had the lock
        return "stopped" if status == "creating" else status

    def lock(self, timeout_ms: int) -> bool:
        """Take the lock; False if somebody else has it for all of `timeout_ms`."""
        try:
            self.lock_fd = _fastpath.lock(self.root_fd, self.id, timeout_ms)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            place = os.readlink(f"/proc/self/fd/{self.root_fd}")
            raise StateError(f"{place} is on a read-only file system: give another directory by --root") from None
        return True

    def remove(self) -> None:
        """Undo what the journal lists, then remove the directory.  OSError says what could not be undone."""
        if self.fd >= 0:
            _fastpath.undo(self.fd)
        _fastpath.remove(self.root_fd, self.id)


def open_(root: str, container_id: str, *, locked: bool) -> Container:
    """Open the directory of a container that exists (`fd` -1 if there is none); wait for its lock if `locked`."""
    try:
        root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return Container(-1, container_id, -1, -1)
    container = Container(root_fd, container_id, -1, -1)
    try:
        if locked and not container.lock(LOCK_TIMEOUT_MS):
            raise StateError(f"container {container_id} is busy: another command has worked on it for 10 s, try again")
        container.fd = _open_directory(root_fd, container_id)
    except BaseException:
        container.__exit__()
        raise
    return container


def create(root: str, container_id: str) -> Container:
    """Make the directory of a new container and take its lock; StateError if the id is taken."""
    container = open_(root, container_id, locked=True)
    if container.root_fd < 0:
        os.makedirs(root, 0o700, exist_ok=True)
        container = open_(root, container_id, locked=True)
    try:
        if container.root_fd < 0:
            raise StateError(f"cannot open {root}: give another directory by --root")
        if container.fd >= 0 and container.owner() == "nobody":
            container.remove()
        try:
            os.mkdir(container_id, 0o700, dir_fd=container.root_fd)
        except FileExistsError:
            raise StateError(
                f"container with given ID already exists: {container_id}: delete it first, or give another id"
            ) from None
        old, container.fd = container.fd, -1
        if old >= 0:
            os.close(old)
        container.fd = _open_directory(container.root_fd, container_id)
    except BaseException:
        container.__exit__()
        raise
    return container


def document(spec: "Spec", container_id: str) -> "tuple[bytes, bytes, _fastpath.Json, bytes]":
    """Return the OCI state as JSON in pieces: C puts `pid` and `status` behind the first one."""
    import time

    created = "{}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*time.gmtime())
    head = f'{{\n  "ociVersion": "{OCI_VERSION}",\n  "id": {encode(container_id)},\n'
    tail = (
        f'  "bundle": {encode(spec.bundle)},\n  "rootfs": {encode(spec.rootfs)},\n  "created": "{created}",\n'
        '  "annotations": '
    )
    return head.encode(), tail.encode(), spec.annotations, b',\n  "owner": "root"\n}'


def write_hooks(container: Container, spec: "Spec") -> None:
    """Keep what start and delete need of the spec: by then the bundle may be gone."""

    def plain(hooks: "tuple[Hook, ...]") -> "list[dict[str, object]]":
        return [{"path": h.path, "args": h.args, "env": h.env, "timeout": h.timeout_s} for h in hooks]

    kept = {
        "bundle": spec.bundle,
        "version": spec.version,
        "annotations": spec.annotations,
        "poststart": plain(spec.poststart),
        "poststop": plain(spec.poststop),
    }
    fd = os.open("hooks.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=container.fd)
    try:
        write_whole(fd, "hooks.json", encode(kept).encode("utf-8", "surrogateescape"))
    finally:
        os.close(fd)
    os.rename("hooks.new", "hooks.json", src_dir_fd=container.fd, dst_dir_fd=container.fd)


def write_whole(fd: int, path: str, text: bytes) -> None:
    """Write all of `text`; OSError of `path` where a part of it finds no room, which write(2) takes for success."""
    try:
        while text:
            text = text[os.write(fd, text) :]
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None


def _open_directory(root_fd: int, container_id: str) -> int:
    try:
        return os.open(container_id, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root_fd)
    except (FileNotFoundError, NotADirectoryError):
        return -1
