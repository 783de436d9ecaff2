"""Many at once: containers side by side, callers on one id, commands that overtake each other."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.container import CONFIG, Result, Runtime, descriptors, merged, orphans, read, until, write_bundle
from tests.torture import kinds
from tests.torture.rounds import ROUNDS, SEED

import urunc as api

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]

MANY, AT_ONCE = 50, 10
RACES = ROUNDS // 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A bundle whose guest stays."""
    return kinds.waiting(tmp_path / "b")


class Caller:
    """Commands on one runtime from several threads, each with output files of its own."""

    def __init__(self, urunc: Runtime) -> None:
        self.urunc = urunc

    def __call__(self, *words: object) -> Result:
        name = f"{threading.get_ident()}.{time.monotonic_ns()}"
        out, err = self.urunc.directory / f"o.{name}", self.urunc.directory / f"e.{name}"
        with out.open("wb") as output, err.open("wb") as errors:
            process = self.urunc.begin(self.urunc.words(*words), stdout=output, stderr=errors)
            status = process.wait(120)
        return Result([str(word) for word in words], status, read(out), read(err))

    def good(self, *words: object) -> None:
        ended = self(*words)
        assert (0, "") == (ended.returncode, ended.stderr), f"{words}: {ended.stderr}"


def check_nothing_left(urunc: Runtime) -> None:
    until(lambda: not orphans(), "the end of all processes")
    assert [] == urunc.remains()


def test_fifty_containers_by_commands_side_by_side(urunc: Runtime, path: Path) -> None:
    call = Caller(urunc)

    def life(number: int) -> None:
        name = f"c{number}"
        call.good("create", "--bundle", path, name)
        call.good("start", name)
        call.good("kill", name, "KILL")
        until(lambda: '"stopped"' in call("state", name).stdout, f"the end of {name}")
        call.good("delete", name)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(life, range(MANY)))
    check_nothing_left(urunc)


def test_fifty_containers_by_threads_of_one_process(urunc: Runtime, path: Path) -> None:
    """An embedding program: the same, without a process for each command."""
    runtime = api.Runtime(str(urunc.root), str(urunc.config))
    open_before = descriptors()

    def life(number: int) -> int | None:
        with runtime.create(f"c{number}", str(path)) as container:
            container.start()
            container.kill(signal.SIGKILL)
            return container.wait()

    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert [137] * MANY == list(threads.map(life, range(MANY)))
    assert open_before == descriptors()
    check_nothing_left(urunc)


def test_of_two_creates_with_one_id_one_wins(urunc: Runtime, path: Path) -> None:
    call = Caller(urunc)
    for _ in range(RACES):
        with ThreadPoolExecutor(3) as threads:
            ended = list(threads.map(lambda _: call("create", "--bundle", path, "c"), range(3)))

        assert [0, 1, 1] == sorted(one.returncode for one in ended), [one.stderr for one in ended]
        assert all("already exists" in one.stderr for one in ended if one.returncode)
        assert "created" == urunc.status()
        urunc.good("delete", "--force", "c")
        check_nothing_left(urunc)


def test_of_two_starts_one_wins(urunc: Runtime, path: Path) -> None:
    call = Caller(urunc)
    for _ in range(RACES):
        urunc.create(path)
        with ThreadPoolExecutor(2) as threads:
            ended = list(threads.map(lambda _: call("start", "c"), range(2)))

        assert [0, 1] == sorted(one.returncode for one in ended), [one.stderr for one in ended]
        assert "running" == urunc.status()
        urunc.good("delete", "--force", "c")
        check_nothing_left(urunc)


# first command -> how the container is that it finds
BEFORE: dict[str, Callable[[Runtime, Path], object]] = {
    "create": lambda urunc, path: None,
    "start": Runtime.create,
    "delete": Runtime.create,
    "update": Runtime.running,
    "exec": Runtime.running,
    "pause": Runtime.running,
    "resume": Runtime.paused,
}
PAIRS = ("create kill", "create delete", "start delete", "start kill", "delete delete")
LIVING_PAIRS = ("update delete", "update kill", "pause delete", "pause kill", "resume delete", "pause resume")
EXEC_PAIRS = ("exec delete", "exec kill")


@pytest.fixture
def program(urunc: Runtime, tmp_path: Path) -> Path:
    """A bundle of the process monitor, the only one that something can be executed in."""
    urunc.allow_process_monitor()
    config = merged(CONFIG, {"process": {"args": ["/bin/busybox", "sleep", "1000"]}})
    return write_bundle(tmp_path / "p", {"bin/busybox": Path("/bin/busybox")}, config)


@pytest.mark.parametrize("pair", PAIRS)
def test_commands_that_overtake_each_other(urunc: Runtime, path: Path, pair: str) -> None:
    """Whoever is first: each succeeds or says in one line why not, and one delete --force removes all there is."""
    overtaken(urunc, path, pair, RACES)


@pytest.mark.parametrize("pair", LIVING_PAIRS)
def test_what_changes_a_container_is_overtaken(urunc: Runtime, path: Path, pair: str) -> None:
    overtaken(urunc, path, pair, RACES // 4)


@pytest.mark.parametrize("pair", EXEC_PAIRS)
def test_what_is_executed_in_a_container_is_overtaken(urunc: Runtime, program: Path, pair: str) -> None:
    """It ends with the container, and is not left behind."""
    overtaken(urunc, program, pair, RACES // 4)


def overtaken(urunc: Runtime, path: Path, pair: str, races: int) -> None:
    """Give the second command of `pair` a while after the first."""
    first, second = pair.split()
    words = {
        "create": ("create", "--bundle", path, "c"),
        "start": ("start", "c"),
        "kill": ("kill", "c", "KILL"),
        "delete": ("delete", "--force", "c"),
        "update": ("update", "--pids-limit", "50", "c"),
        "pause": ("pause", "c"),
        "resume": ("resume", "c"),
        "exec": ("exec", "c", "/bin/busybox", "true"),
    }
    call, chance = Caller(urunc), random.Random(SEED)
    for number in range(races):
        BEFORE[first](urunc, path)
        delay_s = chance.uniform(0, 0.03)

        def later(delay_s: float = delay_s) -> Result:
            time.sleep(delay_s)  # the instant itself is what is tried
            return call(*words[second])

        with ThreadPoolExecutor(2) as threads:
            one, two = threads.submit(call, *words[first]), threads.submit(later)
            ended = [one.result(), two.result()]
        for command in ended:
            said, status = urunc.unwarned(command.stderr), command.returncode
            killed = command.args[0] == "exec" and status == 128 + signal.SIGKILL  # the status of the program
            assert said.count("\n") == (1 if status and not killed else 0), f"round {number}: {command.args}: {said}"
            assert "internal error" not in said
        urunc.good("delete", "--force", "c")
        assert "gone" == urunc.status()
        check_nothing_left(urunc)
