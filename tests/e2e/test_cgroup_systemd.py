"""--systemd-cgroup against a real dbus-daemon, with a stand-in for systemd that makes the cgroups it is asked for.

No systemd runs on the machines of these tests: what only it does is tried by tests/devmapper/test_systemd.py.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import cgroups
from tests.cgroups import NAME, cgroup_of
from tests.container import KNOWN, orphans, read, until
from tests.e2e.cgroup_views import View

from urunc import cgroup, systemd
from urunc.devices import Rules
from urunc.errors import HostError, SpecError
from urunc.resources import Resources

pytestmark = pytest.mark.e2e

Make = Callable[..., Path]
PYTHON = "/usr/bin/python3"  # for which Debian's jeepney is installed
BUS = """<busconfig><type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>"""


@pytest.fixture
def calls(view: View, tmp_path: Path) -> Iterator[Callable[[str], list[list[Any]]]]:
    """A bus with a manager on it, which the runtime of `view` uses; returns the arguments of the calls of a method."""
    (tmp_path / "bus.conf").write_text(BUS.format(socket=tmp_path / "bus"))
    address = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path / 'bus'}"}
    log = tmp_path / "calls"
    mount, _ = cgroups.HIERARCHIES["" if view.unified else "name=systemd"]
    manager = [PYTHON, str(Path(__file__).with_name("systemd_manager.py")), str(log), str(mount), f"/{NAME}"]
    daemon = subprocess.Popen(["dbus-daemon", f"--config-file={tmp_path / 'bus.conf'}", "--nofork"])
    try:
        until((tmp_path / "bus").exists, "the bus")
        with (tmp_path / "manager.log").open("wb") as output:
            process = subprocess.Popen(manager, env=view.environment | address, stdout=output, stderr=output)
        KNOWN.update((daemon.pid, process.pid))  # no orphans of a container
        try:
            until(lambda: log.exists() and "ready" in read(log), "the manager: " + read(tmp_path / "manager.log"))
            view.environment |= address
            yield lambda method: [call[1] for call in map(json.loads, read(log).splitlines()) if call[0] == method]
        finally:
            view.clean()
            process.kill()
            process.wait()
            for made in (mount / NAME).glob("*.slice"):  # systemd's own
                made.rmdir()
    finally:
        daemon.kill()
        daemon.wait()


def create(view: View, path: Path, name: str = "c") -> int:
    view.good("--systemd-cgroup", "create", "-b", path, name)
    return int(view.state(name)["pid"])


def properties(call: list[Any]) -> dict[str, Any]:
    return {name: value for name, (_, value) in call[2]}


def test_a_container_is_in_a_scope(view: View, bundle: Make, calls: Callable[[str], list[list[Any]]]) -> None:
    """In every hierarchy at the same path; the process that kept it is gone, the container's is there alone."""
    limits = {} if view.unified else {"memory": {"limit": 64 << 20}, "pids": {"limit": 9}, "cpu": {"shares": 512}}
    pid = create(view, bundle(linux={"cgroupsPath": "test.slice:urunc:one", "resources": limits}))
    path = f"{NAME}/test.slice/urunc-one.scope"
    ((unit, mode, *_),) = calls("StartTransientUnit")
    given = properties(calls("StartTransientUnit")[0])

    assert ("urunc-one.scope", "replace") == (unit, mode)
    assert ("test.slice", True, False) == (given["Slice"], given["Delegate"], given["DefaultDependencies"])
    for names in view.hierarchies():
        assert [str(pid)] == read(cgroup_of(names, path) / "cgroup.procs").split()
    assert [pid] == orphans()
    if not view.unified:
        assert str(192 << 20) == read(cgroup_of("memory", path) / "memory.limit_in_bytes").strip()
        assert (192 << 20, 9, 512) == (given["MemoryMax"], given["TasksMax"], given["CPUShares"])
    view.good("--systemd-cgroup", "start", "c")
    view.good("--systemd-cgroup", "delete", "--force", "c")
    for names in view.hierarchies():
        assert not cgroup_of(names, path).exists()


def test_a_container_without_a_path_has_a_scope_of_its_id(
    view: View, bundle: Make, calls: Callable[[str], list[list[Any]]]
) -> None:
    create(view, bundle())

    assert "urunc-c.scope" == calls("StartTransientUnit")[0][0]
    assert "system.slice" == properties(calls("StartTransientUnit")[0])["Slice"]


def test_new_limits_are_told_to_systemd(view: View, bundle: Make, calls: Callable[[str], list[list[Any]]]) -> None:
    if view.unified:
        pytest.skip("the controllers are bound to version 1 here: cgroup2 has none whose limits could change")
    create(view, bundle(linux={"cgroupsPath": "test.slice:urunc:one"}))
    view.good("--systemd-cgroup", "update", "--memory", "96m", "--cpuset-cpus", "0", "c")
    ((unit, runtime, given),) = calls("SetUnitProperties")

    assert ("urunc-one.scope", True) == (unit, runtime)
    assert {"MemoryMax": ["t", 224 << 20], "AllowedCPUs": ["ay", [1]]} == dict(given)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a/b", 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups'),
        ("a:b", 'expected cgroupsPath to be of format "slice:prefix:name"'),
        ("nonsense:b:c", "invalid slice name"),
        ("test.slice:urunc:refuse", "systemd does not start urunc-refuse.scope: failed"),
    ],
)
def test_a_scope_that_cannot_be_had_is_an_error(
    view: View, bundle: Make, calls: Callable[[str], list[list[Any]]], path: str, words: str
) -> None:
    ended = view("--systemd-cgroup", "create", "-b", bundle(linux={"cgroupsPath": path}), "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert words in ended.stderr.replace('\\"', '"')
    assert ("gone", []) == (view.status(), view.remains())
    assert calls("ready")


def test_a_unit_that_exists_is_an_error(view: View, bundle: Make, calls: Callable[[str], list[list[Any]]]) -> None:
    pid = create(view, bundle(linux={"cgroupsPath": "test.slice:urunc:one"}))
    path = bundle("b2", linux={"cgroupsPath": "test.slice:urunc:one"})
    ended = view("--systemd-cgroup", "create", "-b", path, "second")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "was already loaded" in ended.stderr
    assert [pid] == orphans()
    assert "created" == view.status()


def test_a_bus_that_is_not_there_is_an_error(view: View, bundle: Make) -> None:
    view.environment["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={view.directory}/none"
    ended = view("--systemd-cgroup", "create", "-b", bundle(), "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "--systemd-cgroup: cannot connect to the system's D-Bus" in ended.stderr
    assert [] == view.remains()


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jeepney", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(HostError, match="needs the Python package jeepney: install it"):
        systemd.Bus()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ("system.slice", "urunc-c.scope")),
        ("a.slice:b:c", ("a.slice", "b-c.scope")),
        (":b:c", ("system.slice", "b-c.scope")),
        ("a-b.slice::c", ("a-b.slice", "c.scope")),
        ("a.slice:b:c.slice", ("a.slice", "c.slice")),
    ],
)
def test_units_are_named_as_by_runc(path: str, expected: tuple[str, str]) -> None:
    assert expected == cgroup.unit_of(path, "c")


@pytest.mark.parametrize("path", ["a.slice:b:", "a/b.slice:c:d", "-a.slice:b:c", "a--b.slice:c:d", "a.slice:b:c/d"])
def test_a_name_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(SpecError, match="cgroupsPath"):
        cgroup.unit_of(path, "c")


def test_limits_are_properties_too() -> None:
    asked = Resources(memory_limit=-1, cpu_quota=50_000, cpu_period=200_000, pids_limit=-1, cpus="0,9-10", mems="1")

    assert [
        ("MemoryMax", ("t", 2**64 - 1)),
        ("CPUQuotaPerSecUSec", ("t", 250_000)),
        ("CPUQuotaPeriodUSec", ("t", 200_000)),
        ("TasksMax", ("t", 2**64 - 1)),
        ("AllowedCPUs", ("ay", b"\x01\x06")),
        ("AllowedMemoryNodes", ("ay", b"\x02")),
        ("MemorySwapMax", ("t", 2**64 - 1)),
    ] == systemd.properties(asked, 1 << 20, unified=True)


@pytest.mark.parametrize(("unified", "expected"), [(True, ("CPUWeight", 20)), (False, ("CPUShares", 512))])
def test_a_share_is_what_the_version_counts_in(*, unified: bool, expected: tuple[str, int]) -> None:
    given = systemd.properties(Resources(cpu_shares=512, memory_limit=1, memory_swap=3), 0, unified=unified)

    assert [("MemoryMax", ("t", 1)), (expected[0], ("t", expected[1])), ("MemorySwapMax", ("t", 2))] == given


def test_devices_are_properties_too() -> None:
    rows = [("c", -1, -1, "m"), ("b", 8, -1, "r"), ("c", 10, 232, "rwm")]
    allowed = [("char-*", "m"), ("block-8", "r"), ("/dev/char/10:232", "rwm")]

    assert [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))] == systemd.granted(
        Rules(allowed=False, exceptions=tuple(rows)), unified=False
    )
    with pytest.raises(SpecError, match=r"c \*:3: systemd grants no minor of all majors"):
        systemd.granted(Rules(allowed=False, exceptions=(("c", -1, 3, "r"),)), unified=True)
