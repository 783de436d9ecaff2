"""cgroup2 with all its controllers, which a machine whose controllers are of version 1 cannot have.

Run by test_cgroup_unified.py in a virtual machine that has it so; `pytest tests/e2e/cgroup_unified.py` where it is so.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cgroups import NAME, cgroup_of
from tests.container import BOUND_S, Runtime, exit_status, read, until

Make = Callable[..., Path]
CPU_TICKS = os.sysconf("SC_CLK_TCK")
SPINNING = ("/app", "echo")  # it asks the serial port for ever


def place(name: str = "c") -> Path:
    return cgroup_of("", f"{NAME}/{name}")


def files(*names: str) -> dict[str, str]:
    return {name: read(place() / name).strip() for name in names}


def disk() -> str:
    """Major and minor of a disk whose speed can be limited."""
    for path in sorted(Path("/sys/block").iterdir()):
        if not path.name.startswith(("loop", "ram")):
            return read(path / "dev").strip()
    raise LookupError("no disk")


def ticks(pid: int) -> int:
    words = read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def stats(urunc: Runtime) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(urunc.good("events", "--stats", "c"))["data"]
    return data


def test_limits_are_in_force(urunc: Runtime, bundle: Make) -> None:
    """Read back from a cgroup whose ancestors had to hand their controllers down."""
    major, minor = map(int, disk().split(":"))
    resources = {
        "memory": {"limit": 256 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 2048, "quota": 150000, "period": 100000},
        "pids": {"limit": 77},
        "blockIO": {"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1 << 20}]},
        "unified": {"memory.high": str(300 << 20)},
    }
    path = f"/{NAME}/a/b/c"
    pid = urunc.running(bundle(linux={"cgroupsPath": path, "resources": resources}))
    found = {name: read(cgroup_of("", path) / name).strip() for name in ("memory.max", "memory.low", "memory.high",
             "cpu.weight", "cpu.max", "pids.max", "io.max", "cgroup.procs")}  # fmt: skip

    assert {
        "memory.max": str(384 << 20),
        "memory.low": str(160 << 20),
        "memory.high": str(300 << 20),
        "cpu.weight": "79",
        "cpu.max": "150000 100000",
        "pids.max": "77",
        "io.max": f"{major}:{minor} rbps={1 << 20} wbps=max riops=max wiops=max",
        "cgroup.procs": str(pid),
    } == found


def test_new_limits_are_in_force(urunc: Runtime, bundle: Make) -> None:
    urunc.running(bundle(linux={"resources": {"cpu": {"quota": 50000, "period": 50000}, "pids": {"limit": 60}}}))
    urunc.good("update", "--cpu-quota", "70000", "--memory", "512m", "--cpu-share", "2", "c")
    assert {"cpu.max": "70000 50000", "memory.max": str(640 << 20), "cpu.weight": "1"} == files(
        "cpu.max", "memory.max", "cpu.weight"
    )
    urunc.good("update", "--cpu-period", "90000", "--pids-limit", "-1", "--memory", "-1", "c")
    assert {"cpu.max": "70000 90000", "memory.max": "max", "pids.max": "max"} == files(
        "cpu.max", "memory.max", "pids.max"
    )


def test_an_update_that_fails_changes_nothing(urunc: Runtime, bundle: Make) -> None:
    urunc.running(bundle(linux={"resources": {"pids": {"limit": 66}, "cpu": {"shares": 1024}}}))
    (urunc.directory / "new").write_text(
        json.dumps({"cpu": {"shares": 2048}, "pids": {"limit": 77}, "unified": {"memory.max": "nonsense"}})
    )
    ended = urunc("update", "-r", urunc.directory / "new", "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "nonsense" in ended.stderr
    assert {"pids.max": "66", "cpu.weight": "39"} == files("pids.max", "cpu.weight")


def test_a_limit_that_the_cgroup_above_does_not_hand_down_is_an_error(
    urunc: Runtime, bundle: Make, request: pytest.FixtureRequest
) -> None:
    """One with processes of its own cannot (cgroup-v2.rst, No Internal Process Constraint)."""
    above = cgroup_of("", f"{NAME}/busy")
    above.mkdir()
    holder = subprocess.Popen(["sleep", "1000"])

    def end() -> None:
        holder.kill()
        holder.wait()
        above.rmdir()

    request.addfinalizer(end)
    (above / "cgroup.procs").write_text(str(holder.pid))
    path = bundle(linux={"cgroupsPath": f"/{NAME}/busy/c", "resources": {"pids": {"limit": 9}}})
    ended = urunc("create", "-b", path, "c")
    left = [entry.name for entry in above.iterdir() if entry.is_dir()]

    assert (1, 1, []) == (ended.returncode, ended.stderr.count("\n"), left)
    assert "cgroup limit not available here: write 9 to" in ended.stderr


def test_statistics_are_of_the_guests_work(urunc: Runtime, bundle: Make) -> None:
    pid = urunc.running(bundle(args=SPINNING))
    until(lambda: ticks(pid) > CPU_TICKS, "a second of computing")
    before = ticks(pid)
    found = stats(urunc)
    after = ticks(pid)
    tick_ns = 1_000_000_000 // CPU_TICKS

    assert (before - 10) * tick_ns <= found["cpu"]["usage"]["total"] <= (after + CPU_TICKS) * tick_ns
    resident = next(line for line in read(Path(f"/proc/{pid}/status")).splitlines() if line.startswith("RssAnon"))
    assert int(resident.split()[1]) * 1024 * 0.7 <= found["memory"]["usage"]["usage"]
    # the kernel adds up what is new every 2 s (mm/memcontrol.c, FLUSH_TIME), and QEMU's threads come and go
    until(lambda: stats(urunc)["memory"]["raw"]["anon"] > 1 << 20, "the kernel adds up the guest's pages")
    until(lambda: len(os.listdir(f"/proc/{pid}/task")) == stats(urunc)["pids"]["current"], "as many threads")


def test_a_quota_slows_the_guest_down(urunc: Runtime, bundle: Make) -> None:
    """A tenth of a processor: the kernel says how often it had to wait."""
    urunc.running(bundle(args=SPINNING, linux={"resources": {"cpu": {"quota": 10000, "period": 100000}}}))
    until(lambda: stats(urunc)["cpu"]["throttling"].get("throttledPeriods", 0) >= 3, "three periods of waiting")


def test_a_monitor_that_outgrows_its_memory_is_reported(urunc: Runtime, bundle: Make) -> None:
    urunc.config.write_text("memory_overhead_mib = 0\n")
    pid = urunc.running(bundle(args=SPINNING))
    with (urunc.directory / "events").open("wb") as output:
        process = urunc.begin(urunc.words("events", "--interval", "100ms", "c"), stdout=output)
        until(lambda: '"stats"' in read(urunc.directory / "events"), "events are watched")
        urunc.good("update", "--memory", "4m", "c")  # QEMU alone has ten times that

        assert 137 == exit_status(pid)
        assert 0 == process.wait(BOUND_S)
    assert '{"type":"oom","id":"c"}' in read(urunc.directory / "events").splitlines()


def test_a_paused_container_does_not_run_and_can_be_killed(urunc: Runtime, bundle: Make) -> None:
    pid = urunc.paused(bundle(args=SPINNING))
    assert ("paused", "1") == (urunc.status(), read(place() / "cgroup.freeze").strip())
    urunc.good("kill", "c", "KILL")

    assert 137 == exit_status(pid)
    assert "stopped" == urunc.status()
