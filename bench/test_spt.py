"""Spawn, hello, exit, reap: urunc-spt against solo5-spt, in turns, in one run; fails on a ratio, never on a time.

$URUNC_SPT, else build/*/src/_fastpath/urunc-spt; $SOLO5_SPT, else solo5-spt on PATH; $SOLO5_SPT_STATIC: a static
one.  `pytest -rs -s bench/test_spt.py`.
"""

import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import pytest
from tests.guests import build as guest_cache
from tests.guests import spt_build

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 400
TARGET = 0.75


def find_ours() -> Path:
    built = sorted(ROOT.glob("build/*/src/_fastpath/urunc-spt"))
    if "URUNC_SPT" not in os.environ and not built:
        pytest.fail("no urunc-spt: run ci/build, or name one in $URUNC_SPT")
    return Path(os.environ.get("URUNC_SPT") or built[0])


def find_peer(variable: str, name: str | None) -> Path:
    found = os.environ.get(variable) or (shutil.which(name) if name else None)
    if not found:
        pytest.skip(f"nothing to compare with: no ${variable}" + (f", no {name} on PATH" if name else ""))
    return Path(found)


def once(command: tuple[str, ...], null: int) -> float:
    """Microseconds from spawn to reaped."""
    actions = [(os.POSIX_SPAWN_DUP2, null, 1)]
    begin = time.perf_counter_ns()
    pid = os.posix_spawn(command[0], command, {}, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    took = (time.perf_counter_ns() - begin) / 1000
    assert status == 0
    return took


@pytest.mark.parametrize(("variable", "name"), [("SOLO5_SPT", "solo5-spt"), ("SOLO5_SPT_STATIC", None)])
def test_hello_costs_less_than_under(variable: str, name: str | None) -> None:
    tenders = (find_ours(), find_peer(variable, name))
    image = spt_build.build(guest_cache.default_cache())["hello"]
    commands = [(str(tender), "--mem=32", "--", str(image), "x") for tender in tenders]
    for command in commands:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    null = os.open(os.devnull, os.O_WRONLY)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for command, took in zip(commands, times, strict=True):
            took.append(once(command, null))
    os.close(null)
    ours, theirs = map(statistics.median, times)
    print(f"\nurunc-spt {ours:.0f} us, ${variable} {theirs:.0f} us, ratio {ours / theirs:.2f}, {ROUNDS} rounds")

    assert ours / theirs <= (TARGET if name else 1.1)
