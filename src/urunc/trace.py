"""Where the time of a command goes: its steps, one clock for Python and C, handed to whoever listens.

The one rule: a command that nobody listens to pays a comparison per step, and a file that cannot be written is an
error before anything is made.
"""

import os

from .errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # command, container, steps: name and monotonic ns of the end; the first is the begin and has no name
    Sink = Callable[[str, str, list[tuple[str, int]]], None]

# (command, step) -> the numbers that the Go implementation gives to its end, for that one's measuring scripts; those of
# steps that do not exist here have the time of the one before
_TIMESTAMPS = {
    ("create", ""): (0,),
    ("create", "bundle"): (1,),
    ("create", "plan and state directory"): (2, 3),
    ("create", "sandbox: clone with namespaces"): (4, 5, 6),
    ("create", "hooks and network"): (7,),
    ("create", "root of the monitor"): (8, 9),
    ("create", "commit"): (10,),
    ("start", ""): (11,),
    ("start", "state"): (12, 13),
    ("start", "enter"): (14, 15, 16, 17, 18),
}


class Trace:
    """The steps of one command.  A step lasts from the mark before to its own."""

    def __init__(self, command: str, container_id: str) -> None:
        self.command = command
        self.id = container_id
        self.sinks: tuple[Sink, ...] | None = None  # not known yet: who listens stands in the configuration
        self.marks: list[tuple[str, int]] = []
        self.mark("")

    def listen(self, found: "tuple[Sink, ...]") -> None:
        """Say who listens; nothing is noted any more if that is nobody."""
        self.sinks = found

    def mark(self, step: str, at_ns: int = 0) -> None:
        """Note that `step` has ended now, or at `at_ns` of CLOCK_MONOTONIC, which C has read."""
        if self.sinks != ():
            import time

            self.marks.append((step, at_ns or time.monotonic_ns()))

    def write(self) -> None:
        """Hand the steps so far to the sinks; the next ones begin at the last."""
        for sink in self.sinks or ():
            sink(self.command, self.id, self.marks)
        self.marks = self.marks[-1:]


def sinks(chrome_path: str, timestamps_path: str) -> "tuple[Sink, ...]":
    """Return what listens in a file; a path "" is nobody.  HostError for one that cannot be written."""
    made: list[Sink] = []
    if chrome_path:
        _append(chrome_path, "")
        made.append(lambda command, _, marks: _chrome(chrome_path, command, marks))
    if timestamps_path:
        _append(timestamps_path, "")
        made.append(lambda command, name, marks: _timestamps(timestamps_path, command, name, marks))
    return tuple(made)


def _chrome(path: str, command: str, marks: "list[tuple[str, int]]") -> None:
    """Append events of Chrome's trace format: a JSON array whose closing bracket may be missing, as it allows."""
    from .jsontext import encode

    own = {"cat": command, "ph": "X", "pid": os.getpid(), "tid": os.getpid()}
    lines = [
        encode({"name": step, "ts": before / 1000, "dur": (at - before) / 1000} | own) + ",\n"
        for (_, before), (step, at) in zip(marks, marks[1:], strict=False)  # noqa: RUF007  itertools is dear here
    ]
    _append(path, "".join(lines), "[\n")


def _timestamps(path: str, command: str, container_id: str, marks: "list[tuple[str, int]]") -> None:
    """Append a JSON object for every number: container, number, time since 1970 in ns."""
    import time

    from .jsontext import encode

    offset = time.time_ns() - time.monotonic_ns()
    lines = [
        encode({"containerID": container_id, "timestampID": f"TS{number:02}", "time": at + offset}) + "\n"
        for step, at in marks
        for number in _TIMESTAMPS.get((command, step), ())
    ]
    _append(path, "".join(lines))


def _append(path: str, text: str, head: str = "") -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            if text:
                os.write(fd, ((head if os.fstat(fd).st_size == 0 else "") + text).encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise HostError(f"trace {path}: {os.strerror(error.errno or 0).lower()}") from None
