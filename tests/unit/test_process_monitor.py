"""The process monitor's plan: options of mounts become flags, and what could change the host is refused."""

from typing import Any

import pytest
from tests.unit.test_plan import SPEC

from urunc._record import replace
from urunc.errors import SpecError
from urunc.monitors import process
from urunc.monitors.process import Device, Rootfs
from urunc.slots import MOUNT_SLOT
from urunc.spec import Mount, Namespace, Spec

BIND, REC = 4096, 16384


def make_spec(**changes: Any) -> Spec:
    return replace(SPEC, **changes)


def mounts(*given: tuple[str, str, str, tuple[str, ...]], **tree: Any) -> list[tuple[object, ...]]:
    spec = make_spec(mounts=tuple(Mount(destination=d, type=t, source=s, options=o) for d, t, s, o in given))
    return [row for row in process.rootfs(spec, Rootfs(**tree)) if row[0] == "mount"]


@pytest.mark.parametrize(
    ("options", "numbers", "data"),
    [
        ((), (0, 0, 0, 0, 0), ""),
        (("nosuid", "noexec", "nodev", "ro"), (15, 0, 0, 0, 0), ""),
        (("ro", "rw", "size=64k", "mode=755"), (0, 0, 0, 0, 0), "size=64k,mode=755"),
        (("relatime", "rslave", "private"), (1 << 21, 0, 0, 0, 0, 1 << 19 | REC, 1 << 18), ""),
        (("tmpcopyup", "x-systemd.automount"), (1 << 32, 0, 0, 0, 0), ""),
    ],
)
def test_options_of_a_new_mount(options: tuple[str, ...], numbers: tuple[int, ...], data: str) -> None:
    assert [("mount", "tmpfs", "/t", "tmpfs", numbers, data)] == mounts(("/t", "tmpfs", "tmpfs", options))


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("bind",), (BIND, 0, 0, 0, 0)),
        (("rbind", "ro", "nosuid"), (BIND | REC, 3, 0, 0, 0)),
        (("rbind", "rro", "noexec", "exec"), (BIND | REC, 0, 8, 1, 0)),
        (("bind", "noatime", "rprivate"), (BIND, 0x10, 0x70, 0, 0, 1 << 18 | REC)),
        (("bind", "ro", "rw"), (BIND, 0, 1, 0, 0)),
    ],
)
def test_options_of_a_bind(options: tuple[str, ...], numbers: tuple[int, ...]) -> None:
    assert [("mount", "/s", "/t", "bind", numbers, "")] == mounts(("/t", "none", "/s", options))


def test_a_relative_source_is_in_the_bundle() -> None:
    spec = make_spec()

    assert f"{spec.bundle}/data" == mounts(("/t", "bind", "data", ("bind",)))[0][1]


def test_cgroups_are_the_containers_own() -> None:
    """One directory for each hierarchy of version 1, with a link for each controller of a common one."""
    tree = {"groups": (("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/c"), ("memory", "/sys/fs/cgroup/memory/c"))}
    made = mounts(("/sys/fs/cgroup", "cgroup", "cgroup", ("ro",)), **tree)

    assert ["/sys/fs/cgroup", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"] == [row[2] for row in made]
    assert [(BIND, 1, 0, 0, 0)] * 2 == [row[4] for row in made[1:]]
    unified = mounts(("/sys/fs/cgroup", "cgroup", "cgroup", ()), groups=(("cgroup2", "/sys/fs/cgroup/c"),))
    assert [("mount", "/sys/fs/cgroup/c", "/sys/fs/cgroup", "bind", (BIND, 0, 0, 0, 0), "")] == unified


def test_a_device_of_the_spec_takes_the_place_of_a_usual_one() -> None:
    device = Device(type="c", path="/dev/null", major=9, minor=9, mode=0o600, uid=1, gid=2)
    rows = process.rootfs(make_spec(), Rootfs(devices=(device,)))

    assert [("rootfs_node", "/dev/null", 0o020600, 9, 9, 1, 2)] == [row for row in rows if "/dev/null" in row]


@pytest.mark.parametrize(
    ("namespaces", "last"),
    [
        ((Namespace(type="mount", path=""),), ("pivot_root",)),
        ((Namespace(type="mount", path="/proc/7/ns/mnt"),), ("leave_mounts", MOUNT_SLOT)),
        ((), ("leave_mounts", MOUNT_SLOT)),
    ],
)
def test_the_root_of_a_mount_namespace_of_others_stays(namespaces: tuple[Namespace, ...], last: Any) -> None:
    rows = process.closing(make_spec(namespaces=namespaces), Rootfs())

    assert [last] == [row for row in rows if row[0] in {"pivot_root", "leave_mounts"}]


@pytest.mark.parametrize("types", [(), ("mount",)])
def test_a_user_namespace_takes_mounts_of_its_own(types: tuple[str, ...]) -> None:
    """From inside one nobody can go to the host's."""
    namespaces = [Namespace(type=kind, path="/proc/7/ns/mnt") for kind in types]
    spec = make_spec(namespaces=(*namespaces, Namespace(type="user", path="")))

    with pytest.raises(SpecError, match="a user namespace takes a mount namespace of the container's own"):
        process.check_mounts(spec, Rootfs())


def test_a_dev_of_the_hosts_is_left_alone() -> None:
    spec = make_spec(
        mounts=(Mount(destination="/dev/", type="bind", source="/dev", options=("rbind",)),), terminal=True
    )
    rows = process.rootfs(spec, Rootfs(), 1)

    assert [] == [row for row in rows if row[0] in ("rootfs_node", "rootfs_link", "rootfs_console")]


def test_a_read_only_dev_is_so_once_its_nodes_are_there() -> None:
    spec = make_spec(mounts=(Mount(destination="/dev", type="tmpfs", source="tmpfs", options=("ro",)),))
    rows = process.rootfs(spec, Rootfs())

    assert ("mount", "tmpfs", "/dev", "tmpfs", (0, 0, 0, 0, 0), "") in rows
    assert rows.index(("read_only_path", "/dev")) > max(i for i, row in enumerate(rows) if row[0] == "rootfs_node")


@pytest.mark.parametrize(
    "name", ["kernel.hostname", "vm.swappiness", "net", "netx.a", "fs.mqueue", "kernel.sem/../panic", "../net.x", ""]
)
def test_a_sysctl_that_is_not_of_a_namespace_is_refused(name: str) -> None:
    kinds = ("network", "ipc", "uts", "mount", "pid")
    spec = make_spec(sysctl=((name, "1"),), namespaces=tuple(Namespace(type=kind) for kind in kinds))

    with pytest.raises(SpecError, match="not in a separate kernel namespace"):
        process.check(spec)


def test_a_sysctl_of_a_joined_namespace_is_refused_where_it_is_the_hosts() -> None:
    """What a joined namespace is, only its owner knows: containers of a pod share one that is not the host's."""
    good = make_spec(
        sysctl=(("net.core.somaxconn", "9"),), namespaces=(Namespace(type="network", path="/run/netns/x"),)
    )
    process.check(good)
    bad = make_spec(sysctl=(("net.core.somaxconn", "9"),), namespaces=())

    with pytest.raises(SpecError, match="add network to"):
        process.check(bad)
