"""Control groups of containers: where they are, what is in force, that they go; in every view of the machine's cgroups.

The views are private mount namespaces of each command: what the machine has stays as it is.
"""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests import cgroups
from tests.cgroups import NAME, OURS, cgroup_of, has_controller
from tests.container import alive, read, until
from tests.e2e.cgroup_views import View

pytestmark = pytest.mark.e2e

Make = Callable[..., Path]
# what a process finds that goes into the cgroup by itself: the name of a device, "yes" or the error
OPEN = """
import errno, os, sys
for path in sys.argv[1].split(","):
    with open(path, "w") as file:
        file.write("0")
for device in sys.argv[2:]:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK))
        print(device, "yes")
    except OSError as error:
        print(device, errno.errorcode[error.errno])
"""


def membership(pid: int) -> dict[str, str]:
    """Controllers -> cgroup of a process (proc_pid_cgroup(5))."""
    lines = [line.split(":", 2) for line in read(Path(f"/proc/{pid}/cgroup")).splitlines()]
    return {controllers: path for _, controllers, path in lines}


def limited(bundle: Make, resources: dict[str, Any], **changes: Any) -> Path:
    return bundle(linux={"resources": resources, **changes.pop("linux", {})}, **changes)


def test_a_container_is_in_cgroups_of_its_own(view: View, bundle: Make) -> None:
    """From before its program runs, and until its end; a process of its maker's never."""
    pid = view.running(bundle())
    path = f"/{NAME}/c" if view.unified else f"/{NAME}/{OURS}/c"
    found = membership(pid)

    assert dict.fromkeys(view.hierarchies(), path) == {names: found[names] for names in view.hierarchies()}
    assert [str(pid)] == read(view.place("freezer") / "cgroup.procs").split()
    assert set() == set(map(str, [os.getpid()])) & set(read(view.place("freezer") / "cgroup.procs").split())
    view.good("delete", "--force", "c")
    assert [] == cgroups.left()


def test_a_cgroup_namespace_begins_at_the_cgroup_of_the_container(view: View, bundle: Make) -> None:
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup")
    pid = view.running(bundle(linux={"namespaces": [{"type": kind} for kind in kinds]}))
    shown = subprocess.check_output(["nsenter", "-C", "-t", str(pid), "cat", f"/proc/{pid}/cgroup"], text=True)
    paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in shown.splitlines()}

    assert dict.fromkeys(view.hierarchies(), "/") == {names: paths[names] for names in view.hierarchies()}


@pytest.mark.parametrize("path", [f"/{NAME}/a/b/../c/x", f"{NAME}/k8s/../pod/x"])
def test_a_path_of_the_spec_is_taken(view: View, bundle: Make, path: str) -> None:
    """An absolute one from the top, another from where we are; what was made above it goes with it."""
    pid = view.create(bundle(linux={"cgroupsPath": path}))
    expected = f"/{NAME}/a/c/x"
    if path[0] != "/":
        expected = f"/{NAME}/{NAME}/pod/x" if view.unified else f"/{NAME}/{OURS}/{NAME}/pod/x"

    assert {expected} == {membership(pid)[names] for names in view.hierarchies()}
    view.good("delete", "c")
    assert [] == cgroups.left()


def test_what_was_above_a_cgroup_before_it_stays(view: View, bundle: Make) -> None:
    for names in view.hierarchies():
        cgroup_of(names, f"{NAME}/pod").mkdir()
    view.create(bundle(linux={"cgroupsPath": f"/{NAME}/pod/x/y"}))
    view.create(bundle("b2", linux={"cgroupsPath": f"/{NAME}/pod/x/z"}), "second")
    view.good("delete", "c")
    for names in view.hierarchies():
        assert not cgroup_of(names, f"{NAME}/pod/x/y").exists()
        assert cgroup_of(names, f"{NAME}/pod/x/z").exists()
    view.good("delete", "second")
    for names in view.hierarchies():
        cgroup_of(names, f"{NAME}/pod/x").rmdir() if cgroup_of(names, f"{NAME}/pod/x").exists() else None
        cgroup_of(names, f"{NAME}/pod").rmdir()


@pytest.mark.parametrize("path", ["/", "/.", "a/..", "/../.."])
def test_the_root_of_a_hierarchy_is_no_containers(view: View, bundle: Make, path: str) -> None:
    ended = view("create", "-b", bundle(linux={"cgroupsPath": path}), "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "cgroupsPath" in ended.stderr


def test_a_cgroup_with_processes_is_refused(view: View, bundle: Make) -> None:
    """Whoever shares one shares its limits, and its end."""
    pid = view.create(bundle(linux={"cgroupsPath": f"/{NAME}/x"}))
    ended = view("create", "-b", bundle("b2", linux={"cgroupsPath": f"/{NAME}/x"}), "second")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "container's cgroup is not empty: 1 process(es) found" in ended.stderr
    assert "created" == view.status()
    assert f"/{NAME}/x" in membership(pid).values()


def test_a_cgroup_with_processes_that_have_no_pid_here_is_refused(view: View, bundle: Make) -> None:
    """Of another pid namespace: there would be no ending them, or with them somebody else's container would end."""
    view.create(bundle(linux={"cgroupsPath": f"/{NAME}/x"}))
    words = view.words("create", "-b", bundle("b2", linux={"cgroupsPath": f"/{NAME}/x"}), "second")
    ended = view.run(["unshare", "--pid", "--fork", "--mount-proc", *words])

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "container's cgroup is not empty" in ended.stderr
    assert "created" == view.status()


def test_an_empty_cgroup_that_is_there_becomes_the_containers(view: View, bundle: Make) -> None:
    for names in view.hierarchies():
        cgroup_of(names, f"{NAME}/x").mkdir()
    pid = view.create(bundle(linux={"cgroupsPath": f"/{NAME}/x"}))

    assert {f"/{NAME}/x"} == {membership(pid)[names] for names in view.hierarchies()}


def test_a_journal_that_names_anothers_cgroup_ends_and_removes_nobody(
    view: View, bundle: Make, request: pytest.FixtureRequest
) -> None:
    """Neither a stranger's nor another container's: what create has made says whose it is."""
    pid, other = view.create(bundle()), view.create(bundle("b2"), "other")
    stranger = subprocess.Popen(["sleep", "1000"])
    request.addfinalizer(stranger.wait)
    request.addfinalizer(stranger.kill)
    names = "" if view.unified else "freezer"
    foreign = cgroup_of(names, f"{NAME}/foreign")
    (foreign / "below").mkdir(parents=True)
    try:
        (foreign / "cgroup.procs").write_text(str(stranger.pid))
        kind = "cgroup2" if view.unified else names
        with (view.root / "c" / "journal").open("a") as journal:
            for depth, path in itertools.product((1, 3, 0), (foreign, view.place(names, "other"))):
                journal.write(f"cgroup {kind} {depth} {path}\n")
        view.good("delete", "--force", "c")

        assert not alive(pid)
        assert "created" == view.status("other")
        assert str(other) in read(view.place(names, "other") / "cgroup.procs").split()
        assert stranger.poll() is None
        assert (foreign / "below").is_dir()
    finally:
        stranger.kill()
        stranger.wait()
        (foreign / "below").rmdir()
        foreign.rmdir()


def test_a_cgroup_made_anew_by_somebody_else_is_not_the_containers(
    view: View, bundle: Make, request: pytest.FixtureRequest
) -> None:
    """The path in the journal is the same; the mark, which one cgroup has for all, has the numbers of ours."""
    pid = view.create(bundle())
    lines = (view.root / "c" / "journal").read_text().splitlines()
    names = [line.split(" ")[1] for line in lines if line.startswith("cgroup ")]
    places = {name: view.place("" if view.unified else name) for name in names}
    # a new cpuset takes nobody at first
    anew = [places[name] for name in names[0 if view.unified else 1 :] if name != "cpuset"]
    os.kill(pid, signal.SIGKILL)
    stranger = subprocess.Popen(["sleep", "1000"])
    request.addfinalizer(stranger.wait)
    request.addfinalizer(stranger.kill)
    for place in anew:
        until(partial(removed, place), f"{place} is empty")
        place.mkdir()
        (place / "cgroup.procs").write_text(str(stranger.pid))
    view.good("delete", "--force", "c")

    assert stranger.poll() is None
    assert [[str(stranger.pid)]] * len(anew) == [read(place / "cgroup.procs").split() for place in anew]
    assert not any(place.is_dir() for place in places.values() if place not in anew)
    stranger.kill()
    stranger.wait()
    for place in anew:
        until(partial(removed, place), f"{place} is empty")


def removed(place: Path) -> bool:
    """Whether it could be: a process that has ended is in it a moment longer."""
    try:
        place.rmdir()
    except OSError:
        return False
    return True


def test_a_process_that_lingers_in_the_cgroup_ends_with_the_container(
    view: View, bundle: Make, request: pytest.FixtureRequest
) -> None:
    """And one below it, where the container could have made a cgroup."""
    pid = view.running(bundle())
    lingering = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
    for process in lingering:
        request.addfinalizer(process.wait)
        request.addfinalizer(process.kill)
    for names in view.hierarchies():
        below = view.place(names) / "below"
        below.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (below / file).exists():
                (below / file).write_text((below.parent / file).read_text())
        for process, place in zip(lingering, (below.parent, below), strict=True):
            (place / "cgroup.procs").write_text(str(process.pid))
    assert {*(process.pid for process in lingering), pid} == set(
        map(int, view.good("ps", "-f", "json", "c").strip()[1:-1].split(","))
    )
    view.good("delete", "--force", "c")

    assert [-9, -9] == [process.wait(10) for process in lingering]
    assert [] == cgroups.left()


def test_devices_are_those_of_the_list(view: View, bundle: Make) -> None:
    """The spec's, the usual ones and what the monitor opens; all else is refused, mknod is not."""
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"}]
    pid = view.create(limited(bundle, {"devices": rules}))
    # one process of this session goes where the container is
    probe = [sys.executable, "-c", OPEN, str(view.place("devices") / "cgroup.procs")]
    devices = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/kmsg", "/dev/loop-control")
    present = [device for device in devices if Path(device).exists()]
    found = dict(line.split() for line in subprocess.check_output([*probe, *present], text=True).splitlines())
    expected = {device: "yes" if device in devices[:3] else "EPERM" for device in present}

    assert expected == found
    assert "/dev/null" in found
    assert len(found) > 3
    assert pid


@pytest.mark.parametrize("rules", [[{"allow": True, "access": "rwm"}], None], ids=["all", "none"])
def test_without_rules_only_the_usual_devices_can_be_opened(view: View, bundle: Make, rules: Any) -> None:
    view.create(limited(bundle, {"devices": rules} if rules else {}))
    probe = [sys.executable, "-c", OPEN, str(view.place("devices") / "cgroup.procs"), "/dev/kmsg"]

    assert "/dev/kmsg yes" if rules else "/dev/kmsg EPERM" == subprocess.check_output(probe, text=True).strip()


# resources -> file and content, for version 1
LIMITS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "memory": (
        {"memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 128 << 20}},
        {
            "memory.limit_in_bytes": str(192 << 20),  # and 128 MiB for the monitor
            "memory.soft_limit_in_bytes": str(160 << 20),
            "memory.memsw.limit_in_bytes": str(256 << 20),
        },
    ),
    "swappiness": ({"memory": {"limit": 64 << 20, "swappiness": 7}}, {"memory.swappiness": "7"}),
    "oom": ({"memory": {"disableOOMKiller": True}}, {"memory.oom_control": "oom_kill_disable 1"}),
    "cpu": (
        {"cpu": {"shares": 512, "quota": 60000, "period": 50000, "burst": 1000}},
        {
            "cpu.shares": "512",
            "cpu.cfs_quota_us": "60000",
            "cpu.cfs_period_us": "50000",
            "cpu.cfs_burst_us": "1000",
        },
    ),
    "idle": ({"cpu": {"idle": 1}}, {"cpu.idle": "1"}),
    "unlimited": (
        {"cpu": {"quota": -1}, "pids": {"limit": -1}, "memory": {"limit": -1}},
        {"cpu.cfs_quota_us": "-1", "pids.max": "max"},
    ),
    "cpuset": ({"cpu": {"cpus": "0", "mems": "0"}}, {"cpuset.cpus": "0", "cpuset.mems": "0"}),
    "pids": ({"pids": {"limit": 77}}, {"pids.max": "77"}),
    "blkio": (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 7, "minor": 0, "rate": 1048576}],
                     "throttleWriteIOPSDevice": [{"major": 7, "minor": 0, "rate": 99}]}},
        {"blkio.throttle.read_bps_device": "7:0 1048576", "blkio.throttle.write_iops_device": "7:0 99"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_in_force(view: View, bundle: Make, name: str) -> None:
    """In version 1: what is written is read back.  What cgroup2 lacks on this machine is an error, not a silence."""
    resources, files = LIMITS[name]
    if name == "blkio" and not Path("/sys/dev/block/7:0").exists():
        pytest.skip("no loop device 7:0 whose speed could be limited")
    if not view.unified:
        view.running(limited(bundle, resources))
        controllers = {file.split(".")[0] for file in files}
        for file, content in files.items():
            found = read(view.place(file.split(".")[0]) / file)
            assert content in found.splitlines(), f"{file}: {found}"
        assert controllers
        return
    ended = view("create", "-b", limited(bundle, resources), "c")
    missing = has_controller(next(iter(files)).split(".")[0]) or name in ("swappiness", "oom")
    if missing:
        assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
        assert "not available here" in ended.stderr or "cgroup2 has no such limit" in ended.stderr
        assert [] == view.remains()
    else:
        assert (0, "") == (ended.returncode, ended.stderr)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"unified": {"memory.high": "1000000"}}, "memory.high"),
        ({"unified": {"a/b": "1"}}, "must be a file name (no slashes)"),
        ({"rdma": {"mlx5_1": {"hcaHandles": 3}}}, "rdma"),
        ({"memory": {"swap": 1000000}}, "unable to set swap limit without memory limit"),
        ({"memory": {"limit": 2 << 20, "swap": 1 << 20}}, "memory+swap limit should be >= memory limit"),
        ({"cpu": {"cpus": "0-4095"}}, "cpuset.cpus"),
        ({"hugepageLimits": [{"pageSize": "3KB", "limit": 1}]}, "huge"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_an_error(
    view: View, bundle: Make, resources: dict[str, Any], words: str
) -> None:
    ended = view("create", "-b", limited(bundle, resources), "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert words in ended.stderr
    assert "gone" == view.status()
    assert [] == view.remains()


def test_huge_pages_are_limited_where_their_controller_is(view: View, bundle: Make) -> None:
    """In the hybrid view that is a cgroup2 beside the others."""
    resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}
    ended = view("create", "-b", limited(bundle, resources), "c")
    mount, _ = cgroups.HIERARCHIES.get("", (Path("/"), ""))
    if "hugetlb" not in read(mount / "cgroup.controllers").split() or view.name == "v1":
        assert view.name == "v1" or 0 == ended.returncode
        return
    place = cgroup_of("", f"{NAME}/c")

    assert (0, "") == (ended.returncode, ended.stderr)
    assert str(4 << 20) == read(place / "hugetlb.2MB.max").strip()
    assert str(4 << 20) == read(place / "hugetlb.2MB.rsvd.max").strip()
    assert f"/{NAME}/c" == membership(int(view.state()["pid"]))[""]


def test_nothing_is_left_of_a_create_that_fails_after_its_cgroups(view: View, bundle: Make) -> None:
    ended = view("create", "-b", bundle(hooks={"createRuntime": [{"path": "/bin/false"}]}), "c")

    assert 1 == ended.returncode
    assert [] == view.remains()
