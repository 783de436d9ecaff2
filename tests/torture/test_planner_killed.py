"""The resident planner killed while it makes containers for several callers: each has one all the same."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.container import (
    KNOWN,
    PROGRAM,
    Result,
    Runtime,
    children,
    orphans,
    read,
    until,
)
from tests.e2e.private import Private
from tests.torture import kinds
from tests.torture.rounds import ROUNDS, SEED

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes mount namespaces"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]

CALLERS = 3
RACES = ROUNDS // 3
SPAN_S = 0.02  # in which a create by a planner begins and ends, to begin with


@pytest.fixture
def urunc(tmp_path: Path, subreaper: None) -> Iterator[Private]:
    runtime = Private(PROGRAM, tmp_path)
    with runtime.emptied():
        yield runtime


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return kinds.waiting(tmp_path / "b")


def called(urunc: Runtime, delay_s: float, *words: object) -> Result:
    """A command with files of its own, after a while: there are several at once."""
    name = words[-1]
    time.sleep(delay_s)  # the instant itself is what is tried
    out, err = urunc.directory / f"o.{name}", urunc.directory / f"e.{name}"
    with out.open("wb") as output, err.open("wb") as errors:
        status = urunc.begin(urunc.words(*words), stdout=output, stderr=errors).wait(120)
    return Result([str(word) for word in words], status, read(out), read(err))


@contextmanager
def traced(urunc: Private, *options: str) -> Iterator[Path]:
    """A planner under strace, which counts from its first create on; yields the file of the calls."""
    urunc.start_planner()
    assert urunc.planner
    log, said = urunc.directory / "calls", urunc.directory / "strace"
    with said.open("wb") as errors:
        command = ["strace", "-f", "-o", str(log), *options, "-p", str(urunc.planner.pid)]
        strace = subprocess.Popen(command, stderr=errors)
    try:
        until(lambda: "attached" in read(said), "strace follows the planner")
        yield log
    finally:
        urunc.end_planner(signal.SIGKILL)
        strace.wait(60)
        KNOWN.update(children())


def made(log: Path, call: str) -> int:
    """How many calls of that name are in the file of strace."""
    return sum(f" {call}(" in line for line in read(log).splitlines())


@pytest.mark.parametrize("call", ["mkdirat", "openat", "renameat", "sendmsg", "recvfrom"])
def test_a_create_outlives_a_planner_that_dies_at_a_call(urunc: Private, path: Path, call: str) -> None:
    """At the first of its making, the second and so on: strace kills it before the call does anything."""
    assert shutil.which("strace"), "strace is missing: run ci/setup"
    with traced(urunc, "-e", f"trace={call}") as log:
        urunc.good("create", "--bundle", path, "c")
        urunc.good("delete", "c", "--force")
    calls = made(log, call)
    assert calls > 0, f"no {call} was seen: strace does not follow"
    for number in range(1, calls + 1, max(1, calls * 20 // ROUNDS)):
        with traced(urunc, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}") as log:
            ended = urunc("create", "--bundle", path, "c")

            assert (0, "") == (ended.returncode, ended.stderr), f"{call} number {number} of {calls}"
            assert "created" == urunc.status()
            urunc.good("delete", "--force", "c")
            if urunc.said():  # a create that finds the caches of an earlier one full makes fewer calls
                assert made(log, call) < number, "the planner has not died"
                break
            until(lambda: not orphans(), "the end of all processes")
            assert [] == urunc.remains(), f"{call} number {number} of {calls}"


def test_a_create_outlives_its_planner(urunc: Private, path: Path) -> None:
    """Whatever it was at: it is undone, and the caller goes on by itself."""
    chance, served, span_s = random.Random(SEED), 0, SPAN_S
    for number in range(5 * RACES):
        if number >= RACES and 0 < served < CALLERS * number:
            break
        urunc.start_planner()
        delays = [chance.uniform(0, span_s) for _ in range(CALLERS)]
        with ThreadPoolExecutor(CALLERS) as threads:
            commands = [
                threads.submit(called, urunc, delay_s, "create", "--bundle", path, f"c{caller}")
                for caller, delay_s in enumerate(delays)
            ]
            time.sleep(chance.uniform(0, 2 * span_s))  # the instant itself is what is tried
            urunc.end_planner(signal.SIGKILL)
            ended = [command.result() for command in commands]
        here = urunc.said().count("urunc planner: made")
        served += here
        span_s *= 0.8 if here == CALLERS else 1.3  # the machine is not always as fast
        for caller, command in enumerate(ended):
            assert (0, "") == (command.returncode, command.stderr), f"round {number}: {command.args}"
            assert "created" == urunc.status(f"c{caller}")
            urunc.good("delete", "--force", f"c{caller}")
        until(lambda: not orphans(), "the end of all processes")
        assert [] == urunc.remains(), f"round {number}"

    assert served, "the kills came too early to mean anything"
