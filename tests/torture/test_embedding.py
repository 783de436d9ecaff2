"""One embedding program with many threads or tasks on the same containers, which are ended and given up meanwhile.

The one rule: whoever is first, each call succeeds or raises an UruncError, and nothing is left when all are through.
"""

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from tests.container import Runtime, descriptors, orphans, until
from tests.torture import kinds
from tests.torture.rounds import ROUNDS, SEED

import urunc as api
from urunc import aio
from urunc.pool import Pool

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]

AT_ONCE = 4
RACES = ROUNDS // 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A bundle whose guest stays."""
    return kinds.waiting(tmp_path / "b")


@pytest.fixture
def runtime(urunc: Runtime) -> Iterator[api.Runtime]:
    """The API on the directory of the command line's; afterwards nothing is left of either."""
    made = api.Runtime(str(urunc.root), str(urunc.config))
    open_before, threads_before = descriptors(), threading.active_count()
    yield made
    until(lambda: not orphans(), "the end of all processes")

    assert [] == urunc.remains()
    assert (open_before, threads_before) == (descriptors(), threading.active_count())


class Outcomes:
    """What calls from several threads have come to; anything but an UruncError is not caught."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def of(self, name: str, call: Callable[[], object]) -> bool:
        try:
            call()
        except api.UruncError as error:
            assert "\n" not in str(error), name
            self.seen[f"{name} refused"] += 1
            return False
        self.seen[name] += 1
        return True


def side_by_side(*calls: Callable[[], object]) -> None:
    with ThreadPoolExecutor(len(calls)) as threads:
        for ended in [threads.submit(call) for call in calls]:
            ended.result()


def used(outcomes: Outcomes, container: api.Container, chance: random.Random) -> None:
    """What a server does with one; a container that somebody has killed meanwhile is refused, and deleted like any."""
    with container:
        if outcomes.of("start", container.start) and chance.random() < 0.5:
            outcomes.of("kill", lambda: container.kill(signal.SIGKILL))


def test_a_pool_is_taken_from_while_it_is_killed_and_closed(runtime: api.Runtime, path: Path) -> None:
    """Takers never wait for what is dead; a closed pool makes what it is asked for, and keeps nothing."""
    chance, outcomes = random.Random(SEED), Outcomes()
    with runtime.template(str(path)) as template:
        for _ in range(max(3, RACES // 4)):
            pool = runtime.pool(template, AT_ONCE)
            seeds = [chance.random() for _ in range(AT_ONCE)]
            delay_s = chance.uniform(0, 0.1)

            def take(seed: float, pool: Pool = pool) -> None:
                own = random.Random(seed)
                for _ in range(4):  # one that is killed in the midst of its making is a take that fails
                    outcomes.of("take", lambda: used(outcomes, pool.take(), own))

            def murder(delay_s: float = delay_s) -> None:
                time.sleep(delay_s)  # the instant itself is what is tried
                for container in runtime:
                    outcomes.of("murder", partial(container.kill, signal.SIGKILL))
                    container.close()

            def close(pool: Pool = pool, delay_s: float = delay_s) -> None:
                time.sleep(delay_s / 2)
                pool.close()

            side_by_side(*(partial(take, seed) for seed in seeds), murder, close)
            assert 0 == len(pool)

    assert outcomes.seen["start"] > 0


def test_delete_by_force_meets_create_in_another_thread(runtime: api.Runtime, path: Path) -> None:
    """Of the same id: what create returns is a container, unless it has been deleted since."""
    chance, outcomes = random.Random(SEED), Outcomes()
    with runtime.template(str(path)) as template:
        for _ in range(RACES):
            delay_s = chance.uniform(0, 0.01)

            def create() -> None:
                with template.create("c") as container:
                    outcomes.of("start", container.start)

            def delete(delay_s: float = delay_s) -> None:
                time.sleep(delay_s)
                with runtime.get("c") as other:
                    other.delete(force=True)

            side_by_side(lambda: outcomes.of("create", create), *[lambda: outcomes.of("delete", delete)] * 2)

    assert outcomes.seen["create"] > 0


def test_of_two_starts_in_threads_one_wins(runtime: api.Runtime, path: Path) -> None:
    with runtime.template(str(path)) as template:
        for _ in range(RACES):
            outcomes = Outcomes()
            with template.create("c") as container:
                side_by_side(*[partial(outcomes.of, "start", container.start)] * 2)

                assert {"start": 1, "start refused": 1} == outcomes.seen
                assert "running" == container.state().status


@pytest.mark.parametrize("verb", ["create", "take"])
def test_a_task_that_is_cancelled_leaves_no_container(
    urunc: Runtime, runtime: api.Runtime, path: Path, verb: str
) -> None:
    """At whatever instant: it has the container, or there is none."""
    chance, got = random.Random(SEED), 0
    containers = aio.Runtime(str(urunc.root), str(urunc.config))

    async def one(pool: Pool, delay_s: float) -> bool:
        task = asyncio.create_task(aio.take(pool) if verb == "take" else containers.create("c", str(path)))
        await asyncio.sleep(delay_s)
        task.cancel()
        try:
            made = await task
        except asyncio.CancelledError:
            return False
        async with made:
            return True

    with runtime.template(str(path)) as template:
        for number in range(RACES):
            delay_s = chance.uniform(0, 0.02) if number else 0  # the first one is too early on any machine
            with runtime.pool(template, 1 if verb == "take" else 0) as pool:
                got += asyncio.run(one(pool, delay_s))
            assert [] == list(runtime)

    assert got < RACES, "no task was cancelled in time"


def test_a_start_that_is_cancelled_loses_nothing(urunc: Runtime, runtime: api.Runtime, path: Path) -> None:
    """It goes on by itself; what is deleted waits for it."""
    chance = random.Random(SEED)
    containers = aio.Runtime(str(urunc.root), str(urunc.config))

    async def one(delay_s: float) -> None:
        async with await containers.create("c", str(path)) as container:
            task = asyncio.create_task(container.start())
            await asyncio.sleep(delay_s)
            task.cancel()
            await asyncio.wait([task])

            assert (await container.state()).status in ("created", "running")

    for _ in range(RACES):
        asyncio.run(one(chance.uniform(0, 0.005)))
        assert [] == list(runtime)


def test_many_tasks_wait_for_one_container(urunc: Runtime, runtime: api.Runtime, path: Path) -> None:
    """Some of them give up before its end."""
    containers = aio.Runtime(str(urunc.root), str(urunc.config))

    async def all_of_them() -> list[int | BaseException | None]:
        async with await containers.create("c", str(path)) as container:
            await container.start()
            waiting = [asyncio.create_task(container.wait()) for _ in range(10)]
            await asyncio.sleep(0)
            for task in waiting[::2]:
                task.cancel()
            await container.kill(signal.SIGKILL)
            return await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)

    ended = asyncio.run(all_of_them())

    assert [137] * 5 == ended[1::2]
    assert all(isinstance(one, asyncio.CancelledError) for one in ended[::2])
