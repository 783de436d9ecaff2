"""A runtime that shares /run with nobody: a planner there is the test's own."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.container import BOUND_S, KNOWN, Runtime, children, read, until


class Private(Runtime):
    """A runtime whose commands share a mount namespace with a /run of its own, so that no planner but ours is there."""

    def __init__(self, program: Path, directory: Path) -> None:
        super().__init__(program, directory)
        script = "mount -t tmpfs tmpfs /run && echo ready && read -r line"
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        self.holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout is not None
        assert "ready\n" == self.holder.stdout.readline()
        self.planner: subprocess.Popen[bytes] | None = None
        self.log = directory / "planner"

    def words(self, *words: object) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", *super().words(*words)]

    def start_planner(self) -> None:
        with self.log.open("wb") as log:
            self.planner = self.begin(self.words("--debug", "planner"), stderr=log)
        until(lambda: read(self.log) == "urunc planner: listening\n", "the planner listens")
        KNOWN.update(children())

    def end_planner(self, number: int = signal.SIGTERM) -> int:
        assert self.planner is not None
        planner, self.planner = self.planner, None
        planner.send_signal(number)
        return planner.wait(BOUND_S)

    def said(self) -> list[str]:
        """What the planner has answered."""
        return read(self.log).splitlines()[1:]

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """As Runtime.emptied; then planner and /run are gone, too."""
        try:
            with super().emptied():
                yield
        finally:
            self.close()

    def close(self) -> None:
        if self.planner:
            self.end_planner(signal.SIGKILL)
        self.holder.communicate("\n", BOUND_S)
