"""The process monitor: off unless the host says so, loud, and otherwise what an ordinary runtime does with a spec."""

import json
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cgroups import cgroup_of
from tests.container import BOUND_S, CONFIG, Runtime, alive, exit_status, merged, read, write_bundle

MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["newinstance", "ptmxmode=0666", "mode=0620"],
    },
]
APPLETS = ("sh", "cat", "ls", "id", "stat", "sleep", "readlink", "touch", "mount")
ON = 'process_monitor = true\nfallback = "process"\n'


@pytest.fixture
def process(urunc: Runtime) -> Runtime:
    """The program on a host that has the process monitor for every ordinary container."""
    urunc.config.write_text(ON)
    urunc.expected_warning = "the process monitor is in use"
    return urunc


def make(runtime: Runtime, script: str, name: str = "b", **changes: Any) -> Path:
    """Make a bundle whose process is a shell that runs `script`."""
    config = merged(merged(CONFIG, {"process": {"args": ["sh", "-c", script], "env": ["PATH=/bin"]}}), changes)
    config.setdefault("mounts", MOUNTS)
    path = write_bundle(runtime.directory / name, {"bin/busybox": Path("/bin/busybox")}, config)
    for applet in APPLETS:
        (path / "rootfs" / "bin" / applet).symlink_to("busybox")
    return path


def output(runtime: Runtime, script: str, *words: object, name: str = "b", **changes: Any) -> list[str]:
    """Run a container to its good end; return what its process has said, line by line."""
    ended = runtime("run", "--bundle", make(runtime, script, name, **changes), *words, name)

    assert (0, "") == (ended.returncode, runtime.unwarned(ended.stderr))
    return ended.stdout.splitlines()


def test_it_is_off_unless_the_host_switches_it_on(urunc: Runtime) -> None:
    path = make(urunc, "exit 0", annotations={"com.urunc.unikernel.hypervisor": "process"})
    ended = urunc("create", "--bundle", path, "c")

    assert (1, []) == (ended.returncode, urunc.remains())
    assert "switched off" in ended.stderr
    assert "process_monitor = true" in ended.stderr


def test_as_a_fallback_it_needs_the_switch_too(urunc: Runtime) -> None:
    urunc.config.write_text('fallback = "process"\n')
    ended = urunc("create", "--bundle", make(urunc, "exit 0"), "c")

    assert (1, []) == (ended.returncode, urunc.remains())
    assert "needs process_monitor = true" in ended.stderr


def test_the_switch_alone_does_not_take_ordinary_containers(urunc: Runtime) -> None:
    """They are the fallback runtime's, which says so by its own kind of error."""
    urunc.config.write_text("process_monitor = true\n")
    ended = urunc("create", "--bundle", make(urunc, "exit 0", process={"args": ["nope"]}), "c")

    assert 1 == ended.returncode
    assert "runc create failed" in ended.stderr


def test_every_use_is_warned_of_and_features_says_so(urunc: Runtime) -> None:
    urunc.config.write_text("process_monitor = true\n")
    path = make(urunc, "exit 3", annotations={"com.urunc.unikernel.hypervisor": "process"})
    ended = urunc("run", "--bundle", path, "c")

    assert 3 == ended.returncode
    assert 1 == ended.stderr.count("level=warning")
    assert "no virtual machine" in ended.stderr
    assert '"org.urunc.process-monitor": "true"' in urunc.good("features")
    urunc.config.write_text("")
    assert "process-monitor" not in urunc.good("features")


def test_a_unikernel_stays_one(process: Runtime, bundle: Any) -> None:
    process.create(bundle("u"), "u")


def test_its_root_is_the_containers_with_the_usual_devices(process: Runtime) -> None:
    script = "ls /; ls /dev; readlink /dev/fd; stat -c %t:%T:%a /dev/null; echo x >/dev/null; echo good"
    lines = output(process, script, root={"readonly": False})

    assert ["bin", "dev", "proc"] == lines[:3]
    names = "core fd full null ptmx pts random stderr stdin stdout tty urandom zero"
    assert [*names.split(), "/proc/self/fd", "1:3:666", "good"] == lines[3:]


def test_devices_of_the_spec_are_made(process: Runtime) -> None:
    device = {"path": "/dev/sub/seven", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 5, "gid": 6}

    assert ["1:7:640:5:6"] == output(process, "stat -c %t:%T:%a:%u:%g /dev/sub/seven", linux={"devices": [device]})


def test_a_path_of_a_device_may_end_in_a_slash(process: Runtime) -> None:
    device = {"path": "/dev/seven/", "type": "c", "major": 1, "minor": 7}

    assert ["1:7"] == output(process, "stat -c %t:%T /dev/seven", linux={"devices": [device]})


def test_a_missing_working_directory_is_made_in_a_read_only_root_too(process: Runtime) -> None:
    assert ["/new/one"] == output(process, "pwd", process={"cwd": "/new/one"}, root={"readonly": True})


def test_masked_and_read_only_paths(process: Runtime) -> None:
    script = (
        "cat /proc/keys; ls /proc/bus; touch /d/f 2>/dev/null || echo read-only; cat /d/sub/g;"
        " touch /x 2>/dev/null || echo root read-only"
    )
    path = make(
        process,
        script,
        root={"readonly": True},
        linux={"maskedPaths": ["/proc/keys", "/proc/bus", "/nope"], "readonlyPaths": ["/d", "/nope"]},
    )
    (path / "rootfs" / "d" / "sub").mkdir(parents=True)
    (path / "rootfs" / "d" / "sub" / "g").write_text("kept\n")
    ended = process("run", "--bundle", path, "c")

    assert ["read-only", "kept", "root read-only"] == ended.stdout.splitlines()


def test_binds_with_their_options(process: Runtime) -> None:
    """Directories and single files, relative to the bundle too, read-only or not, made where there is no place yet."""
    source = process.directory / "source"
    (source / "below").mkdir(parents=True)
    (source / "file").write_text("content\n")
    mounts = [
        *MOUNTS,
        {"destination": "/in/deep", "type": "bind", "source": str(source), "options": ["rbind", "ro", "noexec"]},
        {"destination": "/one", "type": "none", "source": "../source/file", "options": ["bind"]},
    ]
    script = "cat /in/deep/file /one; touch /in/deep/x || echo no; echo more >>/one; mount"
    path = make(process, script, mounts=mounts)
    ended = process("run", "--bundle", path, "c")

    assert ["content", "content", "no"] == ended.stdout.splitlines()[:3]
    assert "content\nmore\n" == (source / "file").read_text()
    options = next(line for line in ended.stdout.splitlines() if " on /in/deep " in line)
    assert {"ro", "noexec"} <= set(options.rpartition("(")[2].rstrip(")").split(","))


def test_a_mount_cannot_leave_the_rootfs(process: Runtime) -> None:
    """By a link of the image that leads to a directory of the host's: it is taken from the container's root."""
    outside = process.directory / "outside"
    outside.mkdir()
    tmpfs = {"destination": "/link/made", "type": "tmpfs", "source": "tmpfs"}
    path = make(process, "mount", mounts=[*MOUNTS, tmpfs])
    (path / "rootfs" / "link").symlink_to(outside)
    (path / "rootfs" / str(outside).lstrip("/")).mkdir(parents=True)
    ended = process("run", "--bundle", path, "c")

    assert f" on {outside}/made type tmpfs" in ended.stdout
    assert [] == list(outside.iterdir())


def test_sysctls_are_the_containers_alone(process: Runtime) -> None:
    before = read(Path("/proc/sys/kernel/msgmax"))
    lines = output(process, "cat /proc/sys/kernel/msgmax", linux={"sysctl": {"kernel.msgmax": "4321"}})

    assert ["4321"] == lines
    assert before == read(Path("/proc/sys/kernel/msgmax"))


def test_a_sysctl_of_the_hosts_network_is_refused(process: Runtime) -> None:
    """Joined by its path, so that it looks like a namespace of the container's own."""
    namespaces = [{"type": "network", "path": f"/proc/{os.getpid()}/ns/net"}, {"type": "mount"}]
    sysctl = {"net.ipv4.ip_forward": "1"}
    path = make(process, "exit 0", hostname=None, linux={"namespaces": namespaces, "sysctl": sysctl})
    ended = process("create", "--bundle", path, "c")

    assert (1, []) == (ended.returncode, process.remains())
    assert "host" in ended.stderr


@pytest.mark.parametrize(
    ("name", "types", "words"),
    [
        ("kernel.panic", ("mount", "ipc", "uts"), "not in a separate kernel namespace"),
        ("net.ipv4.ip_forward", ("mount",), "add network"),
        ("kernel.msgmax", ("mount",), "add ipc"),
        ("kernel/../vm/swappiness", ("mount", "ipc"), "not in a separate kernel namespace"),
    ],
)
def test_a_sysctl_of_the_host_is_refused(process: Runtime, name: str, types: tuple[str, ...], words: str) -> None:
    namespaces = [{"type": kind} for kind in types]
    path = make(process, "exit 0", hostname=None, linux={"namespaces": namespaces, "sysctl": {name: "1"}})
    ended = process("create", "--bundle", path, "c")

    assert (1, []) == (ended.returncode, process.remains())
    assert words in ended.stderr


def test_user_capabilities_and_privileges_are_those_of_the_spec(process: Runtime) -> None:
    names = ["CAP_KILL", "CAP_NET_BIND_SERVICE"]
    changes = {
        "user": {"uid": 1000, "gid": 1001, "additionalGids": [7], "umask": 0o77},
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), names),
        "noNewPrivileges": True,
        "cwd": "/made",
    }
    script = "id -u; id -g; id -G; umask; readlink /proc/self/cwd; cat /proc/self/status"
    lines = output(process, script, process=changes)

    assert ["1000", "1001", "1001 7", "0077", "/made"] == lines[:5]
    status = dict(line.split(":\t", 1) for line in lines[5:] if ":\t" in line)
    assert {"0000000000000420"} == {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    assert "1" == status["NoNewPrivs"]


def test_home_is_that_of_the_user_in_the_image(process: Runtime) -> None:
    path = make(process, "echo $HOME", process={"user": {"uid": 12, "gid": 0}})
    (path / "rootfs" / "etc").mkdir()
    (path / "rootfs" / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nmail:x:12:12::/mail:/bin/sh\n")

    assert "/mail\n" == process("run", "--bundle", path, "c").stdout


@pytest.fixture
def two_files() -> Iterator[list[int]]:
    """Descriptors 3 and 4 of the command, which a client has opened."""
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as two:
        yield [one.fileno(), two.fileno()]


@pytest.mark.parametrize(("count", "kept"), [(0, ""), (1, "3 "), (2, "3 4 "), (9, "3 4 ")])
def test_preserved_descriptors_are_there_and_no_others(
    process: Runtime, two_files: list[int], count: int, kept: str
) -> None:
    """--preserve-fds 9 of two that are open is two; the shell's own are above."""
    script = "for n in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && echo -n $n ''; done; echo"
    path = make(process, script)
    shell = f'exec "$0" "$@" 3<&{two_files[0]} 4<&{two_files[1]}'
    words = process.words("run", "--bundle", path, "--preserve-fds", count, "c")
    ended = process.run(["/bin/bash", "-c", shell, *words], pass_fds=two_files)

    assert 0 == ended.returncode, ended.stderr
    assert kept == "".join(f"{number} " for number in (3, 4) if str(number) in ended.stdout.split())
    assert set(ended.stdout.split()) <= {"3", "4"}


@pytest.mark.parametrize(("count", "status"), [(21, 0), (22, 1)])
def test_more_descriptors_than_can_be_preserved_are_refused(process: Runtime, count: int, status: int) -> None:
    last = 2 + count
    path = make(process, f"cat <&{last}; echo")
    script = f'for n in $(seq 3 {last}); do eval "exec $n</dev/null"; done; exec "$0" "$@"'
    words = process.words("run", "--bundle", path, "--preserve-fds", count, "c")
    ended = process.run(["/bin/bash", "-c", script, *words])

    said = "--preserve-fds: a container takes 21 descriptors, 22 are open: pass fewer" if status else ""
    assert status == ended.returncode, ended.stderr
    assert said in ended.stderr
    assert status == 0 or process("state", "c").returncode == 1  # nothing is left


def test_hooks_see_the_container_and_its_process_ends_with_its_status(process: Runtime) -> None:
    mark = process.directory / "mark"
    hooks = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo runtime >>{mark}"]}],
        "createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo container >>{mark}"]}],
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo start >>/mark"], "env": ["PATH=/bin"]}],
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo stop >>{mark}"]}],
    }
    path = make(process, "cat /mark; exit 7", hooks=hooks)
    pid = process.create(path, "c")
    said = process.directory / "out.1"
    assert "runtime\ncontainer\n" == mark.read_text()
    process.good("start", "c")

    assert 7 == exit_status(pid)
    assert "start\n" == read(said)
    process.good("delete", "c")
    assert "runtime\ncontainer\nstop\n" == mark.read_text()


def test_the_terminal_is_the_containers_console(process: Runtime) -> None:
    path = make(process, "[ -t 0 ] && [ -t 2 ] && stat -c %t /dev/console", process={"terminal": True})
    ended = process("run", "--bundle", path, "c")

    assert (0, ["88"]) == (ended.returncode, ended.stdout.splitlines())  # major 136: a pty


def test_lines_of_a_terminal_that_nobody_sits_at_end_as_the_program_ends_them(process: Runtime) -> None:
    path = make(process, "echo one; echo two", process={"terminal": True})
    ended = process("run", "--bundle", path, "c")

    assert (0, "one\ntwo\n") == (ended.returncode, ended.stdout)


def test_what_fails_at_create_leaves_no_mount(process: Runtime) -> None:
    bad = {"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]}
    ended = process("create", "--bundle", make(process, "exit", mounts=[*MOUNTS, bad]), "c")

    assert (1, []) == (ended.returncode, process.remains())
    assert 'error mounting "/no/such" to rootfs at "/x": stat /no/such: no such file or directory' in (
        ended.stderr.replace('\\"', '"')
    )
    assert not os.path.ismount(process.directory / "b" / "rootfs")


def test_a_program_that_cannot_be_executed_on_a_terminal_is_named(process: Runtime) -> None:
    path = make(process, "sleep 1000")
    (path / "rootfs" / "bin" / "broken").write_text("#!/no/interpreter\n")
    (path / "rootfs" / "bin" / "broken").chmod(0o755)
    process.running(path)
    ended = process("exec", "--tty", "c", "/bin/broken")

    assert 255 == ended.returncode
    assert "/bin/broken: no such file or directory" in ended.stderr


@pytest.mark.parametrize("words", [(), ("--rootless",)], ids=["root", "rootless"])
def test_what_spec_writes_on_such_a_host_is_an_ordinary_container_that_runs(
    process: Runtime, words: tuple[str, ...]
) -> None:
    path = make(process, "")
    (path / "config.json").unlink()
    written = process("spec", "--bundle", path, *words)
    config = json.loads((path / "config.json").read_text())
    config["process"] |= {
        "terminal": False,
        "args": ["sh", "-c", "id -u; cat /proc/self/uid_map /proc/sys/kernel/ostype"],
    }
    config["process"]["env"] = ["PATH=/bin"]
    (path / "config.json").write_text(json.dumps(config))
    ended = process("run", "--bundle", path, "c")
    size = "1" if words else str(2**32 - 1)

    assert (0, "", "") == (written.returncode, written.stdout, written.stderr)
    assert "annotations" not in config
    assert (0, "") == (ended.returncode, process.unwarned(ended.stderr))
    assert ["0", "0", "0", size, "Linux"] == ended.stdout.split()


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_a_link_in_the_place_of_a_file_system_of_the_kernels_is_refused(process: Runtime, name: str) -> None:
    kind = {"proc": "proc", "sys": "sysfs"}[name]
    path = make(process, "exit", mounts=[{"destination": f"/{name}", "type": kind, "source": kind}])
    (path / "rootfs" / "elsewhere").mkdir()
    (path / "rootfs" / name).symlink_to("elsewhere")
    ended = process("create", "--bundle", path, "c")

    assert (1, []) == (ended.returncode, process.remains())
    assert f"{kind} must be mounted on ordinary directory /{name}" in ended.stderr


def test_tmpcopyup_copies_what_it_hides(process: Runtime) -> None:
    """Owners, modes and times too; into a mount that is read-only in the end."""
    options = ["tmpcopyup", "ro", "nosuid"]
    mount = {"destination": "/d", "type": "tmpfs", "source": "tmpfs", "options": options}
    script = "cat /d/sub/file; readlink /d/link; stat -c '%a %u %Y' /d/sub /d/sub/file; stat -c %a /d"
    script += "; touch /d/x 2>/dev/null || echo ro"
    path = make(process, script, mounts=[*MOUNTS, mount])
    sub = path / "rootfs" / "d" / "sub"
    sub.mkdir(parents=True)
    (sub / "file").write_text("content\n")
    (sub.parent / "link").symlink_to("sub/file")
    os.chown(sub / "file", 12, 13)
    for made, mode in ((sub / "file", 0o4755), (sub, 0o1777), (sub.parent, 0o711)):
        made.chmod(mode)
        os.utime(made, (1, 1_000_000))
    ended = process("run", "--bundle", path, "c")

    assert (0, "") == (ended.returncode, process.unwarned(ended.stderr))
    assert ["content", "sub/file", "1777 0 1000000", "4755 12 1000000", "711", "ro"] == ended.stdout.splitlines()


def test_what_is_read_only_or_masked_is_one_mount(process: Runtime) -> None:
    """A mount that is there becomes read-only itself, one empty directory serves for all, a path twice is one."""
    masked = ["/one", "/two", "/one"]
    script = "stat -c %d /one /two; cat /proc/mounts"
    path = make(process, script, linux={"maskedPaths": masked, "readonlyPaths": ["/dev"]})
    for name in ("one", "two"):
        (path / "rootfs" / name).mkdir()
    ended = process("run", "--bundle", path, "c")
    first, second, *rows = ended.stdout.splitlines()
    mounts = {where: options.split(",") for _, where, _, options, *_ in map(str.split, rows)}

    assert (0, first) == (ended.returncode, second)
    assert len(mounts) == len(rows)
    assert {"/one", "/two", "/dev"} == {where for where, options in mounts.items() if "ro" in options}


def test_it_runs_where_its_cpuset_says_whoever_made_it(process: Runtime) -> None:
    path = make(process, "grep Cpus_allowed_list: /proc/self/status")
    (path / "rootfs" / "bin" / "grep").symlink_to("busybox")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        ended = process("run", "--bundle", path, "c")
    finally:
        os.sched_setaffinity(0, before)
    ranges = [part.partition("-") for part in ended.stdout.split()[1].split(",")]

    assert before <= {cpu for first, _, last in ranges for cpu in range(int(first), int(last or first) + 1)}


def test_a_memory_policy_is_the_process(process: Runtime) -> None:
    if not os.path.exists("/proc/self/numa_maps"):
        pytest.skip("this kernel has no memory policies (CONFIG_NUMA)")
    policy = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}

    (line, *_) = output(process, "cat /proc/self/numa_maps", linux={"memoryPolicy": policy})
    assert "bind=static:0" == line.split()[1]


def test_a_terminal_is_of_the_containers_own_devpts(process: Runtime) -> None:
    """It has a name there, and the group that the mount gives it."""
    options = ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    devpts = {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": options}
    script = "tty; stat -c '%u %g' $(tty)"
    path = make(process, script, process={"terminal": True, "user": {"uid": 7, "gid": 8}}, mounts=[*MOUNTS[:2], devpts])
    (path / "rootfs" / "bin" / "tty").symlink_to("busybox")
    ended = process("run", "--bundle", path, "c")

    assert (0, ["/dev/pts/0", "7 5"]) == (ended.returncode, ended.stdout.splitlines())


def test_the_source_of_a_mount_in_the_rootfs_is_what_is_mounted_there_by_then(process: Runtime) -> None:
    data = process.directory / "data"
    data.mkdir()
    (data / "file").write_text("of the first mount\n")
    first = {"destination": "/first", "type": "bind", "source": str(data), "options": ["bind"]}
    source = process.directory / "b" / "rootfs" / "first"
    second = {"destination": f"{source.parent}/second", "type": "bind", "source": str(source), "options": ["bind"]}

    assert ["of the first mount"] == output(process, "cat /second/file", mounts=[*MOUNTS, first, second])


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_mount_goes_where_a_link_to_nothing_leads(process: Runtime, kind: str) -> None:
    source = process.directory / "source"
    source.write_text("bound\n")
    options = ["bind", "ro"]
    place = source if kind == "file" else process.directory
    mount = {"destination": "/etc/hosts", "type": "bind", "source": str(place), "options": options}
    name = "/made/by/it" if kind == "file" else "/made/by/it/source"
    path = make(process, f"cat {name}", mounts=[*MOUNTS, mount])
    (path / "rootfs" / "etc").mkdir()
    (path / "rootfs" / "etc" / "hosts").symlink_to("/jump/it")
    (path / "rootfs" / "jump").symlink_to("made/by")
    ended = process("run", "--bundle", path, "c")

    assert (0, "bound\n") == (ended.returncode, ended.stdout)
    assert (path / "rootfs" / "made" / "by" / "it").is_dir() is (kind == "directory")


def test_a_tmpfs_has_the_mode_of_what_it_hides_and_its_own_where_there_was_nothing(process: Runtime) -> None:
    rows = [{"destination": place, "type": "tmpfs", "source": "tmpfs"} for place in ("/old", "/new/one")]
    path = make(process, "stat -c %a /old /new/one; cat /proc/mounts", mounts=[*MOUNTS, *rows])
    (path / "rootfs" / "old").mkdir()
    (path / "rootfs" / "old").chmod(0o710)
    ended = process("run", "--bundle", path, "c")

    assert ["710", "1777"] == ended.stdout.splitlines()[:2]
    assert "mode=710" in next(line for line in ended.stdout.splitlines() if " /old " in line)


def test_what_root_of_a_user_namespace_cannot_reach_is_mounted_all_the_same(process: Runtime) -> None:
    hidden = process.directory / "hidden"
    (hidden / "data").mkdir(parents=True)
    (hidden / "data" / "file").write_text("reached\n")
    hidden.chmod(0o700)
    ids = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    namespaces = [*CONFIG["linux"]["namespaces"], {"type": "user"}]
    mount = {"destination": "/data", "type": "bind", "source": str(hidden / "data"), "options": ["bind", "ro"]}
    linux = {"namespaces": namespaces, "uidMappings": ids, "gidMappings": ids}
    path = make(process, "cat /data/file; touch /data/x 2>/dev/null || echo ro", mounts=[*MOUNTS, mount], linux=linux)
    for place in [*process.directory.parents[:2], process.directory, path, path / "rootfs"]:
        place.chmod(0o755)
    for name in ("proc", "dev", "data"):
        (path / "rootfs" / name).mkdir(exist_ok=True)
    ended = process("run", "--bundle", path, "c")

    assert (0, "") == (ended.returncode, process.unwarned(ended.stderr))
    assert ["reached", "ro"] == ended.stdout.splitlines()


def test_an_empty_home_is_none(process: Runtime) -> None:
    assert ["/"] == output(process, 'echo "$HOME"', process={"env": ["HOME=/x", "PATH=/bin", "HOME="]})


def test_a_real_time_policy_without_time_for_it_says_what_it_needs(process: Runtime) -> None:
    """Where the kernel groups real-time tasks by cgroup, a new one has no time for them."""
    if not os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"):
        pytest.skip("this kernel does not group real-time tasks by cgroup (CONFIG_RT_GROUP_SCHED, version 1)")
    scheduler = {"policy": "SCHED_FIFO", "priority": 10}
    ended = process("run", "--bundle", make(process, "exit", process={"scheduler": scheduler}), "c")

    assert 1 == ended.returncode
    assert "sched_setattr: operation not permitted: real-time policies take linux.resources.cpu.rea" in ended.stderr


def test_the_pidfd_socket_receives_the_process_of_create_and_of_exec(process: Runtime) -> None:
    path = process.directory / "pidfd"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(2)
        listener.settimeout(BOUND_S)
        pid = process.create(make(process, "sleep 1000"), "c", "--pidfd-socket", path)
        process.good("start", "c")
        pid_file = process.directory / "pid"
        process.good("exec", "--detach", "--pidfd-socket", path, "--pid-file", pid_file, "c", "sleep", "1000")
        pidfds = []
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                pidfds += socket.recv_fds(connection, 100, 4)[1]
    joined = int(pid_file.read_text())
    signal.pidfd_send_signal(pidfds[1], signal.SIGKILL)

    assert 137 == exit_status(joined)
    assert alive(pid)
    signal.pidfd_send_signal(pidfds[0], signal.SIGKILL)
    assert 137 == exit_status(pid)
    for pidfd in pidfds:
        os.close(pidfd)


def test_update_of_what_the_cpu_controller_has_beside_shares(process: Runtime) -> None:
    pid = process.running(make(process, "sleep 1000"))
    rows = [line.split(":", 2) for line in read(Path(f"/proc/{pid}/cgroup")).splitlines()]
    groups = {name: path for _, names, path in rows for name in names.split(",")}
    controller = "cpu" if "cpu" in groups else ""
    idle = cgroup_of(controller, groups[controller]) / "cpu.idle"
    if not idle.exists():
        pytest.skip("this kernel has no cpu.idle (Linux 5.15, CONFIG_FAIR_GROUP_SCHED)")
    process.good("update", "--cpu-idle", "1", "c")

    assert "1\n" == idle.read_text()
    for option in (("--cpu-idle", "2"), ("--cpu-burst", "-1")):
        assert 1 == process("update", *option, "c").returncode
    assert "1\n" == idle.read_text()
