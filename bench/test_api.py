"""create + start by the embedding API against their floor in plain C (floor.c), in turns; a ratio, never a time.

`pytest -s bench/test_api.py`
"""

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.container import CONFIG, merged, write_bundle
from tests.guests import build as guest_cache
from tests.guests import spt_build

import urunc

ROUNDS = 300
TARGET = 2.5
POOL_TARGET = 1.5  # of the start of a sandbox that was made ahead
HEAP = 2 << 30  # bytes
MANY = 1000
AT_ONCE = 8
THROUGHPUT = 0.4  # of the floor's
DRIFT = 1.15  # of the last hundred over the first
GROWTH = 4 << 20  # bytes of resident memory that 1,000 containers may add: arenas, not leaks


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[str]"]:
    """The C program; a line in, a line of microseconds out."""
    directory = tmp_path_factory.mktemp("floor")
    program = directory / "floor"
    true = directory / "true"
    source = "int main(void) { return 0; }"
    subprocess.run(["gcc", "-O2", "-o", program, Path(__file__).with_name("floor.c")], check=True)
    subprocess.run(["gcc", "-O2", "-static", "-x", "c", "-", "-o", true], input=source, text=True, check=True)
    with subprocess.Popen([program, true], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def template(tmp_path: Path) -> Iterator[urunc.Template]:
    keys = {"unikernelType": "mirage", "hypervisor": "spt", "binary": "/guest"}
    annotations = {f"com.urunc.unikernel.{key}": value for key, value in keys.items()}
    limit = {"resources": {"memory": {"limit": 32 << 20}}}
    config = merged(CONFIG, {"annotations": annotations, "linux": limit})
    image = spt_build.build(guest_cache.default_cache())["hello"]
    bundle = write_bundle(tmp_path / "b", {"guest": image}, config)
    root = Path("/run") / f"urunc-bench-{os.getpid()}"  # a tmpfs, as the default is
    with urunc.Runtime(str(root)).template(str(bundle)) as made:
        yield made
    for left in root.iterdir():
        left.unlink()
    root.rmdir()


def floor_us(process: "subprocess.Popen[str]") -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("x")
    process.stdin.flush()
    took = float(process.stdout.readline())
    assert took > 0, "the floor itself failed"
    return took


def since_us(begin: int) -> float:
    return (time.perf_counter_ns() - begin) / 1000


def create_and_start_us(template: urunc.Template, number: int) -> float:
    begin = time.perf_counter_ns()
    with template.create(f"c{number}") as container:
        container.start()
        took = since_us(begin)
        assert container.wait() == 0
    return took


def compare(name: str, floors: list[float], ours: list[float]) -> float:
    ratio = statistics.median(ours) / statistics.median(floors)
    print(f"\n{name}: {statistics.median(ours):.0f} us, floor {statistics.median(floors):.0f} us: {ratio:.2f} x")
    return ratio


@pytest.mark.parametrize("heap", [0, HEAP], ids=["small caller", "2 GiB heap"])
def test_create_and_start(floor: "subprocess.Popen[str]", template: urunc.Template, heap: int) -> None:
    ballast = bytearray(heap)
    ballast[::4096] = b"x" * len(ballast[::4096])  # touched, so that it is really there
    floors, ours = [], []
    for number in range(ROUNDS):
        floors.append(floor_us(floor))
        ours.append(create_and_start_us(template, number))

    assert compare("create + start", floors, ours) <= TARGET


def test_start_of_a_prepared_sandbox(floor: "subprocess.Popen[str]", template: urunc.Template) -> None:
    floors, ours = [], []
    for number in range(ROUNDS):
        floors.append(floor_us(floor))
        with template.create(f"c{number}") as container:
            begin = time.perf_counter_ns()
            container.start()
            ours.append(since_us(begin))
            assert container.wait() == 0

    assert compare("start alone", floors, ours) <= POOL_TARGET


def resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_thousand_in_a_row(template: urunc.Template) -> None:
    """Neither slower nor larger at the end than at the beginning."""
    took = [create_and_start_us(template, number) for number in range(100)]
    memory, descriptors = resident_bytes(), len(os.listdir("/proc/self/fd"))
    took += [create_and_start_us(template, number) for number in range(100, MANY)]

    assert descriptors == len(os.listdir("/proc/self/fd"))
    assert resident_bytes() - memory < GROWTH
    assert compare("the last hundred against the first", took[:100], took[-100:]) <= DRIFT


def test_many_at_once(floor: "subprocess.Popen[str]", template: urunc.Template) -> None:
    """Containers per second from create to delete, by eight threads, against the floor's one after the other."""
    floors = [floor_us(floor) for _ in range(ROUNDS)]
    begin = time.perf_counter_ns()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda number: create_and_start_us(template, number), range(MANY)))
    ours_us = since_us(begin) / MANY
    floors += [floor_us(floor) for _ in range(ROUNDS)]

    throughput = statistics.mean(floors) / ours_us
    print(f"\n{1e6 / ours_us:.0f} containers a second: {throughput:.2f} x the floor's")
    assert throughput >= THROUGHPUT
