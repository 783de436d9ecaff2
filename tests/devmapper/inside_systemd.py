"""What test_systemd.py runs in a machine whose process 1 is systemd: containers in scopes of its own.

Not collected on the host, where no systemd runs.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.container import Runtime, read, until

Make = Callable[..., Path]
UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers").exists()
TOP = Path("/sys/fs/cgroup")
UNIT = "urunc-one.scope"
GROUP = f"/urunc.slice/{UNIT}"
LIMITS: dict[str, Any] = {
    "memory": {"limit": 64 << 20, "swap": 96 << 20},
    "pids": {"limit": 77},
    "cpu": {"shares": 512},
}
FILES = {
    "memory": {"memory.max": str(192 << 20), "memory.swap.max": str(32 << 20)},
    "pids": {"pids.max": "77"},
    "cpu": {"cpu.weight": "20"},
}
FILES_1 = {
    "memory": {"memory.limit_in_bytes": str(192 << 20), "memory.memsw.limit_in_bytes": str(224 << 20)},
    "pids": {"pids.max": "77"},
    "cpu": {"cpu.shares": "512"},
}
BOUND_S = 120


def run(*words: str, check: bool = True) -> str:
    ended = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOUND_S, check=False
    )
    if check:
        assert 0 == ended.returncode, f"{words}: {ended.stdout}{ended.stderr}"
    return ended.stdout + ended.stderr


def shown(unit: str, *names: str) -> dict[str, str]:
    """What systemd says about a unit."""
    lines = run("systemctl", "show", unit, *(f"--property={name}" for name in names)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def place(controller: str) -> Path:
    """The container's cgroup where `controller` is."""
    return Path(f"{TOP}{GROUP}" if UNIFIED else f"{TOP}/{controller}{GROUP}")


def in_force() -> dict[str, dict[str, str]]:
    """The limits that LIMITS are, as the kernel has them; a file that this kernel does not have is as it should be."""
    found = {}
    for controller, files in (FILES if UNIFIED else FILES_1).items():
        paths = {name: place(controller) / name for name in files}
        found[controller] = {name: read(path).strip() if path.exists() else files[name] for name, path in paths.items()}
    return found


def opened(path: str) -> str:
    """What comes of opening a file for a process in the container's cgroup: "" or the reason why not."""
    script = f"echo $$ >{place('devices')}/cgroup.procs && exec 3<{path}"
    return "Operation not permitted" if "ermitted" in run("sh", "-c", script, check=False) else ""


@pytest.fixture
def config(bundle: Make) -> Callable[..., Path]:
    def make(name: str = "b", path: str = "urunc.slice:urunc:one", **resources: Any) -> Path:
        return bundle(name, linux={"cgroupsPath": path, "resources": {**LIMITS, **resources}})

    return make


@pytest.fixture
def container(urunc: Runtime, config: Make) -> Iterator[int]:
    urunc.good("--systemd-cgroup", "create", "--bundle", config(), "c")
    yield int(urunc.state()["pid"])
    urunc.good("--systemd-cgroup", "delete", "--force", "c")
    until(lambda: shown(UNIT, "LoadState")["LoadState"] == "not-found", "systemd forgets the scope")


def neighbour() -> None:
    """Another unit of the slice begins and ends, which has systemd look at all of them."""
    run("systemd-run", "--quiet", "--wait", "--slice=urunc.slice", "-p", "DevicePolicy=closed", "-p", "MemoryMax=64M",
        "-p", "StandardOutput=null", "-p", "DefaultDependencies=no", "true")  # fmt: skip


EVENTS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "a neighbour's end": neighbour,
    "a new property": lambda: run("systemctl", "set-property", "--runtime", UNIT, "TasksMax=77"),
    "a reload": lambda: run("systemctl", "daemon-reload"),
    "a neighbour's end after that": neighbour,
}


def test_a_container_is_alone_in_its_scope(container: int) -> None:
    found = shown(UNIT, "ControlGroup", "Slice", "ActiveState", "Delegate", "MemoryMax", "TasksMax", "DevicePolicy")

    assert {
        "ControlGroup": GROUP,
        "Slice": "urunc.slice",
        "ActiveState": "active",
        "Delegate": "yes",
        "MemoryMax": str(192 << 20),
        "TasksMax": "77",
        "DevicePolicy": "strict",
    } == found
    for controller in ("memory", "pids", "devices", "systemd"):
        assert [str(container)] == read(place(controller) / "cgroup.procs").split()


def test_limits_last(container: int) -> None:
    """Whatever else systemd has to do."""
    for what, happens in EVENTS.items():
        happens()

        assert (FILES if UNIFIED else FILES_1) == in_force(), what
        assert {"/dev/kmsg": "Operation not permitted", "/dev/null": ""} == {
            path: opened(path) for path in ("/dev/kmsg", "/dev/null")
        }, what


def test_new_limits_last(urunc: Runtime, container: int) -> None:
    urunc.good("--systemd-cgroup", "update", "--pids-limit", "66", "c")
    neighbour()
    run("systemctl", "daemon-reload")
    neighbour()

    assert "66" == read(place("pids") / "pids.max").strip()
    assert "Operation not permitted" == opened("/dev/kmsg")


def test_a_guest_runs_and_ends_in_its_scope(urunc: Runtime, container: int) -> None:
    urunc.good("start", "c")
    neighbour()
    urunc.good("kill", "c", "KILL")
    urunc.await_status("stopped")


def test_devices_that_the_spec_grants_are_granted(urunc: Runtime, config: Make) -> None:
    rule = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    denied = {"allow": False, "access": "rwm"}
    urunc.good("--systemd-cgroup", "create", "--bundle", config(devices=[denied, rule]), "c")
    neighbour()

    assert ("", "Operation not permitted") == (opened("/dev/kmsg"), opened("/dev/ttyS0"))


def test_all_devices_are_granted_if_the_spec_says_so(urunc: Runtime, config: Make) -> None:
    urunc.good("--systemd-cgroup", "create", "--bundle", config(devices=[{"allow": True, "access": "rwm"}]), "c")
    neighbour()

    assert "" == opened("/dev/kmsg")


def test_exceptions_that_systemd_cannot_keep_are_refused(urunc: Runtime, config: Make) -> None:
    rules = [{"allow": True}, {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwm"}]
    ended = urunc("--systemd-cgroup", "create", "--bundle", config(devices=rules), "c")

    if UNIFIED:  # the kernel asks systemd's program and ours
        neighbour()
        assert (0, "Operation not permitted") == (ended.returncode, opened("/dev/kmsg"))
    else:
        assert 1 == ended.returncode
        assert "systemd can only keep a list of devices that are allowed" in ended.stderr


def test_a_slice_is_no_place_for_a_container(urunc: Runtime, config: Make) -> None:
    ended = urunc("--systemd-cgroup", "create", "--bundle", config(path="urunc.slice:urunc:urunc-one.slice"), "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "gone" == urunc.status()


def test_a_failed_create_leaves_no_scope(urunc: Runtime, config: Make) -> None:
    path = config()
    document = json.loads(read(path / "config.json"))
    document["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    (path / "config.json").write_text(json.dumps(document))
    ended = urunc("--systemd-cgroup", "create", "--bundle", path, "c")

    assert 1 == ended.returncode
    until(lambda: shown(UNIT, "LoadState")["LoadState"] == "not-found", "systemd forgets the scope")
    assert not place("systemd").exists()
