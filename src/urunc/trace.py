"""Where the time of a command goes: one event for every step, in Chrome's trace format (opens in Perfetto).

The one rule: a command that is not traced pays a comparison per step, and a trace that cannot be written stops nothing.
"""

import os

from .errors import HostError


class Trace:
    """The steps of one command; `path` "" for none.  A step lasts from the mark before to its own."""

    def __init__(self, path: str, command: str) -> None:
        self.path = path
        self.command = command
        self.marks: list[tuple[str, int]] = []
        if path:
            self.mark("")

    def mark(self, step: str) -> None:
        """Note that `step` has ended now."""
        if self.path:
            import time

            self.marks.append((step, time.monotonic_ns()))

    def write(self) -> None:
        """Append the events; the file is a JSON array whose closing bracket may be missing, as the format allows."""
        if not self.path:
            return
        from .jsontext import encode

        lines = [
            encode(
                {
                    "name": step,
                    "cat": self.command,
                    "ph": "X",
                    "ts": before / 1000,
                    "dur": (at - before) / 1000,
                    "pid": os.getpid(),
                    "tid": os.getpid(),
                }
            )
            for (_, before), (step, at) in zip(self.marks, self.marks[1:], strict=False)
        ]
        self.marks = self.marks[-1:]
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                head = "[\n" if os.fstat(fd).st_size == 0 else ""
                os.write(fd, (head + "".join(line + ",\n" for line in lines)).encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise HostError(f"trace {self.path}: {os.strerror(error.errno or 0).lower()}") from None
