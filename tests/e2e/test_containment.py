"""The cage around a monitor, as the kernel accounts for it, against what it is to be.

`URUNC_UPDATE_CAGES=1 pytest tests/e2e/test_containment.py` writes the lists of tests/e2e/cages anew; the difference is
there to be read: a line more is something more that a guest who owns its monitor can reach.
"""

import ctypes
import json
import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.container import CONFIG, NAMESPACES, UNIKERNEL, Runtime, comm, merged, read, until, write_bundle
from tests.e2e import cage
from tests.e2e.cgroup_views import View
from tests.guests import build, hvt_build, spt_build

from urunc import kvm, monitors

pytestmark = pytest.mark.e2e

CAGES = Path(__file__).resolve().parent / "cages"
UPDATE = bool(os.environ.get("URUNC_UPDATE_CAGES"))
ALL_NEW = {"namespaces": [*NAMESPACES, {"type": "cgroup"}]}
# a guest that says a word and stays, for each monitor: annotations, arguments, the word
GUESTS: dict[str, tuple[dict[str, str], tuple[str, ...], str]] = {
    "qemu": ({}, ("/app", "echo"), "hello from a unikernel"),
    "firecracker": ({"accelerator": "kvm"}, ("/app", "echo"), "hello from a unikernel"),
    "spt": ({"unikernelType": "mirage", "accelerator": ""}, ("sleep",), "waiting"),
    "hvt": ({"unikernelType": "mirage", "accelerator": "kvm"}, ("stay",), "hello: stay"),
    "cloud-hypervisor": ({"accelerator": "kvm"}, ("/app", "exit=halt"), "exit=halt"),
}
OUTSIDE = ("firecracker", "hvt", "cloud-hypervisor")  # Debian has none of them
Make = Callable[..., Path]


@pytest.fixture
def guest(tmp_path: Path, hello: Path) -> Make:
    """Makes the bundle of a guest that stays, for a monitor by its name; the rest changes config.json."""

    def make(monitor: str, **changes: Any) -> Path:
        keys, args, _ = GUESTS[monitor]
        file = hello
        if monitor == "spt":
            file = spt_build.build(build.default_cache())["wait"]
        elif monitor == "hvt":
            file = hvt_build.guests_of(build.default_cache(), monitors.load(monitor).binaries[0])["hello"]
        known = {"hypervisor": monitor, **keys}
        own = {f"com.urunc.unikernel.{key}": value for key, value in known.items()}
        annotations = {key: value for key, value in {**UNIKERNEL, **own}.items() if value}
        config = merged(CONFIG, {"annotations": annotations, "process": {"args": list(args)}, "linux": ALL_NEW})
        return write_bundle(tmp_path / f"bundle-{monitor}", {"hello": file}, merged(config, changes))

    return make


def up(urunc: Runtime, bundle: Path, monitor: str) -> int:
    """Start the container; return the pid of its monitor when the guest runs."""
    if monitor in OUTSIDE:  # the runtime of the tests has a PATH of its own
        binary = shutil.which(monitors.load(monitor).binaries[0])
        urunc.config.write_text(f'[monitors.{monitor}]\npath = "{binary}"\n')
    urunc.good("create", "--bundle", bundle, "c")
    output = urunc.output
    urunc.good("start", "c")
    until(lambda: GUESTS[monitor][2] in read(output), f"the guest of {monitor} says {GUESTS[monitor][2]!r}")
    pid = int(urunc.state()["pid"])
    below = read(Path(f"/proc/{pid}/task/{pid}/children")).split()
    return int(below[0]) if comm(pid) == "urunc:[3:watch]" else pid  # where the container's process is a companion


def available(monitor: str) -> str:
    """Return why the monitor cannot run a guest here, "" if it can: found and, if it needs it, with KVM that works."""
    entry = monitors.load(monitor)
    if not entry.built_in and not any(map(shutil.which, entry.binaries)):
        return f"{entry.binaries[0]} is not on PATH: the cage of {monitor} is not tested"
    if not UPDATE and not (CAGES / f"{monitor}.txt").exists():
        return f"nobody has written down the cage of {monitor} (URUNC_UPDATE_CAGES=1 does): it is not compared"
    if entry.kvm == "needed" and kvm.level() == "none":
        return f"/dev/kvm does not work here: the cage of {monitor} is not tested"
    return ""


@pytest.fixture(params=GUESTS)
def monitor(request: pytest.FixtureRequest) -> str:
    """Every monitor that is here."""
    name = str(request.param)
    if reason := available(name):
        pytest.skip(reason)
    return name


def test_a_cage_holds_what_its_golden_list_says(view: View, guest: Make, monitor: str) -> None:
    """Credentials, environment, namespaces, descriptors, mounts, files and device nodes: nothing else is there.

    Whatever control groups the machine has.
    """
    pid = up(view, guest(monitor), monitor)
    found = shutil.which((monitors.load(monitor).binaries or ("",))[0]) or "/usr/bin"
    place = (
        "" if found.startswith("/usr/") else found.split("/")[1]
    )  # where somebody has put it is not the cage's doing
    text = cage.listing(pid).replace(f"file /{place} l 0777 0:0 -> .monitor/{place}\n", "")
    alone = [sorted(read(view.place(names) / "cgroup.procs").split(), key=int) for names in view.hierarchies()]
    golden = CAGES / f"{monitor}.txt"
    if UPDATE:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)

    assert golden.read_text() == text
    assert [sorted({str(pid), str(view.state()["pid"])}, key=int)] * len(alone) == alone


def test_a_server_of_files_sees_its_own_processes_alone(urunc: Runtime, guest: Make) -> None:
    """Of /proc, and has the capabilities that owners of files take, if the spec has them, and no other."""
    keys = {"unikernelType": "unikraft", "mountRootfs": "9pfs"}
    names = [f"CAP_{name}" for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SYS_ADMIN")]
    process = {"capabilities": dict.fromkeys(("bounding", "effective", "permitted", "ambient"), names)}
    annotations = {f"com.urunc.unikernel.{key}": value for key, value in keys.items()}
    pid = up(urunc, guest("qemu", annotations=annotations, process=process), "qemu")
    (line,) = [line for line in read(Path(f"/proc/{pid}/mountinfo")).splitlines() if " - proc " in line]
    point, flags = line.split()[4:6]
    seen = {path.name for path in Path(f"/proc/{pid}/root{point}").iterdir()}

    assert {"ro", "nosuid", "nodev", "noexec"} <= set(flags.split(","))
    assert {"hidepid=invisible", "subset=pid"} <= set(line.split()[-1].split(","))
    assert {"1", "self", "thread-self"} == seen
    assert {0b11011} == {int(cage.status(pid)[kind], 16) for kind in cage.CAPABILITY_SETS}


def test_the_prepared_tree_holds_the_monitor_and_what_it_loads(urunc: Runtime, guest: Make) -> None:
    """Told by ldd(1), an independent witness; no device, nothing set-user-id, nothing that others may write."""
    pid = up(urunc, guest("qemu"), "qemu")
    tree = Path(f"/proc/{pid}/root/{cage.TREE}")
    entry = monitors.load("qemu")
    binary = Path(str(shutil.which(entry.binaries[0]))).resolve()
    given = [binary, *(path for pattern in entry.modules for path in Path("/").glob(pattern[1:]))]
    data = {path.resolve() for pattern in entry.data for path in Path("/").glob(pattern[1:])}
    expected = {*given, *data, *(library for path in given for library in linked(path))}
    found = {path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()}
    odd = {path for path in tree.rglob("*") if stat.S_IFMT(path.lstat().st_mode) not in KINDS}

    assert {str(path) for path in expected} == {f"/{path.relative_to(tree)}" for path in found} - MADE
    assert set() == odd
    assert set() == {path for path in found if path.stat().st_mode & 0o6022}


KINDS = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
MADE = {"/.manifest", "/etc/ld.so.cache"}  # ours, and what the dynamic linker may look libraries up in


def linked(path: Path) -> set[Path]:
    """The libraries and the interpreter that a program or a module loads."""
    ended = subprocess.run(("ldd", path), capture_output=True, text=True, check=True)
    words = [word for line in ended.stdout.splitlines() for word in line.split() if word.startswith("/")]
    return {Path(word).resolve() for word in words}


ASKED = {
    "user": {"uid": 1234, "gid": 2345, "additionalGids": [7, 8], "umask": 0o27},
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 300}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
    "oomScoreAdj": 321,
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
    "scheduler": {"policy": "SCHED_BATCH", "nice": 9},
    "capabilities": {
        kind: ["CAP_SYS_ADMIN", "CAP_CHOWN"] for kind in ("bounding", "effective", "permitted", "ambient")
    },
}
IO_CLASS_BE = 2  # ioprio_get(2)
SYS_IOPRIO_GET = {"x86_64": 252, "aarch64": 31}[os.uname().machine]


def test_a_monitor_has_the_credentials_of_the_spec(urunc: Runtime, guest: Make, monitor: str) -> None:
    """Every one, and none of the capabilities that it does not need."""
    pid = up(urunc, guest(monitor, process=ASKED, linux={"personality": {"domain": "LINUX32"}}), monitor)
    found = cage.status(pid)
    limits = read(Path(f"/proc/{pid}/limits"))

    umask = "0077" if monitor == "cloud-hypervisor" else "0027"  # it sets one of its own

    assert ("1234 1234 1234 1234", "2345 2345 2345 2345", "7 8", umask) == tuple(
        found[key] for key in ("Uid", "Gid", "Groups", "Umask")
    )
    assert {0} == {int(found[kind], 16) for kind in cage.CAPABILITY_SETS}
    assert ["Max", "open", "files", "200", "300", "files"] in [line.split() for line in limits.splitlines()]
    assert ["Max", "core", "file", "size", "0", "0", "bytes"] in [line.split() for line in limits.splitlines()]
    assert "321\n" == read(Path(f"/proc/{pid}/oom_score_adj"))
    assert "00000008\n" == read(Path(f"/proc/{pid}/personality"))
    assert (os.SCHED_BATCH, 9) == (os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid))
    assert IO_CLASS_BE << 13 | 6 == ctypes.CDLL(None).syscall(SYS_IOPRIO_GET, 1, pid)


@pytest.mark.parametrize("hard", [None, 0], ids=["usual", "none"])
def test_a_monitor_leaves_no_core(urunc: Runtime, guest: Make, hard: int | None) -> None:
    """It would be the guest's memory.  For a program that core_pattern names 1 is the limit that counts (core(5))."""
    if hard is None:
        pid = up(urunc, guest("spt"), "spt")
    else:  # as with LimitCORE=0, in a user namespace, where it cannot be raised
        users = [{"containerID": 0, "hostID": 0, "size": 65536}]
        spaces = [*CONFIG["linux"]["namespaces"], {"type": "user"}]
        changes = {"namespaces": spaces, "uidMappings": users, "gidMappings": users}
        made = guest("spt", linux=changes)
        urunc.good("create", "--bundle", made, "c", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
        urunc.good("start", "c")
        pid = int(urunc.state()["pid"])
    until(lambda: comm(pid) not in ("urunc:[1:init]", "urunc:[2:enter]"), "the monitor runs")
    limits = [line.split() for line in read(Path(f"/proc/{pid}/limits")).splitlines()]
    limit = "0" if 0 in (hard, resource.getrlimit(resource.RLIMIT_CORE)[1]) else "1"

    assert ["Max", "core", "file", "size", limit, limit, "bytes"] in limits


def test_a_monitor_without_a_network_is_not_in_the_hosts(urunc: Runtime, guest: Make, monitor: str) -> None:
    """Where the spec has none: its sockets, if it may make any, would reach the host's abstract ones."""
    rest = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    keys = {"com.urunc.unikernel.network": "none"}
    pid = up(urunc, guest(monitor, annotations=keys, linux={"namespaces": rest}), monitor)

    assert os.readlink(f"/proc/{pid}/ns/net") != ours("net")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"process": {"apparmorProfile": "docker-default"}}, "/proc/thread-self/attr/apparmor/current"),
        ({"process": {"selinuxLabel": "system_u:system_r:container_t:s0"}}, "/proc/thread-self/attr/current"),
        (
            {"linux": {"mountLabel": "system_u:object_r:container_file_t:s0"}},
            "label a tmpfs as linux.mountLabel asks for",
        ),
    ],
    ids=["apparmor", "selinux", "mount label"],
)
def test_a_label_without_its_security_module_is_an_error(
    urunc: Runtime, guest: Make, changes: dict[str, Any], words: str
) -> None:
    """At create: a container that is to be confined does not run without."""
    if readable(words if words[0] == "/" else "/sys/fs/selinux/enforce"):
        pytest.skip("this kernel has the module: the error for its absence is not tested")
    ended = urunc("create", "--bundle", guest("spt", **changes), "c")

    assert 1 == ended.returncode
    assert words in ended.stderr
    assert 1 == ended.stderr.count("\n")
    assert "gone" == urunc.status()


def readable(path: str) -> bool:
    """Whether a security module answers there: the files of attr are there without one."""
    try:
        Path(path).read_bytes()
    except OSError:
        return False
    return True


def add_key(name: bytes) -> None:
    """A key in a session keyring of this process's own, for its possessors only (keyrings(7))."""
    keys = ctypes.CDLL(None, use_errno=True).syscall
    assert keys(SYS_KEYCTL, 1, None) > 0  # KEYCTL_JOIN_SESSION_KEYRING
    key = keys(SYS_ADD_KEY, b"user", name, b"x", 1, -3)  # KEY_SPEC_SESSION_KEYRING
    assert key > 0
    assert 0 == keys(SYS_KEYCTL, 5, key, 0x3F000000)  # KEYCTL_SETPERM: the possessor


SYS_ADD_KEY, SYS_KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]


@pytest.mark.parametrize(("option", "seen"), [((), False), (("--no-new-keyring",), True)], ids=["own", "callers"])
def test_a_container_has_a_session_keyring_of_its_own(
    urunc: Runtime, guest: Make, tmp_path: Path, option: tuple[str, ...], seen: bool
) -> None:
    """Seen by a hook inside: the caller's keys are not there, unless it says so."""
    name = f"urunc-test-{os.getpid()}"
    script = f"cat /proc/keys > {tmp_path}/keys"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}
    bundle = guest("spt", hooks={"createContainer": [hook]})
    urunc.good("create", "--bundle", bundle, *option, "c", preexec_fn=lambda: add_key(name.encode()))

    assert seen == (name in read(tmp_path / "keys"))


def as_runc_has_it(urunc: Runtime, tmp_path: Path) -> dict[str, Any]:
    """The cage of a container of `runc spec`, with one static program in it."""
    directory = tmp_path / "theirs"
    (directory / "rootfs/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", directory / "rootfs/bin/busybox")
    subprocess.run(("runc", "spec"), cwd=directory, check=True)
    config = json.loads((directory / "config.json").read_text())
    process = {"args": ["/bin/busybox", "sleep", "1000"], "terminal": False}
    place = {"cgroupsPath": f"/urunc-test-{os.urandom(6).hex()}"}
    (directory / "config.json").write_text(json.dumps(merged(config, {"process": process, "linux": place})))
    runc = Runtime(Path(str(shutil.which("runc"))), tmp_path / "runc")
    runc.directory.mkdir()
    try:
        return measured(runc.running(directory))
    finally:
        runc("delete", "--force", "c")


def measured(pid: int) -> dict[str, Any]:
    """What of a cage can be counted or compared."""
    status = cage.status(pid)
    return {
        "capabilities": {kind: int(status[kind], 16) for kind in cage.CAPABILITY_SETS},
        "no_new_privs": int(status["NoNewPrivs"]),
        "filters": int(status["Seccomp_filters"]),
        "nodes": nodes(pid),
        "mounts": cage.mounts(pid),
        "writable": [line for line in cage.mounts(pid) if line.split()[1].split(",")[0] == "rw"],
        "environment": Path(f"/proc/{pid}/environ").read_bytes(),
        "proc": Path(f"/proc/{pid}/root/proc/self").is_symlink(),
        "shared": {kind for kind in cage.NAMESPACES if os.readlink(f"/proc/{pid}/ns/{kind}") == ours(kind)},
    }


def nodes(pid: int) -> set[str]:
    """The device nodes in /dev, but for the container's own terminals."""
    found = [path.lstat() for path in Path(f"/proc/{pid}/root/dev").rglob("*") if "pts" not in path.parts]
    devices = [entry.st_rdev for entry in found if stat.S_IFMT(entry.st_mode) in (stat.S_IFCHR, stat.S_IFBLK)]
    return {f"{os.major(device)}:{os.minor(device)}" for device in devices}


def ours(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


NODES = {"spt": {"1:3"}, "qemu": {"1:3", "1:9"}}  # null, urandom


@pytest.mark.parametrize("name", ["qemu", "spt"])
def test_a_cage_is_narrower_than_runcs(urunc: Runtime, guest: Make, tmp_path: Path, name: str) -> None:
    """Of `runc spec`, in the same run: everything that can be compared (SECURITY.md has the table)."""
    mine = measured(up(urunc, guest(name), name))
    theirs = as_runc_has_it(urunc, tmp_path)
    print(name, {key: (mine[key], theirs[key]) for key in mine})

    assert {0} == set(mine["capabilities"].values())
    assert {0} != set(theirs["capabilities"].values())
    assert NODES[name] == mine["nodes"] <= theirs["nodes"]
    assert (1, 1) == (mine["no_new_privs"], theirs["no_new_privs"])
    assert mine["filters"] > theirs["filters"]
    assert ([], b"", False) == (mine["writable"], mine["environment"], mine["proc"])
    assert (True, True) == (len(theirs["writable"]) > 0, theirs["proc"])
    assert len(mine["mounts"]) < len(theirs["mounts"])
    assert mine["shared"] <= theirs["shared"] | {"user", "time"}
