"""Where a container's cgroups are and what is written into them, decided without a machine."""

from typing import Any, cast

import pytest

from urunc import cgroup, devices, limits, resources
from urunc.errors import HostError, SpecError, UruncError
from urunc.resources import Device, Resources
from urunc.spec import Namespace

HYBRID = (
    ("name=systemd", "/sys/fs/cgroup/systemd", "/", "/user"),
    ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/", "/user"),
    ("devices", "/sys/fs/cgroup/devices", "/", "/"),
    ("memory", "/sys/fs/cgroup/memory", "/docker/x", "/docker/x/y"),
    ("name=elogind", "/sys/fs/cgroup/elogind", "/", "/"),
    ("cgroup2", "/sys/fs/cgroup/unified", "/", "/user/scope"),
)
V1 = HYBRID[:-1]
BLKIO = ("blkio", "/sys/fs/cgroup/blkio", "/", "/")
V2 = (("cgroup2", "/sys/fs/cgroup", "/", "/user.slice/session"),)
MIB = 1 << 20


class Asked:
    """The fields of a Spec that count here."""

    def __init__(
        self, path: str = "", asked: Resources = resources.NONE, namespaces: tuple[str, ...] = ("pid",)
    ) -> None:
        self.cgroups_path = path
        self.resources = asked
        self.namespaces = tuple([Namespace(type=kind) for kind in namespaces])


def operations(layout: Any, path: str = "", asked: Resources = resources.NONE) -> list[Any]:
    spec: Any = Asked(path, asked)
    where, written = cgroup.settings(spec, layout, (), 128 * MIB)
    return [cgroup.made(spec, "c", where), *written]


def written(asked: Resources, *, unified: bool) -> dict[str, tuple[str, ...]]:
    """Files -> values, several files in one name."""
    return {"|".join(w.files): w.values for w in limits.writes(asked, 128 * MIB, unified=unified)}


@pytest.mark.parametrize(
    ("layout", "path", "expected"),
    [
        (V1, "", {"cpu,cpuacct": "/user/c", "devices": "/c", "memory": "/y/c", "name=systemd": "/user/c"}),
        (V1, "/a/b", dict.fromkeys(("cpu,cpuacct", "devices", "memory", "name=systemd"), "/a/b")),
        (V1, "a", {"cpu,cpuacct": "/user/a", "devices": "/a", "memory": "/y/a", "name=systemd": "/user/a"}),
        (V1, "/a/../../b/./c/", dict.fromkeys(("cpu,cpuacct", "devices", "memory", "name=systemd"), "/b/c")),
        (V1, "../../b", {"cpu,cpuacct": "/user/b", "devices": "/b", "memory": "/y/b", "name=systemd": "/user/b"}),
        (HYBRID, "/a", dict.fromkeys(("cpu,cpuacct", "devices", "memory", "name=systemd"), "/a")),
        (V2, "", {"cgroup2": "/user.slice/c"}),
        (V2, "/a", {"cgroup2": "/a"}),
        (V2, "a/b", {"cgroup2": "/user.slice/a/b"}),
        ((("cgroup2", "/sys/fs/cgroup", "/", "/../outside"),), "", {"cgroup2": "/c"}),
        ((("cgroup2", "/sys/fs/cgroup", "/", "/"),), "", {"cgroup2": "/c"}),
    ],
)
def test_paths_are_where_runc_has_them(layout: Any, path: str, expected: dict[str, str]) -> None:
    """A stranger's named hierarchy is left alone, a cgroup2 beside version 1 is not needed."""
    name, controllers, mounts, paths, holder = operations(layout, path)[0]

    assert ("cgroup", 0) == (name, holder)
    assert expected == dict(zip(controllers, paths, strict=True))
    assert [mount for names, mount, *_ in layout if names in controllers] == list(mounts)


@pytest.mark.parametrize(
    ("asked", "more"),
    [
        ({}, set()),
        ({"path": "/a"}, {"cpuset", "name=systemd"}),
        ({"namespaces": ("cgroup",)}, {"cpuset", "name=systemd"}),
        ({"asked": Resources(cpus="0")}, {"cpuset"}),
    ],
    ids=["nobody looks", "a path", "a namespace", "a limit"],
)
def test_hierarchies_without_a_limit_are_for_those_who_look_there(asked: dict[str, Any], more: set[str]) -> None:
    """Others of an embedding program's containers stay where it is."""
    layout: Any = (*V1, ("cpuset", "/sys/fs/cgroup/cpuset", "/", "/"))
    controllers = cgroup.settings(cast(Any, Asked(**asked)), layout, (), 0, sparing=True)[0][0]

    assert {"cpu,cpuacct", "devices", "memory"} | more == set(controllers)
    without_disks = cgroup.settings(cast(Any, Asked(**asked)), (*layout, BLKIO), (), 0, sparing=True, has_disks=False)[
        0
    ][0]
    assert {"cpu,cpuacct", "devices", "memory"} | more | ({"blkio"} if len(more) > 1 else set()) == set(without_disks)
    assert "blkio" in cgroup.settings(cast(Any, Asked()), (*layout, BLKIO), (), 0, sparing=True)[0][0]


@pytest.mark.parametrize("path", ["/", "..", "a/..", "/./"])
def test_the_root_is_no_place(path: str) -> None:
    with pytest.raises(SpecError, match="cgroupsPath"):
        operations(V2, path)


def test_a_machine_without_cgroups_is_an_error() -> None:
    with pytest.raises(HostError, match="no control groups"):
        operations(())


def test_limits_go_to_the_hierarchy_of_their_controller() -> None:
    asked = Resources(memory_limit=64 * MIB, cpu_shares=10, blkio_weight=0)
    found = [operation for operation in operations(V1, "/a", asked) if operation[0] == "cgroup_write"]

    assert ("cgroup_write", 3, "memory.limit_in_bytes", (str(192 * MIB),)) in found
    assert ("cgroup_write", 1, "cpu.shares", ("10",)) in found
    assert ("cgroup_write", 2, "devices.deny", ("a",)) in found


def test_a_limit_without_its_hierarchy_is_an_error() -> None:
    with pytest.raises(SpecError, match=r"pids.limit: no hierarchy here has the cgroup controller pids"):
        operations(V1, "/a", Resources(pids_limit=3))


def test_what_only_cgroup2_has_brings_it_in_beside_version_1() -> None:
    asked = Resources(unified=(("misc.max", "1"),))
    found = operations(HYBRID, "/a", asked)

    assert "cgroup2" in found[0][1]
    assert ("cgroup_write", found[0][1].index("cgroup2"), "misc.max", ("1",)) in found
    with pytest.raises(SpecError, match="unified"):
        operations(V1, "/a", asked)


def test_a_file_of_cgroup2_whose_controller_is_of_version_1_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"^invalid configuration: .*: memory\.high: memory is of version 1"):
        operations(HYBRID, "/a", Resources(unified=(("memory.high", "1"),)))


def test_devices_of_cgroup2_are_a_program() -> None:
    (_, devices_) = operations(V2, "/a")

    assert ("cgroup_devices", 0) == devices_[:2]
    assert 0 == devices_[2][0]
    assert 1 == len(devices_[2]) % 4


FULL = Resources(
    memory_limit=64 * MIB,
    memory_reservation=32 * MIB,
    memory_swap=96 * MIB,
    cpu_shares=1024,
    cpu_quota=5000,
    cpu_period=10000,
    cpu_burst=100,
    cpu_idle=0,
    cpus="0-1",
    mems="0",
    pids_limit=9,
    blkio_weight=500,
    blkio_weights=(resources.Weight(major=8, minor=0, weight=10, leaf_weight=0),),
    blkio_read_bps=(resources.Rate(major=8, minor=0, rate=1000), resources.Rate(major=8, minor=16, rate=0)),
    blkio_write_iops=(resources.Rate(major=8, minor=0, rate=7),),
    huge_pages=(resources.HugePages(size="2MB", limit=4096),),
    rdma=(resources.Rdma(device="mlx5_1", handles=3, objects=-1), resources.Rdma(device="x", handles=-1, objects=2)),
)


def test_all_limits_of_version_1() -> None:
    asked = resources.Resources(**{name: getattr(FULL, name) for name in FULL.__slots__} | {
        "memory_swappiness": 0, "disable_oom_killer": True, "memory_kernel": 5, "memory_kernel_tcp": 6,
        "cpu_rt_runtime": 11, "cpu_rt_period": 12, "blkio_leaf_weight": 20, "class_id": 33,
        "priorities": (resources.Priority(name="eth0", priority=5),),
    })  # fmt: skip
    huge = "hugetlb.2MB.limit_in_bytes|hugetlb.2MB.max"

    assert {
        "memory.limit_in_bytes": (str(192 * MIB),),
        "memory.memsw.limit_in_bytes": (str(224 * MIB),),
        "memory.soft_limit_in_bytes": (str(160 * MIB),),
        "memory.kmem.limit_in_bytes": ("5",),
        "memory.kmem.tcp.limit_in_bytes": ("6",),
        "memory.oom_control": ("1",),
        "memory.swappiness": ("0",),
        "cpu.shares": ("1024",),
        "cpu.rt_period_us": ("12",),
        "cpu.rt_runtime_us": ("11",),
        "cpu.cfs_period_us": ("10000",),
        "cpu.cfs_quota_us": ("5000",),
        "cpu.cfs_burst_us": ("100",),
        "cpu.idle": ("0",),
        "blkio.weight|blkio.bfq.weight": ("500", "500"),
        "blkio.leaf_weight": ("20",),
        "blkio.weight_device|blkio.bfq.weight_device": ("8:0 10", "8:0 10"),
        "blkio.throttle.read_bps_device": ("8:16 0",),  # the last of two with the same file
        "blkio.throttle.write_iops_device": ("8:0 7",),
        "net_cls.classid": ("33",),
        "net_prio.ifpriomap": ("eth0 5",),
        "cpuset.cpus": ("0-1",),
        "cpuset.mems": ("0",),
        "pids.max": ("9",),
        huge: ("4096", "4096"),
        f"hugetlb.2MB.rsvd.limit_in_bytes|hugetlb.2MB.rsvd.max|{huge}": ("4096",) * 4,
        "rdma.max": ("mlx5_1 hca_handle=3", "x hca_object=2"),
    } == written(asked, unified=False)


def test_all_limits_of_cgroup2() -> None:
    found = written(FULL, unified=True)

    assert {
        "memory.max": (str(192 * MIB),),
        "memory.swap.max": (str(32 * MIB),),
        "memory.low": (str(160 * MIB),),
        "cpu.weight": ("39",),
        "cpu.max": ("5000 10000",),
        "cpu.max.burst": ("100",),
        "cpu.idle": ("0",),
        "io.bfq.weight|io.weight": ("8:0 10", "8:0 1"),
        "io.max": ("8:0 wiops=7",),
        "cpuset.cpus": ("0-1",),
        "cpuset.mems": ("0",),
        "pids.max": ("9",),
    } == {name: values for name, values in found.items() if name.partition(".")[0] not in ("hugetlb", "rdma")}
    every = [w.values for w in limits.writes(FULL, 0, unified=True) if w.files == ("io.bfq.weight", "io.weight")]
    assert [("500", "default 4950"), ("8:0 10", "8:0 1")] == every
    rates = [w.values for w in limits.writes(FULL, 0, unified=True) if w.files == ("io.max",)]
    assert [("8:0 rbps=1000",), ("8:16 rbps=max",), ("8:0 wiops=7",)] == rates


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Resources(memory_limit=-1), {"memory.max": ("max",), "memory.swap.max": ("max",)}),
        (Resources(memory_limit=MIB, memory_swap=-1), {"memory.max": (str(129 * MIB),), "memory.swap.max": ("max",)}),
        (Resources(memory_limit=MIB, memory_swap=MIB), {"memory.max": (str(129 * MIB),), "memory.swap.max": ("0",)}),
        (Resources(cpu_quota=-1), {"cpu.max": ("max",)}),
        (Resources(cpu_quota=7), {"cpu.max": ("7",)}),
        (Resources(cpu_period=7), {"cpu.max": ("max 7",)}),
        (Resources(pids_limit=-1), {"pids.max": ("max",)}),
        (Resources(cpu_shares=2), {"cpu.weight": ("1",)}),
        (Resources(cpu_shares=262144), {"cpu.weight": ("10000",)}),
        (Resources(cpu_shares=2**40), {"cpu.weight": ("10000",)}),
        (Resources(cpu_shares=100, cpu_idle=1), {"cpu.idle": ("1",)}),
        (Resources(unified=(("cpu.uclamp.max", "50"),)), {"cpu.uclamp.max": ("50",)}),
    ],
)
def test_values_of_cgroup2(asked: Resources, expected: dict[str, tuple[str, ...]]) -> None:
    assert expected == written(asked, unified=True)


@pytest.mark.parametrize(
    "asked",
    [
        Resources(memory_kernel=1),
        Resources(memory_kernel_tcp=1),
        Resources(memory_swappiness=0),
        Resources(disable_oom_killer=True),
        Resources(cpu_rt_period=1),
        Resources(cpu_rt_runtime=1),
        Resources(blkio_leaf_weight=10),
        Resources(class_id=1),
        Resources(priorities=(resources.Priority(name="eth0", priority=5),)),
    ],
)
def test_what_cgroup2_does_not_have_is_an_error(asked: Resources) -> None:
    with pytest.raises(SpecError, match=r"linux.resources.*: cgroup2 has no such limit: remove it"):
        limits.writes(asked, 0, unified=True)


# --- devices


def rule(text: str) -> Device:
    """+ or -, then type, major:minor, access: "+c 1:* rw"."""
    kind, numbers, access = text[1:].split()
    major, minor = (-1 if word == "*" else int(word) for word in numbers.split(":"))
    return Device(allow=text[0] == "+", type=kind, major=major, minor=minor, access=access)


def exceptions(*texts: str, nodes: Any = ()) -> tuple[bool, list[str]]:
    """The default, and the exceptions from it but the usual ones."""
    found = devices.rules(tuple(rule(text) for text in texts), nodes)
    usual = devices.rules((), ()).exceptions
    rows = [row for row in found.exceptions if row not in usual]
    return found.allowed, [f"{kind} {major}:{minor} {access}" for kind, major, minor, access in rows]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), (False, [])),
        (("-a *:* rwm",), (False, [])),
        (("-a *:* rwm", "+c 7:8 r"), (False, ["c 7:8 r"])),
        (("+c 7:8 r", "+c 7:8 w"), (False, ["c 7:8 rw"])),
        (("+c 7:8 rw", "-c 7:8 w"), (False, ["c 7:8 r"])),
        (("+c 7:8 rw", "-c 7:8 rw"), (False, [])),
        (("+c 7:8 rw", "-a *:* rwm"), (False, [])),
        (("+a *:* rwm",), (True, [])),
        (("+a *:* rwm", "-b 8:0 rw"), (True, ["b 8:0 rw"])),
        (("+u 7:8 r",), (False, ["c 7:8 r"])),
    ],
)
def test_rules_are_a_default_and_exceptions(texts: tuple[str, ...], expected: tuple[bool, list[str]]) -> None:
    assert expected == exceptions(*texts)


def test_what_the_monitor_opens_is_allowed_whatever_the_spec_says() -> None:
    assert (False, ["c 10:232 rwm"]) == exceptions("-c 10:232 rwm", nodes=(("c", 10, 232),))
    assert (True, []) == exceptions("+a *:* rwm", "-c 10:232 rwm", nodes=(("c", 10, 232),))


def test_an_exception_from_an_exception_is_refused() -> None:
    """The kernel would ignore it, and allow what was to be denied."""
    with pytest.raises(UruncError, match=r"devices: c 7:8 w cannot be an exception from an exception"):
        exceptions("+c 7:* rw", "-c 7:8 w")


def test_rules_as_lines_and_as_numbers() -> None:
    given = devices.rules((rule("+b 8:* rw"),), ())

    assert ("devices.deny", ("a",)) == devices.lines(given)[0]
    assert "b 8:* rw" in devices.lines(given)[1][1]
    assert "c 1:3 rwm" in devices.lines(given)[1][1]
    assert (0, ord("b"), 8, -1, 6) == devices.words(given)[:5]
    everything = devices.rules((rule("+a *:* rwm"),), ())
    assert (("devices.allow", ("a",)),) == devices.lines(everything)
    assert (1,) == devices.words(everything)


# --- the specification's words


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"memory": 1}, "memory must be an object"),
        ({"memory": {"limit": 1.5}}, "memory.limit must be a whole number"),
        ({"cpu": {"idle": 2}}, "cpu.idle must be a whole number from 0 to 1"),
        ({"cpu": {"cpus": "0\n1"}}, "cpu.cpus"),
        ({"devices": [{"type": "x"}]}, "invalid device type x"),
        ({"devices": [{"access": "rx"}]}, "must be of the letters r, w and m"),
        ({"unified": {"a/b": "1"}}, "must be a file name"),
        ({"unified": {"..": "1"}}, "must be a file name"),
        ({"rdma": {"a": 1}}, "must be an object"),
        ({"hugepageLimits": [{"pageSize": 2}]}, "pageSize must be a string"),
        ([], "must be an object"),
    ],
)
def test_wrong_resources_are_named(document: Any, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        resources.of(document, "linux.resources")

    assert str(caught.value).startswith("linux.resources")
    assert words in str(caught.value)


@pytest.mark.parametrize("document", [None, {}, {"memory": None, "cpu": {}}, {"unknown": 1}])
def test_nothing_is_asked_for(document: Any) -> None:
    assert resources.NONE == resources.of(document, "linux.resources")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), ""),
        ((Device(allow=False, type="", major=-1, minor=-1, access=""),), ""),
        ((Device(allow=True, type="a", major=-1, minor=-1, access=""),), "rwm"),
        ((Device(allow=True, type="b", major=8, minor=-1, access="rw"),), "rw"),
        ((Device(allow=True, type="b", major=8, minor=17, access="rw"),), ""),
        ((Device(allow=True, type="c", major=8, minor=16, access="rw"),), ""),
        (
            (
                Device(allow=True, type="", major=-1, minor=-1, access=""),
                Device(allow=False, type="b", major=8, minor=16, access="w"),
            ),
            "rm",
        ),
    ],
)
def test_what_the_rules_let_a_container_do_with_a_device(given: tuple[Device, ...], expected: str) -> None:
    """The last rule that meets it counts, for each letter."""
    letters = devices.access(given, "b", 8, 16)

    assert sorted(expected) == sorted(letters)
