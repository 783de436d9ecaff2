"""Whatever instant a command of ours is killed at, `delete --force` leaves nothing and the id can be used again."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import Runtime, orphans, until
from tests.torture.rounds import ROUNDS, SEED

Make = Callable[..., Path]
MOST = 5 * ROUNDS  # a command that ends sooner than it can be killed is tried again

pytestmark = pytest.mark.torture


def duration_s(urunc: Runtime, *words: object) -> float:
    """How long a command takes that nobody disturbs."""
    begin = time.monotonic()
    urunc.good(*words)
    return time.monotonic() - begin


def delay(chance: random.Random, whole_s: float) -> float:
    """A time within a command's; half of them at once, as starting a process takes a part of it already."""
    return max(0.0, chance.uniform(-whole_s, whole_s))


def killed(urunc: Runtime, delay_s: float, *words: object) -> bool:
    """Run a command and kill it, and only it, after `delay_s`; return whether that came before its end."""
    with (urunc.directory / "killed").open("wb") as output:
        process = urunc.begin(urunc.words(*words), stdout=output, stderr=output)
        time.sleep(delay_s)  # the instant itself is what is tried
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def check_delete(urunc: Runtime) -> None:
    """What is left says what it is, and goes by one `delete --force`; nothing is left of it then."""
    assert urunc.status() in ("gone", "creating", "created", "running", "stopped")
    urunc.good("delete", "--force", "c")
    assert "gone" == urunc.status()
    # one that was not in the journal yet ends by itself, as it hears that its maker has gone
    until(lambda: not orphans(), "the end of all processes of the container")
    assert [] == urunc.remains()


@pytest.fixture
def path(bundle: Make) -> Path:
    """A bundle with hooks on both sides of what create makes."""
    hook = {"path": "/bin/true"}
    return bundle(hooks={"createRuntime": [hook], "createContainer": [hook], "poststop": [hook]})


@pytest.mark.parametrize("kind", ["plain", "hooks"])
def test_a_create_killed_at_any_instant_leaves_nothing(urunc: Runtime, bundle: Make, path: Path, kind: str) -> None:
    """Rounds are spread over the time of a create, in a random order that SEED repeats."""
    path = path if kind == "hooks" else bundle("plain")
    urunc.create(path)
    urunc.good("delete", "c")
    whole = duration_s(urunc, "create", "--bundle", path, "c")
    urunc.good("delete", "c")
    chance = random.Random(SEED)
    pid_file = urunc.directory / "pid"
    hits = 0
    for number in range(MOST):
        if number >= ROUNDS // 2 and hits >= ROUNDS // 8:
            break
        hits += killed(urunc, delay(chance, whole), "create", "--bundle", path, "--pid-file", pid_file, "c")
        check_delete(urunc)
        pid_file.unlink(missing_ok=True)

    assert hits, "the kills came too late to mean anything"
    urunc.running(path)


def test_an_id_can_be_used_at_once_after_a_killed_create(urunc: Runtime, bundle: Make) -> None:
    """Without a delete between: either the id is free, or there is a container that delete removes."""
    path = bundle()
    whole = duration_s(urunc, "create", "--bundle", path, "c")
    urunc.good("delete", "c")
    chance = random.Random(SEED + 1)
    for _ in range(ROUNDS // 3):
        killed(urunc, chance.uniform(0, whole), "create", "--bundle", path, "c")
        if "gone" != urunc.status():
            assert "already exists" in urunc("create", "--bundle", path, "c").stderr
            urunc.good("delete", "c")  # of one whose create has died, or of one that is created
        urunc.create(path)
        check_delete(urunc)


def test_a_start_killed_at_any_instant_loses_nothing(urunc: Runtime, bundle: Make) -> None:
    """The container runs, or has stopped, or can be started again."""
    path = bundle()
    urunc.create(path)
    whole = duration_s(urunc, "start", "c")
    urunc.good("delete", "--force", "c")
    chance = random.Random(SEED + 2)
    hits = 0
    for number in range(MOST):
        if number >= ROUNDS // 3 and hits >= ROUNDS // 12:
            break
        urunc.create(path)
        hits += killed(urunc, delay(chance, whole), "start", "c")
        if "created" == urunc.status():
            ended = urunc("start", "c")
            # unless the first one has got through just now
            assert ended.returncode == 0 or "already running" in ended.stderr
        assert "running" == urunc.status()
        check_delete(urunc)

    assert hits, "the kills came too late to mean anything"


def test_a_delete_killed_at_any_instant_can_be_repeated(urunc: Runtime, bundle: Make) -> None:
    path = bundle()
    urunc.running(path)
    whole = duration_s(urunc, "delete", "--force", "c")
    chance = random.Random(SEED + 3)
    for _ in range(ROUNDS // 3):
        urunc.running(path)
        killed(urunc, chance.uniform(0, whole), "delete", "--force", "c")
        check_delete(urunc)


EMBEDDING = """
import sys, urunc
with urunc.Runtime(sys.argv[1]).template(sys.argv[2]) as template:
    while True:
        with template.create("c") as container:
            container.start()
        print("one", flush=True)
"""


def test_a_program_that_embeds_killed_at_any_instant_leaves_nothing(urunc: Runtime, bundle: Make) -> None:
    """In create, start or delete, each of them one call into C."""
    path, chance = bundle(), random.Random(SEED + 4)
    for number in range(ROUNDS // 2):
        command = [sys.executable, "-c", EMBEDDING, str(urunc.root), str(path)]
        process = urunc.begin(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as lines:
            begin = time.monotonic()
            for _ in range(3):  # the first one decides for all
                before, begin = begin, time.monotonic()
                assert b"one\n" == lines.readline()
            time.sleep(chance.uniform(0, time.monotonic() - before))  # the instant itself is what is tried
            process.kill()
            assert -signal.SIGKILL == process.wait()
        if number % 2 and urunc.status() in ("gone", "creating"):
            urunc.create(path)  # what is half made is nobody's
        check_delete(urunc)


def test_a_create_killed_in_a_hook_leaves_no_hook(urunc: Runtime, bundle: Make) -> None:
    """The hook runs outside of the container's namespaces: only the journal can know of it."""
    mark = urunc.directory / "mark"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"touch {mark}; exec sleep 100"], "env": ["PATH=/bin:/usr/bin"]}
    process = urunc.begin(urunc.words("create", "--bundle", bundle(hooks={"createRuntime": [hook]}), "c"))
    until(mark.exists, "the hook")
    process.kill()
    process.wait()

    assert "stopped" == urunc.status()
    check_delete(urunc)
