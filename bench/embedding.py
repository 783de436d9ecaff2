"""The embedding API against its floor in plain C (floor.c): what `ci/bench` and test_api.py measure of it.

The one rule: floor and API take turns, and a throughput is that of whole containers, from the clone to the end.
"""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench.rig import Row, Size

import urunc

TARGET = 2.5  # of create + start, and of the throughput's inverse
HEAP = 2 << 30  # bytes
MANY = 1000
AT_ONCE = 8
BATCH = 20  # of the containers in a row; 2 x AT_ONCE at once
DRIFT = 1.15  # of the last hundred over the first
GROWTH_MB = 4  # that 1,000 containers may add: arenas of the allocator, not leaks


class Floor:
    """The C program; a byte in, a line of microseconds out."""

    def __init__(self, directory: Path) -> None:
        program, true = directory / "floor", directory / "floor-true"
        if not program.exists():
            source = "int main(void) { return 0; }"
            subprocess.run(["gcc", "-O2", "-o", program, Path(__file__).with_name("floor.c")], check=True)
            subprocess.run(["gcc", "-O2", "-static", "-x", "c", "-", "-o", true], input=source, text=True, check=True)
        self._process = subprocess.Popen([program, true], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Floor":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, count: int) -> None:
        """Have `count` processes made, one after the other; `answers` waits for them."""
        assert self._process.stdin is not None
        self._process.stdin.write("x" * count)
        self._process.stdin.flush()

    def answers(self, count: int) -> list[float]:
        """The microseconds of each, to its exec."""
        assert self._process.stdout is not None
        took = [float(self._process.stdout.readline()) for _ in range(count)]
        if min(took) <= 0:
            raise RuntimeError("the floor itself failed")
        return took

    def once(self) -> float:
        """The microseconds of one."""
        self.ask(1)
        return self.answers(1)[0]


@contextmanager
def template_of(bundle: Path) -> Iterator[urunc.Template]:
    """A template of `bundle`; its containers have a directory of their own on /run, a tmpfs as the default is."""
    root = Path("/run") / f"urunc-bench-api-{os.getpid()}"
    try:
        with urunc.Runtime(str(root)).template(str(bundle)) as made:
            yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


def since_us(begin_ns: int) -> float:
    return (time.perf_counter_ns() - begin_ns) / 1000


def create_and_start(template: urunc.Template, name: str) -> float:
    """One whole life; the microseconds of create + start alone."""
    begin = time.perf_counter_ns()
    with template.create(name) as container:
        container.start()
        took = since_us(begin)
        if container.wait() != 0:
            raise RuntimeError(f"{name}: status {container.status}")
    return took


def start_alone(template: urunc.Template, name: str) -> float:
    """One whole life; the microseconds of start, of a sandbox that was made ahead."""
    with template.create(name) as container:
        begin = time.perf_counter_ns()
        container.start()
        took = since_us(begin)
        container.wait()
    return took


def in_turns(floor: Floor, ours: Callable[[int], float], rounds: int) -> tuple[list[float], list[float]]:
    """Times of ours and of the floor; two rounds before count for nothing."""
    pairs = [(ours(number), floor.once()) for number in range(rounds + 2)][2:]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


@contextmanager
def large_heap() -> Iterator[None]:
    """The caller is large for the time of this: `HEAP` bytes, touched, so that they are really there."""
    ballast = bytearray(HEAP)
    ballast[::4096] = b"x" * len(ballast[::4096])
    yield
    del ballast


def in_a_row(floor: Floor, template: urunc.Template) -> tuple[list[float], list[float], list[float]]:
    """`MANY` whole containers in batches: microseconds a container of ours and of the floor, of create + start."""
    ours, floors, starts = [], [], []
    for number in range(0, MANY, BATCH):
        begin = time.perf_counter_ns()
        starts += [create_and_start(template, f"c{number + one}") for one in range(BATCH)]
        ours.append(since_us(begin) / BATCH)
        begin = time.perf_counter_ns()
        floor.ask(BATCH)
        floor.answers(BATCH)
        floors.append(since_us(begin) / BATCH)
    return ours, floors, starts


def at_once(directory: Path, template: urunc.Template) -> tuple[list[float], list[float]]:
    """The same by `AT_ONCE` threads, against as many floors at once."""
    each, ours, peer = BATCH // AT_ONCE + 1, [], []
    count = each * AT_ONCE
    floors = [Floor(directory) for _ in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for number in range(0, MANY, count):
            begin = time.perf_counter_ns()
            list(threads.map(lambda one: create_and_start(template, f"c{one}"), range(number, number + count)))
            ours.append(since_us(begin) / count)
            begin = time.perf_counter_ns()
            for floor in floors:
                floor.ask(each)
            for floor in floors:
                floor.answers(each)
            peer.append(since_us(begin) / count)
    for floor in floors:
        floor.__exit__()
    return ours[1:], peer[1:]  # the first batch starts the threads


def resident_mb() -> float:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def drift(starts: list[float], floors: list[float]) -> Row:
    """The last hundred against the first, each as a multiple of the floor beside it: the machine may have changed."""
    multiples = [took / floors[number // BATCH] for number, took in enumerate(starts)]
    return Row("embedding API: the last 100 of 1,000 / the first 100", DRIFT, multiples[-100:], multiples[:100])


def measure(bundle: Path, directory: Path, rounds: int) -> tuple[list[Row], list[Size]]:
    """The rows of the API, and what 1,000 containers leave in the process that made them."""
    rows = []
    rounds *= 5  # these are short
    with Floor(directory) as floor, template_of(bundle) as template:
        plain = in_turns(floor, lambda number: create_and_start(template, f"c{number}"), rounds)
        rows.append(Row("embedding API: create + start / the floor in C", TARGET, *plain))
        with large_heap():
            large = in_turns(floor, lambda number: create_and_start(template, f"c{number}"), rounds)
        rows.append(Row("the same with a heap of 2 GiB / the floor", TARGET, *large))
        memory, open_before = resident_mb(), descriptors()
        ours, floors, starts = in_a_row(floor, template)
        sizes = [
            ("growth of the process by 1,000 containers, MB", max(resident_mb() - memory, 0.0), float(GROWTH_MB)),
            ("descriptors that 1,000 containers leave", float(descriptors() - open_before), 0.0),
        ]
        rows.append(Row("1,000 in a row, whole / the floor's", TARGET, ours, floors))
        rows.append(drift(starts, floors))
        rows.append(Row(f"the same, {AT_ONCE} at a time / as many floors", TARGET, *at_once(directory, template)))
    return rows, sizes


def ratio(name: str, ours: list[float], floors: list[float]) -> float:
    """Print and return the ratio of medians."""
    found = statistics.median(ours) / statistics.median(floors)
    print(f"\n{name}: {statistics.median(ours):.0f} us, floor {statistics.median(floors):.0f} us: {found:.2f} x")
    return found
