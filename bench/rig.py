"""What the benchmarks by the command line are made of: a runtime whose commands are timed, and rows of ratios.

The one rule: everything that a ratio compares is run in turns; a row fails when it is missed by more than the noise
that was measured with it.
"""

import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

IDLE_S = 0.3
Size = tuple[str, float, float]  # what, its value, what that may be at most


@dataclass
class Row:
    """One line of the table: times of ours over times of the peer, and what that may be at most."""

    what: str
    target: float
    ours: list[float]
    peer: list[float]
    low: float = 0
    high: float = 0
    ratio: float = 0

    def judge(self) -> "Row":
        """Set ratio and its 95 % interval: medians of samples drawn again (bootstrap)."""
        draw = random.Random(1)  # noqa: S311
        drawn = sorted(
            statistics.median(draw.choices(self.ours, k=len(self.ours)))
            / statistics.median(draw.choices(self.peer, k=len(self.peer)))
            for _ in range(500)
        )
        self.low, self.high = drawn[12], drawn[-13]
        self.ratio = statistics.median(self.ours) / statistics.median(self.peer)
        return self

    @property
    def missed(self) -> bool:
        return self.low > self.target

    def line(self) -> str:
        mark = "MISSED" if self.missed else "met" if self.high <= self.target else "open: within the noise"
        return f"{self.what:<66} {self.ratio:6.2f} [{self.low:5.2f}, {self.high:5.2f}]  <= {self.target:<5} {mark}"

    def document(self) -> dict[str, object]:
        medians = {"ours": statistics.median(self.ours), "peer": statistics.median(self.peer)}
        names = ("what", "target", "ratio", "low", "high", "missed")
        return {name: getattr(self, name) for name in names} | {"median_ms": medians, "rounds": len(self.ours)}


@dataclass
class Runtime:
    """An OCI runtime's command line with a --root of its own; every command is a spawn, timed to its end."""

    name: str
    program: str
    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/bin:/bin:/usr/sbin"})

    def __call__(self, *words: object) -> float:
        """Return how many ms the command took; it must succeed."""
        return self.spawn(self.program, "--root", self.root, *words)

    def spawn(self, *words: object) -> float:
        argv = [str(word) for word in words]
        streams = [(os.POSIX_SPAWN_DUP2, NULL, fd) for fd in (0, 1, 2)]
        begin = time.perf_counter()
        pid = os.posix_spawn(argv[0], argv, self.environment, file_actions=streams)
        _, status = os.waitpid(pid, 0)
        took = (time.perf_counter() - begin) * 1000
        if status:
            raise RuntimeError(f"{' '.join(argv)}: status {status}")
        return took

    def create(self, bundle: Path, name: str = "c") -> tuple[float, int]:
        """Return the ms, and the pid of the container's process, which is ours to wait for."""
        pid_file = self.root / "pid"
        took = self("create", "--bundle", bundle, "--pid-file", pid_file, name)
        return took, int(pid_file.read_text())


NULL = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
Once = Callable[[Runtime], dict[str, float]]


def collect(runtimes: list[Runtime], rounds: int, once: Once) -> dict[str, dict[str, list[float]]]:
    """Runtime -> what -> times, in turns; two rounds before count for nothing."""
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds + 2):
        for runtime in runtimes:
            times = once(runtime)
            if number >= 2:
                for what, value in times.items():
                    found.setdefault(runtime.name, {}).setdefault(what, []).append(value)
    return found


def idle(once: Once) -> Once:
    def after_a_pause(runtime: Runtime) -> dict[str, float]:
        time.sleep(IDLE_S)
        return once(runtime)

    return after_a_pause
