"""Containers under way: pause and resume, new limits, statistics against what a guest does, the end out of memory."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests import cgroups
from tests.cgroups import NAME, has_controller
from tests.container import BOUND_S, alive, exit_status, process_state, read, until
from tests.e2e.cgroup_views import View
from tests.guests import build, multiboot_build, spt_build

pytestmark = pytest.mark.e2e

Make = Callable[..., Path]
SPT = {
    "com.urunc.unikernel.unikernelType": "mirage",
    "com.urunc.unikernel.hypervisor": "spt",
    "com.urunc.unikernel.binary": "/guest",
}
CPU_TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="session")
def burners() -> dict[str, Path]:
    """Guests of the spt ABI."""
    return spt_build.build(build.default_cache())


@pytest.fixture
def spinning(bundle: Make, burners: dict[str, Path]) -> Callable[..., Path]:
    """Makes bundles of a guest that computes for ever."""

    def make(name: str = "b", guest: str = "wait", args: tuple[str, ...] = ("spin",), **changes: Any) -> Path:
        path = bundle(name, args, annotations=SPT | dict.fromkeys(["com.urunc.unikernel.accelerator"]), **changes)
        (path / "rootfs" / "guest").write_bytes(burners[guest].read_bytes())
        return path

    return make


def cpu_ticks(pid: int) -> int:
    """User and system time of a process (proc_pid_stat(5))."""
    words = read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def stats(view: View) -> dict[str, Any]:
    event = json.loads(view.good("events", "--stats", "c"))

    assert ("stats", "c") == (event["type"], event["id"])
    data: dict[str, Any] = event["data"]
    return data


def test_a_paused_container_does_not_run(view: View, spinning: Make) -> None:
    pid = view.running(spinning())
    until(lambda: cpu_ticks(pid) > 2, "the guest computes")
    view.good("pause", "c")
    assert "paused" == view.status()
    assert "paused" == json.loads(view.good("list", "-f", "json"))[0]["status"]
    before = cpu_ticks(pid)
    time.sleep(0.3)  # that nothing happens cannot be waited for

    assert before == cpu_ticks(pid)
    view.good("resume", "c")
    assert "running" == view.status()
    until(lambda: cpu_ticks(pid) > before + 2, "the guest goes on")


def test_a_created_container_can_be_paused(view: View, bundle: Make) -> None:
    """It is created again after it, and can be started."""
    view.create(bundle())
    view.good("pause", "c")
    assert "paused" == view.status()
    view.good("resume", "c")
    assert "created" == view.status()
    view.good("start", "c")


@pytest.mark.parametrize("words", [("kill", "c", "KILL"), ("kill", "--all", "c", "KILL")])
def test_kill_ends_a_paused_container(view: View, spinning: Make, words: tuple[str, ...]) -> None:
    """What version 1 has frozen would not even die."""
    pid = view.paused(spinning())
    view.good(*words)

    assert 137 == exit_status(pid)
    assert "stopped" == view.status()


def test_a_paused_container_is_deleted_by_force(view: View, bundle: Make) -> None:
    view.paused(bundle())
    ended = view("delete", "c")
    assert (1, "paused") == (ended.returncode, view.status())
    view.good("delete", "--force", "c")

    assert [] == view.remains()


def test_kill_all_reaches_what_the_monitor_has_left(view: View, bundle: Make, request: pytest.FixtureRequest) -> None:
    """Of a container that has stopped as well."""
    view.running(bundle())
    other = subprocess.Popen(["sleep", "1000"])
    request.addfinalizer(other.wait)
    request.addfinalizer(other.kill)
    for names in view.hierarchies():
        (view.place(names) / "cgroup.procs").write_text(str(other.pid))
    view.good("kill", "c", "KILL")
    view.await_status("stopped")
    assert alive(other.pid)
    view.good("kill", "--all", "c", "TERM")

    assert -signal.SIGTERM == other.wait(10)


def test_statistics_are_of_the_guests_work(view: View, spinning: Make) -> None:
    """CPU time as the kernel has accounted it to the monitor, memory at least that of the guest's pages."""
    pid = view.running(spinning())
    until(lambda: cpu_ticks(pid) > CPU_TICKS // 2, "half a second of computing")
    before = cpu_ticks(pid)
    first = stats(view)
    after = cpu_ticks(pid)
    tick_ns = 1_000_000_000 // CPU_TICKS

    # what create and start have used in the cgroup comes on top; a tick is lost here and there
    assert (before - 5) * tick_ns <= first["cpu"]["usage"]["total"] <= (after + 30) * tick_ns
    assert first["cpu"]["usage"]["user"] > first["cpu"]["usage"]["kernel"] or not view.unified
    until(lambda: cpu_ticks(pid) > after + 10, "more computing")
    second = stats(view)
    assert second["cpu"]["usage"]["total"] > first["cpu"]["usage"]["total"] + 5 * tick_ns
    if not view.unified:
        assert 1 == second["pids"]["current"]
        assert sum(second["cpu"]["usage"]["percpu"]) >= second["cpu"]["usage"]["total"] - 1_000_000_000
        assert 4096 <= second["memory"]["usage"]["usage"] <= second["memory"]["usage"]["max"]
        # version 1 adds up what few pages there are only now and then (mm/memcontrol.c, FLUSH_TIME: every 2 s)
        until(lambda: stats(view)["memory"]["raw"]["total_rss"] > 0, "the kernel adds up the guest's pages")


def test_statistics_of_memory_grow_with_the_guests(view: View, spinning: Make) -> None:
    if view.unified and has_controller("memory"):
        pytest.skip("the memory controller is bound to version 1 here: cgroup2 cannot have it")
    path = spinning(guest="burn", args=("memory=48",), linux={"resources": {"memory": {"limit": 128 << 20}}})
    output = view.directory / "out.1"
    view.running(path)
    until(lambda: "touched" in read(output), "the guest has touched its memory")
    memory = stats(view)["memory"]

    assert 48 << 20 <= memory["usage"]["usage"] < 128 << 20
    assert 256 << 20 == memory["usage"]["limit"]  # with the monitor's overhead


def test_statistics_have_the_form_of_runc(view: View, bundle: Make, tmp_path: Path) -> None:
    """The same keys as a container of runc has on the same machine, but for those that say nothing."""
    if view.unified:
        pytest.skip("runc puts no container into a cgroup2 without controllers")
    view.running(bundle())
    ours = stats(view)
    other = tmp_path / "runc"
    (other / "rootfs" / "bin").mkdir(parents=True)
    (other / "rootfs" / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (other / "rootfs" / "bin" / "busybox").chmod(0o755)
    for directory in ("proc", "dev"):
        (other / "rootfs" / directory).mkdir()
    subprocess.run(["runc", "spec", "-b", other], check=True)
    config = json.loads((other / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/bin/busybox", "sleep", "1000"]}
    config["mounts"] = config["mounts"][:1]
    config["linux"]["cgroupsPath"] = f"/{NAME}/theirs"
    (other / "config.json").write_text(json.dumps(config))
    runc = ("runc", "--root", str(tmp_path / "rr"))
    run = (*runc, "run", "-d", "-b", str(other), "theirs")
    subprocess.run(run, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        text = subprocess.check_output([*runc, "events", "--stats", "theirs"], text=True)
    finally:
        subprocess.run([*runc, "delete", "--force", "theirs"], check=True)
    theirs = json.loads(text)["data"]

    assert set(theirs) == set(ours)
    assert set(theirs["cpuset"]) == set(ours["cpuset"])
    assert set(theirs["cpu"]["usage"]) == set(ours["cpu"]["usage"])
    assert {"usage", "swap", "kernel", "kernelTCP", "raw"} <= set(theirs["memory"]) & set(ours["memory"])
    assert set(theirs["memory"]["raw"]) == set(ours["memory"]["raw"])
    for kind in ("usage", "swap", "kernel", "kernelTCP"):
        assert {"limit", "failcnt"} <= set(theirs["memory"][kind]) & set(ours["memory"][kind])
    assert theirs["cpuset"]["cpus"] == ours["cpuset"]["cpus"]
    assert theirs["intel_rdt"] == ours["intel_rdt"]
    assert theirs["network_interfaces"] == ours["network_interfaces"]


def test_events_are_told_every_interval_until_the_end(view: View, bundle: Make) -> None:
    view.running(bundle())
    with (view.directory / "events").open("wb") as output:
        process = view.begin(view.words("events", "--interval", "50ms", "c"), stdout=output)
        until(lambda: read(view.directory / "events").count("\n") >= 3, "three events")
        assert process.poll() is None
        view.good("kill", "c", "KILL")

        assert 0 == process.wait(BOUND_S)
    for line in read(view.directory / "events").splitlines():
        assert ("stats", "c") == (json.loads(line)["type"], json.loads(line)["id"])


def test_a_monitor_that_outgrows_its_memory_is_reported(view: View, spinning: Make) -> None:
    """With no overhead for it in the configuration the guest's own memory is more than the limit."""
    if view.unified and has_controller("memory"):
        pytest.skip("the memory controller is bound to version 1 here: cgroup2 cannot have it")
    view.config.write_text("memory_overhead_mib = 0\n")
    limit = {"memory": {"limit": 32 << 20, "swap": 32 << 20}}
    path = spinning(guest="burn", args=("memory=28",), linux={"resources": limit})
    pid = view.create(path)
    view.good("update", "--memory", "16m", "--memory-swap", "16m", "c")
    with (view.directory / "events").open("wb") as output:
        process = view.begin(view.words("events", "--interval", "100ms", "c"), stdout=output)
        until(lambda: '"stats"' in read(view.directory / "events"), "events are watched")
        view.good("start", "c")

        assert 137 == exit_status(pid)
        assert 0 == process.wait(BOUND_S)
    kinds = [json.loads(line)["type"] for line in read(view.directory / "events").splitlines()]
    assert 1 == kinds.count("oom")
    assert "stopped" == view.status()


UPDATES: dict[str, tuple[tuple[str, ...], dict[str, Any], dict[str, str]]] = {
    "memory": (
        ("--memory", "96m", "--memory-swap", "160m", "--memory-reservation", "64m"),
        {"memory": {"limit": 96 << 20, "swap": 160 << 20, "reservation": 64 << 20}},
        {
            "memory.limit_in_bytes": str(224 << 20),
            "memory.memsw.limit_in_bytes": str(288 << 20),
            "memory.soft_limit_in_bytes": str(192 << 20),
        },
    ),
    "cpu": (
        ("--cpu-quota", "20000", "--cpu-period", "40000", "--cpu-share", "300"),
        {"cpu": {"quota": 20000, "period": 40000, "shares": 300}},
        {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "40000", "cpu.shares": "300"},
    ),
    "period": (("--cpu-period", "30000"), {"cpu": {"period": 30000}}, {"cpu.cfs_period_us": "30000"}),
    "cpuset": (
        ("--cpuset-cpus", "0", "--cpuset-mems", "0"),
        {"cpu": {"cpus": "0", "mems": "0"}},
        {"cpuset.cpus": "0", "cpuset.mems": "0"},
    ),
    "pids": (("--pids-limit", "55"), {"pids": {"limit": 55}}, {"pids.max": "55"}),
    "unlimited": (
        ("--memory", "-1", "--pids-limit", "-1", "--cpu-quota", "-1"),
        {"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}},
        {"pids.max": "max", "cpu.cfs_quota_us": "-1"},
    ),
}


@pytest.mark.parametrize(
    ("name", "way"), [*((name, "flags") for name in UPDATES), ("cpu", "file"), ("memory", "stdin")]
)
def test_new_limits_are_in_force(view: View, bundle: Make, name: str, way: str) -> None:
    """Smaller and larger ones than before, whatever order the kernel wants."""
    if view.unified:
        pytest.skip("the controllers are bound to version 1 here: cgroup2 has none whose limits could change")
    flags, resources, files = UPDATES[name]
    for before in ({"limit": 64 << 20, "swap": 64 << 20}, {"limit": 512 << 20, "swap": 1 << 30}):
        path = bundle(f"b{before['limit']}", linux={"resources": {"memory": before, "cpu": {"quota": 90000}}})
        view.running(path)
        if way == "flags":
            view.good("update", *flags, "c")
        elif way == "file":
            (view.directory / "new").write_text(json.dumps(resources))
            view.good("update", f"--resources={view.directory / 'new'}", "--pids-limit", "1", "c")
        else:
            (view.directory / "new").write_text(json.dumps(resources))
            with (view.directory / "new").open() as stdin:
                view.good("update", "--resources", "-", "c", stdin=stdin)
        for file, content in files.items():
            assert content == read(view.place(file.split(".")[0]) / file).strip(), file
        view.good("delete", "--force", "c")


def test_an_update_that_fails_changes_nothing(view: View, bundle: Make) -> None:
    if view.unified:
        pytest.skip("the controllers are bound to version 1 here: cgroup2 has none whose limits could change")
    view.running(bundle(linux={"resources": {"pids": {"limit": 66}, "cpu": {"shares": 700}}}))
    (view.directory / "new").write_text(json.dumps({"cpu": {"shares": 800, "cpus": "0-4095"}, "pids": {"limit": 77}}))
    ended = view("update", "-r", view.directory / "new", "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "cpuset.cpus" in ended.stderr
    assert "66" == read(view.place("pids") / "pids.max").strip()
    assert "700" == read(view.place("cpu") / "cpu.shares").strip()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"memory": {"limit": "1"}}', "resources.memory.limit must be a whole number"),
        ("{", "invalid JSON"),
        ('{"unified": {"x/y": "1"}}', "must be a file name"),
    ],
)
def test_wrong_resources_are_refused(view: View, bundle: Make, content: str, words: str) -> None:
    view.create(bundle())
    (view.directory / "new").write_text(content)
    ended = view("update", "-r", view.directory / "new", "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert words in ended.stderr


def test_an_update_of_nothing_changes_nothing(view: View, bundle: Make) -> None:
    """Containerd sends whole resources of the spec again, devices too: those are what they were."""
    view.create(bundle())
    before = [read(view.place("devices") / "devices.list") if not view.unified else "", view.status()]
    (view.directory / "new").write_text('{"devices": [{"allow": false, "access": "rwm"}]}')
    view.good("update", "c")
    view.good("update", "-r", view.directory / "new", "c")

    assert before == [read(view.place("devices") / "devices.list") if not view.unified else "", view.status()]


def test_an_update_counts_the_monitor_as_create_did(view: View, bundle: Make) -> None:
    """Whatever the configuration says by then."""
    if view.unified:
        pytest.skip("the controllers are bound to version 1 here: cgroup2 has none whose limits could change")
    view.config.write_text("memory_overhead_mib = 32\n")
    view.create(bundle(linux={"resources": {"memory": {"limit": 64 << 20}}}))
    view.config.write_text("memory_overhead_mib = 64\n")
    view.good("update", "--memory", "96m", "c")

    assert str(128 << 20) == read(view.place("memory") / "memory.limit_in_bytes").strip()


def test_an_update_counts_the_copy_of_a_multiboot_kernel(view: View, bundle: Make) -> None:
    """QEMU keeps one beside the guest's memory: limits of create and of update differ by what they were asked for."""
    if view.unified:
        pytest.skip("the controllers are bound to version 1 here: cgroup2 has none whose limits could change")
    view.config.write_text("memory_overhead_mib = 32\n")
    mewz = {"com.urunc.unikernel.unikernelType": "mewz"}
    made = bundle(args=("app",), annotations=mewz, linux={"resources": {"memory": {"limit": 64 << 20}}})
    kernel = multiboot_build.image(build.default_cache(), "halt").read_bytes()
    (made / "rootfs" / "hello").write_bytes(kernel.ljust(8 << 20, b"\0"))
    view.create(made)
    created = int(read(view.place("memory") / "memory.limit_in_bytes"))
    view.good("update", "--memory", "96m", "c")

    assert (64 + 32 + 8) << 20 == created
    assert (96 + 32 + 8) << 20 == int(read(view.place("memory") / "memory.limit_in_bytes"))


def test_a_container_is_paused_where_nothing_freezes(view: View, bundle: Make) -> None:
    """By a signal that it cannot refuse; a created one, too; what ends it ends it as ever."""
    if view.unified or "freezer" not in cgroups.HIERARCHIES:
        pytest.skip("cgroup2 has a freezer always")
    view.without = "freezer"
    for name in ("created", "running"):
        path = bundle(name, linux={"resources": {"pids": {"limit": 99}}})
        pid = view.running(path, name) if name == "running" else view.create(path, name)
        view.good("pause", name)

        assert ("paused", "T") == (view.status(name), process_state(pid))
        assert 1 == view("pause", name).returncode
        view.good("resume", name)
        assert (name, True) == (view.status(name), process_state(pid) != "T")
        view.good("pause", name)
        view.good("kill", name, "KILL")
        view.await_status("stopped", name)
        view.good("delete", name)
