"""Namespaces of a monitor, new and joined by path, beside those that runc gives a container of the same config.json."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.container import CONFIG, UNIKERNEL, Runtime, alive, merged, orphans, read, until, write_bundle
from tests.e2e import cage
from tests.guests import build, spt_build

pytestmark = pytest.mark.e2e

KINDS = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup", "user": "user"}
MAPS = {
    "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 1000}, {"containerID": 5000, "hostID": 7, "size": 1}],
    "gidMappings": [{"containerID": 0, "hostID": 200_000, "size": 1000}],
}
SPT = {"unikernelType": "mirage", "hypervisor": "spt", "accelerator": None}
Make = Callable[..., Path]


@pytest.fixture
def bundle(tmp_path: Path, hello: Path) -> Make:
    """Makes the bundle of a guest that stays, below directories that every user may search."""

    def make(monitor: str = "spt", name: str = "b", **changes: Any) -> Path:
        keys = {f"com.urunc.unikernel.{key}": value for key, value in SPT.items()} if monitor == "spt" else {}
        args = ["sleep"] if monitor == "spt" else ["/app", "echo"]
        file = spt_build.build(build.default_cache())["wait"] if monitor == "spt" else hello
        own = {"annotations": merged(UNIKERNEL, keys), "process": {"args": args}}
        directory = write_bundle(tmp_path / name, {"hello": file}, merged(merged(CONFIG, own), changes))
        for path in (*directory.parents[:3], directory / "rootfs"):
            path.chmod(path.stat().st_mode | 0o055)
        return directory

    return make


def up(urunc: Runtime, bundle: Path, name: str = "c", *words: str) -> int:
    """Start the container; return the pid of its monitor when the guest runs."""
    urunc.good("create", "--bundle", bundle, *words, name)
    output = urunc.output
    urunc.good("start", name)
    until(lambda: any(word in read(output) for word in ("waiting", "hello from a unikernel")), "the guest runs")
    return int(urunc.state(name)["pid"])


def namespace(pid: object, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def of(*kinds: str, **paths: str) -> dict[str, Any]:
    """linux.namespaces: new ones, and ones by path."""
    joined = [{"type": kind, "path": path} for kind, path in paths.items()]
    return {"namespaces": [*({"type": kind} for kind in kinds), *joined]}


@pytest.mark.parametrize("monitor", ["spt", "qemu"])
def test_a_user_namespace_gives_ids_and_nothing_else(urunc: Runtime, bundle: Make, monitor: str) -> None:
    """Its own user in it; root of it owns the other namespaces; no capability even there."""
    user = {"uid": 5000, "gid": 6, "additionalGids": [7]}
    pid = up(urunc, bundle(monitor, process={"user": user}, linux={**of(*KINDS), **MAPS}))
    found = cage.status(pid)

    assert ("7 7 7 7", "200006 200006 200006 200006", "200007") == tuple(found[key] for key in ("Uid", "Gid", "Groups"))
    assert [["0", "100000", "1000"], ["5000", "7", "1"]] == rows(pid, "uid_map")
    assert [["0", "200000", "1000"]] == rows(pid, "gid_map")
    assert {0} == {int(found[kind], 16) for kind in cage.CAPABILITY_SETS}
    assert set() == {kind for kind in KINDS.values() if namespace(pid, kind) == namespace("self", kind)}
    for kind in ("net", "ipc", "uts", "mnt", "pid"):
        assert owner(pid, kind) == os.stat(f"/proc/{pid}/ns/user").st_ino


def rows(pid: int, file: str) -> list[list[str]]:
    return [line.split() for line in read(Path(f"/proc/{pid}/{file}")).splitlines()]


def owner(pid: int, kind: str) -> int:
    """The inode of the user namespace that a namespace belongs to (ioctl_ns(2), NS_GET_USERNS)."""
    import fcntl

    with open(f"/proc/{pid}/ns/{kind}") as file:
        found = fcntl.ioctl(file, 0xB701)
    try:
        return os.fstat(found).st_ino
    finally:
        os.close(found)


NETWORK = """
pid=$(sed 's/.*"pid": *\\([0-9]*\\).*/\\1/')
exec nsenter -t "$pid" -n sh -ec '
ip link add eth0 type veth peer name other
ip addr add 10.9.8.7/24 dev eth0
ip link set eth0 up; ip link set other up'
"""


@pytest.mark.parametrize("monitor", ["spt", "qemu"])
def test_a_tap_is_the_users_in_a_user_namespace(urunc: Runtime, bundle: Make, monitor: str) -> None:
    """By name for the tender, which may open it as nobody but its owner; by descriptor for QEMU."""
    hook = {"path": "/bin/sh", "args": ["sh", "-c", NETWORK], "env": [f"PATH={os.environ['PATH']}"]}
    user = {"uid": 5000, "gid": 6}
    args = ["10.9.8.7", "1"] if monitor == "spt" else ["/app", "echo"]  # an address to answer at, so many times
    changes = {
        "process": {"user": user, "args": args},
        "linux": {**of(*KINDS), **MAPS},
        "hooks": {"createRuntime": [hook]},
    }
    made = bundle(monitor, **changes)
    if monitor == "spt":
        shutil.copy(spt_build.build(build.default_cache())["net"], made / "rootfs/hello")
    urunc.good("create", "--bundle", made, "c")
    urunc.good("start", "c")
    pid = int(urunc.state()["pid"])

    assert alive(pid)
    until(lambda: any("/dev/net/tun" in line for line in cage.descriptors(pid)), "the monitor holds its tap")


def test_files_of_the_image_belong_to_the_users_of_the_namespace(urunc: Runtime, bundle: Make) -> None:
    """By a mount with mapped ids: a kernel and a disk of root's, for root alone, which a guest reads and writes."""
    keys = {"com.urunc.unikernel.block": "/disk.img"}
    made = bundle(annotations=keys, process={"args": ["copy"]}, linux={**of(*KINDS), **MAPS})
    shutil.copy(spt_build.build(build.default_cache())["block"], made / "rootfs/hello")
    (made / "rootfs/disk.img").write_bytes(b"first sector    ".ljust(16384, b"\0"))
    for name in ("hello", "disk.img"):
        (made / "rootfs" / name).chmod(0o600)
    ended = urunc("run", "--bundle", made, "c")

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "\nwritten 512\n" in ended.stdout
    assert 0 == (made / "rootfs/disk.img").stat().st_uid


def test_a_shared_directory_belongs_to_the_users_of_the_namespace(urunc: Runtime, bundle: Make, tmp_path: Path) -> None:
    """As the host sees it in the monitor's root; on the host's side it is whose it was."""
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", 9, 8)
    keys = {"unikernelType": "unikraft", "mountRootfs": "9pfs"}
    annotations = {f"com.urunc.unikernel.{key}": value for key, value in keys.items()}
    mounts = [{"destination": "/data", "type": "bind", "source": str(tmp_path / "data"), "options": ["bind"]}]
    made = bundle("qemu", annotations=annotations, mounts=mounts, linux={**of(*KINDS), **MAPS})
    (made / "rootfs/data").mkdir()
    for path in (made / "rootfs", made / "rootfs/data"):
        path.chmod(0o755)
    root = Path(f"/proc/{up(urunc, made)}/root")
    (shared,) = [path for path in root.glob("guest/*/root") if path.is_dir()]
    owners = [(path.stat().st_uid, path.stat().st_gid) for path in (shared, shared / "hello", shared / "data")]

    assert [(100_000, 200_000), (100_000, 200_000), (100_009, 200_008)] == owners
    assert (9, 8) == ((tmp_path / "data").stat().st_uid, (tmp_path / "data").stat().st_gid)


def test_the_same_namespaces_as_runc_gives(urunc: Runtime, bundle: Make, tmp_path: Path) -> None:
    """Of one config.json: which are new, the maps, the ids."""
    linux = {**of(*KINDS), **MAPS}
    user = {"uid": 12, "gid": 6, "additionalGids": [7]}
    ours = seen(up(urunc, bundle(process={"user": user}, linux=linux)))
    mounts = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    process = {"args": ["/bin/busybox", "sleep", "1000"], "user": user, "terminal": False}
    place = f"/urunc-test-{os.urandom(6).hex()}"
    config = merged(CONFIG, {"process": process, "mounts": mounts, "linux": {**linux, "cgroupsPath": place}})
    other = write_bundle(tmp_path / "other", {"bin/busybox": Path("/bin/busybox")}, config)
    (other / "rootfs/proc").mkdir()
    for path in (other, other / "rootfs", other / "rootfs/bin"):
        os.chown(path, 100_000, 200_000)
    runc = Runtime(Path(str(shutil.which("runc"))), tmp_path / "runc")
    runc.directory.mkdir()
    try:
        theirs = seen(runc.running(other))
    finally:
        runc("delete", "--force", "c")

    assert theirs == ours


def seen(pid: int) -> dict[str, object]:
    found = cage.status(pid)
    new = {kind for kind in KINDS.values() if namespace(pid, kind) != namespace("self", kind)}
    ids = tuple(found[key] for key in ("Uid", "Gid", "Groups"))
    return {"new": new, "ids": ids, "maps": (rows(pid, "uid_map"), rows(pid, "gid_map"))}


def test_a_time_namespace_has_its_offsets(urunc: Runtime, bundle: Make) -> None:
    """The monitor itself is in it, not only its children."""
    offsets = {"boottime": {"secs": 86_400, "nanosecs": 5}, "monotonic": {"secs": 4000}}
    pid = up(urunc, bundle(linux={**of("pid", "mount", "uts", "time"), "timeOffsets": offsets}))

    assert namespace(pid, "time") == namespace(pid, "time_for_children") != namespace("self", "time")
    assert [["monotonic", "4000", "0"], ["boottime", "86400", "5"]] == rows(pid, "timens_offsets")


@contextlib.contextmanager
def holder(*options: str) -> Iterator[int]:
    """A process in namespaces of its own (unshare(1)); its pid."""
    words = ("unshare", *options, "--kill-child", "--fork", "sh", "-c", "echo ready; exec sleep 1000")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    children: list[int] = []
    try:
        assert "ready\n" == process.stdout.readline()
        children += map(int, read(Path(f"/proc/{process.pid}/task/{process.pid}/children")).split())
        yield children[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        until(lambda: [pid for pid in children if pid in orphans() or alive(pid)] == [], "the holder ends with unshare")


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "cgroup", "time"])
def test_a_namespace_is_joined_by_its_path(urunc: Runtime, bundle: Make, kind: str) -> None:
    option = {"network": "--net", "time": "--time"}.get(kind, f"--{kind}")
    before = {name: namespace("self", name) for name in (*KINDS.values(), "time")}
    with holder(option) as pid:
        name = KINDS.get(kind, kind)
        new = [other for other in ("pid", "mount", "uts") if other != kind]
        changes = {"hostname": None} if kind == "uts" else {}
        monitor = up(urunc, bundle(linux=of(*new, **{kind: f"/proc/{pid}/ns/{name}"}), **changes))
        found = namespace(monitor, name)

        assert namespace(pid, name) == found != before[name]
        urunc.good("delete", "--force", "c")
        assert alive(pid)
    assert before == {name: namespace("self", name) for name in before}


def test_a_mount_namespace_that_is_joined_is_not_changed(urunc: Runtime, bundle: Make) -> None:
    """The monitor has a copy of it, with a root of its own: nobody in the joined one sees anything of that."""
    with holder("--mount") as pid:
        before = read(Path(f"/proc/{pid}/mountinfo"))
        monitor = up(urunc, bundle(linux=of("pid", "uts", mount=f"/proc/{pid}/ns/mnt")))

        assert namespace(monitor, "mnt") not in (namespace(pid, "mnt"), namespace("self", "mnt"))
        assert before == read(Path(f"/proc/{pid}/mountinfo"))
        assert ["/", "/guest/kernel"] == [line.split()[0] for line in cage.mounts(monitor)]


def test_a_user_namespace_is_joined_with_its_own_maps(urunc: Runtime, bundle: Make) -> None:
    """As the containers of a pod do; what is not in the map is refused, by create."""
    with holder("--user") as pid:
        path = f"/proc/{pid}/ns/user"
        for file, first in (("uid_map", 300_000), ("gid_map", 400_000)):
            Path(f"/proc/{pid}/{file}").write_text(f"0 {first} 10\n")
        linux = of("pid", "mount", "uts", "network", user=path)
        monitor = up(urunc, bundle("qemu", process={"user": {"uid": 3, "gid": 4}}, linux=linux))
        refused = urunc("create", "--bundle", bundle(name="d", process={"user": {"uid": 11}}, linux=linux), "d")

        assert ("300003 300003 300003 300003", "400004 400004 400004 400004") == tuple(
            cage.status(monitor)[key] for key in ("Uid", "Gid")
        )
        assert namespace(pid, "user") == namespace(monitor, "user")
        assert 1 == refused.returncode
        assert f"the user namespace {path} must map uid 11" in refused.stderr


REFUSED = [
    ({**of("user"), "gidMappings": MAPS["gidMappings"]}, "linux.uidMappings must map uids"),
    ({**of("user"), **MAPS, "uidMappings": [{"containerID": 1, "hostID": 5, "size": 9}]}, "uidMappings must map uid 0"),
    ({**of("user"), **MAPS, "uidMappings": [{"containerID": 0, "hostID": 2**32 - 2, "size": 9}]}, "linux.uidMappings"),
    ({**of("pid"), "timeOffsets": {"boottime": {"secs": 1}}}, "timeOffsets need a new time namespace"),
    ({**of("pid", "time"), "timeOffsets": {"boottime": {"secs": -(2**62)}}}, "write linux.timeOffsets"),
    (of("pid", user="/proc/self/ns/net"), "/proc/self/ns/net"),
    (of("pid", time="/proc/self/ns/net"), "a namespace of another type"),
]


@pytest.mark.parametrize(("linux", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_namespaces_that_cannot_be_made_are_errors(
    urunc: Runtime, bundle: Make, linux: dict[str, Any], words: str
) -> None:
    """At create, in one line, with nothing left."""
    ended = urunc("create", "--bundle", bundle(linux=linux, hostname=None), "c")

    assert 1 == ended.returncode
    assert words in ended.stderr
    assert 1 == ended.stderr.count("\n")
    assert "gone" == urunc.status()
