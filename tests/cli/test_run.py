"""`urunc run`, which is all of a life in one command."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

from tests.container import Runtime, read, until

Make = Callable[..., Path]


def test_run_returns_when_the_guest_has_ended_and_leaves_nothing(urunc: Runtime, bundle: Make) -> None:
    ended = urunc("run", "--bundle", bundle(args=("/app", "one two")), "c")

    assert 0 == ended.returncode
    assert 'cmdline: panic=-1 console=ttyS0 quiet A=1 init=/app -- "one two"' in ended.stdout
    assert "" == ended.stderr
    assert ("gone", []) == (urunc.status(), urunc.remains())


def test_run_keep_leaves_a_stopped_container(urunc: Runtime, bundle: Make) -> None:
    assert 0 == urunc("run", "--keep", "--bundle", bundle(args=()), "c").returncode
    assert "stopped" == urunc.status()
    urunc.good("delete", "c")


def test_run_detach_returns_at_once(urunc: Runtime, bundle: Make) -> None:
    pid_file = urunc.directory / "pid"
    urunc.good("run", "--detach", "--bundle", bundle(), "--pid-file", pid_file, "c")

    assert "running" == urunc.status()
    assert int(read(pid_file)) == urunc.state()["pid"]


def test_run_forwards_signals(urunc: Runtime, bundle: Make) -> None:
    with (urunc.directory / "run").open("wb") as output:
        process = urunc.begin(urunc.words("run", "--bundle", bundle(), "c"), stdout=output, stderr=output)
    until(lambda: "hello" in read(urunc.directory / "run"), "the guest's greeting")
    process.send_signal(signal.SIGTERM)

    assert process.wait(20) in (0, 143)
    assert ("gone", []) == (urunc.status(), urunc.remains())


def test_run_killed_from_outside_says_137(urunc: Runtime, bundle: Make) -> None:
    with (urunc.directory / "run").open("wb") as output:
        process = urunc.begin(urunc.words("run", "--bundle", bundle(), "c"), stdout=output, stderr=output)
    until(lambda: "hello" in read(urunc.directory / "run"), "the guest's greeting")
    os.kill(urunc.state()["pid"], signal.SIGKILL)

    assert 137 == process.wait(20)
    assert ("gone", []) == (urunc.status(), urunc.remains())


def test_run_of_what_fails_leaves_nothing(urunc: Runtime, bundle: Make) -> None:
    rlimits = [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]
    ended = urunc("run", "--bundle", bundle(process={"rlimits": rlimits}), "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "setrlimit" in ended.stderr
    assert ("gone", []) == (urunc.status(), urunc.remains())


def test_run_dry_run_prints_the_plan_and_makes_nothing(urunc: Runtime, bundle: Make) -> None:
    text = urunc.good("run", "--dry-run", "--bundle", bundle(), "c")

    for stage in ("sandbox:", "root:", "enter:", "exec:"):
        assert stage in text.splitlines()
    assert re.search(r"^/\S*qemu-system-x86_64 .*-append 'panic=-1 .*-- exit=halt'$", text, re.MULTILINE)
    assert [] == urunc.remains()


def test_timestamps_of_create_and_start(urunc: Runtime, bundle: Callable[..., Path], tmp_path: Path) -> None:
    """Both commands write them where the host's configuration says, in the order of the Go implementation's numbers."""
    stamps = tmp_path / "stamps"
    urunc.config.write_text(f'timestamps = "{stamps}"\n')
    urunc.good("create", "--bundle", bundle(), "c")
    urunc.good("start", "c")

    lines = [json.loads(line) for line in stamps.read_text().splitlines()]
    assert [f"TS{number:02}" for number in range(19)] == [line["timestampID"] for line in lines]
    assert sorted(line["time"] for line in lines) == [line["time"] for line in lines]
