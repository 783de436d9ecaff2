"""exec into a container of the process monitor: whatever is asserted here is asserted of runc first.

A unikernel has no place for a second process; that it says so is in the table (table.py).
"""

import array
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.cgroups import NAME
from tests.container import (
    CONFIG,
    Runtime,
    alive,
    exit_status,
    merged,
    orphans,
    read,
    until,
    write_bundle,
)

APPLETS = ("sh", "cat", "id", "sleep", "readlink", "touch", "env", "true", "tty", "head")
CAPABILITIES = ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
]
SLEEPING = {
    "process": {
        "args": ["/bin/sleep", "1000"],
        "env": ["PATH=/bin", "A=1"],
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
    },
    "mounts": MOUNTS,
    "root": {"readonly": False},
    "linux": {"cgroupsPath": f"/{NAME}/exec"},
}


def make(runtime: Runtime, **changes: Any) -> Path:
    config = merged(merged(CONFIG, SLEEPING), changes)
    path = write_bundle(runtime.directory / "b", {"bin/busybox": Path("/bin/busybox")}, config)
    for name in ("proc", "dev", "etc", "tmp"):
        (path / "rootfs" / name).mkdir()
    for applet in APPLETS:
        (path / "rootfs" / "bin" / applet).symlink_to("busybox")
    return path


def output(runtime: Runtime, *words: object, **options: Any) -> list[str]:
    return runtime.good("exec", *words, **options).splitlines()


def process_file(runtime: Runtime, **process: Any) -> Path:
    """Write what --process reads, as containerd and podman do."""
    path = runtime.directory / "process.json"
    path.write_text(json.dumps({"cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], **process}))
    return path


def test_it_has_the_namespaces_and_cgroups_of_the_container(runtime: Runtime) -> None:
    kinds = ("pid", "net", "ipc", "uts", "mnt", "cgroup", "user")
    pid = runtime.running(make(runtime, linux={"namespaces": [*CONFIG["linux"]["namespaces"], {"type": "cgroup"}]}))
    runtime.good("exec", "-d", "--pid-file", runtime.directory / "p", "c", "sleep", "999")
    other = int(read(runtime.directory / "p"))

    for kind in kinds:
        assert os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/{other}/ns/{kind}")
    assert read(Path(f"/proc/{pid}/cgroup")) == read(Path(f"/proc/{other}/cgroup"))
    assert os.readlink(f"/proc/{pid}/root") == os.readlink(f"/proc/{other}/root")
    assert {pid, other} == set(json.loads(runtime.good("ps", "-f", "json", "c")))
    runtime.good("kill", "c", "KILL")

    assert 137 == exit_status(other)


def test_streams_and_status_are_those_of_the_program(runtime: Runtime) -> None:
    runtime.running(make(runtime))
    said = runtime.directory / "in"
    said.write_text("a line\n")
    with said.open() as stdin:
        ended = runtime("exec", "c", "sh", "-c", "cat; echo bad >&2; exit 9", stdin=stdin)

    assert (9, "a line\n", "bad\n") == (ended.returncode, ended.stdout, ended.stderr)


def test_debug_says_in_the_log_what_it_did(runtime: Runtime) -> None:
    runtime.running(make(runtime))
    log = runtime.directory / "debug.log"
    ended = runtime("--debug", "--log", log, "exec", "c", "true")

    assert (0, "", "") == (ended.returncode, ended.stdout, ended.stderr)
    for words in ("level=debug", "nsexec container setup", "child process in init()", "setns_init: about to exec"):
        assert words in read(log)


def test_options_change_what_the_bundle_says(runtime: Runtime) -> None:
    runtime.running(make(runtime))
    script = "echo $A $B; id -u; id -g; id -G; readlink /proc/self/cwd; cat /proc/self/status"
    options = ("-e", "A=2", "-e", "B=3", "-u", "1000:1001", "-g", "7", "-g", "8", "--cwd", "/bin")
    lines = output(runtime, *options, "--cap", "CAP_NET_RAW", "--no-new-privs", "c", "sh", "-c", script)
    status = dict(line.split(":\t", 1) for line in lines[5:] if ":\t" in line)

    assert ["2 3", "1000", "1001", "1001 7 8", "/bin"] == lines[:5]
    assert "1" == status["NoNewPrivs"]
    assert "00000000000020e1" == status["CapBnd"]  # those of the bundle, and 13


def test_without_options_it_is_as_the_bundle_says(runtime: Runtime) -> None:
    limits = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}]
    runtime.running(make(runtime, process={"rlimits": limits, "oomScoreAdj": 321, "cwd": "/bin"}))
    script = "ulimit -n; cat /proc/self/oom_score_adj; readlink /proc/self/cwd; umask; cat /proc/self/status"
    lines = output(runtime, "c", "sh", "-c", script)
    status = dict(line.split(":\t", 1) for line in lines[4:] if ":\t" in line)

    assert ["77", "321", "/bin", "0022"] == lines[:4]
    assert ("00000000000000e1", "0") == (status["CapEff"], status["NoNewPrivs"])


def test_a_file_says_all_of_the_process(runtime: Runtime) -> None:
    runtime.running(make(runtime))
    path = process_file(
        runtime,
        args=["sh", "-c", "echo $A; id -u; readlink /proc/self/cwd; ulimit -n; cat /proc/self/status"],
        env=["PATH=/bin", "A=file"],
        cwd="/tmp",
        user={"uid": 5, "gid": 6},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 44, "hard": 44}],
        capabilities=dict.fromkeys(SETS, ("CAP_KILL",)),
        noNewPrivileges=True,
    )
    lines = output(runtime, "--process", path, "c")
    status = dict(line.split(":\t", 1) for line in lines[4:] if ":\t" in line)

    assert ["file", "5", "/tmp", "44"] == lines[:4]
    assert {"0000000000000020"} == {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    assert "1" == status["NoNewPrivs"]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"args": []}, "args"), ({"cwd": "relative"}, "Cwd must be an absolute path"), ({"args": None}, "args")],
)
def test_a_bad_file_is_refused(runtime: Runtime, change: dict[str, Any], words: str) -> None:
    pid = runtime.running(make(runtime))
    ended = runtime("exec", "-p", process_file(runtime, **{"args": ["true"], **change}), "c")

    assert 255 == ended.returncode
    assert words in ended.stderr
    assert alive(pid)


def test_the_filter_of_the_bundle_holds_for_it_too(runtime: Runtime) -> None:
    rules = [{"names": ["chmod", "fchmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    runtime.running(make(runtime, linux={"seccomp": seccomp}))
    (runtime.directory / "b" / "rootfs" / "bin" / "chmod").symlink_to("busybox")
    ended = runtime("exec", "c", "chmod", "700", "/tmp")

    assert 1 == ended.returncode
    assert "not supported" in ended.stderr


def test_preserved_descriptors_are_there_and_no_others(runtime: Runtime) -> None:
    runtime.running(make(runtime))
    kept = runtime.directory / "kept"
    kept.write_text("kept\n")
    words = runtime.words("exec", "--preserve-fds", "1", "c", "sh", "-c", "cat <&3; [ -e /proc/$$/fd/4 ] || echo no")
    ended = runtime.run(["/bin/bash", "-c", f'exec "$0" "$@" 3<{kept} 4<{kept}', *words])

    assert (0, "kept\nno\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_a_detached_terminal_goes_over_the_console_socket(runtime: Runtime) -> None:
    runtime.running(make(runtime))
    path = runtime.directory / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        words = ("-d", "-t", "--console-socket", path, "--pid-file", runtime.directory / "p")
        runtime.good("exec", *words, "c", "sh", "-c", "[ -t 0 ] && [ -t 2 ] && echo terminal; cat")
        connection, _ = listener.accept()
        with connection:
            _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    descriptors = array.array("i", ancillary[0][2])
    with os.fdopen(descriptors[0], "r+b", buffering=0) as master:
        said = b""
        while b"terminal" not in said:
            said += master.read(100)
    pid = int(read(runtime.directory / "p"))

    assert 129 == exit_status(pid)  # the hang-up


@pytest.mark.parametrize("inheritable", [False, True])
def test_a_capability_more_is_ambient_if_it_may_be_inherited(runtime: Runtime, inheritable: bool) -> None:
    """What the container's own process may inherit stays as it is."""
    given = ["CAP_SYS_TIME"] if inheritable else []
    sets = {"bounding": [*CAPABILITIES, "CAP_SYS_TIME"], "permitted": CAPABILITIES, "inheritable": given}
    runtime.running(make(runtime, process={"capabilities": sets}))
    lines = output(runtime, "--cap", "CAP_SYS_TIME", "c", "cat", "/proc/self/status")
    found = {line[3:6]: int(line.split()[1], 16) >> 25 & 1 for line in lines if line.startswith("Cap")}

    assert {"Bnd": 1, "Eff": 1, "Prm": 1, "Inh": inheritable, "Amb": inheritable} == found


def test_a_terminal_of_its_own(runtime: Runtime) -> None:
    runtime.running(make(runtime))

    master, slave = os.openpty()
    with os.fdopen(master), os.fdopen(slave):
        assert ["yes"] == output(
            runtime, "-t", "c", "sh", "-c", "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo yes", stdin=slave
        )


def test_signals_to_the_command_reach_the_program(runtime: Runtime) -> None:
    runtime.running(make(runtime))
    mark = runtime.directory / "b" / "rootfs" / "tmp" / "ready"
    script = "trap 'exit 33' USR1; touch /tmp/ready; while :; do sleep 1; done"
    command = runtime.begin(runtime.words("exec", "c", "sh", "-c", script))
    until(mark.exists, "the trap is set")
    command.send_signal(signal.SIGUSR1)

    assert 33 == command.wait(60)


def test_a_sub_cgroup_can_be_named(runtime: Runtime) -> None:
    pid = runtime.running(make(runtime))
    rows = [line.split(":", 2) for line in read(Path(f"/proc/{pid}/cgroup")).splitlines()]
    own = {names: path for _, names, path in rows if path.endswith("/exec")}
    if "pids" not in own:
        pytest.skip("the controller pids is not one of version 1 here")
    mounted = Path("/sys/fs/cgroup/pids")
    (mounted / own["pids"].lstrip("/") / "sub").mkdir()
    lines = output(runtime, "--cgroup", "pids:/sub", "c", "cat", "/proc/self/cgroup")
    ended = runtime("exec", "--cgroup", "pids:../up", "c", "true")

    assert 1 == sum(line.endswith("/sub") and ":pids:" in line for line in lines)
    assert 255 == ended.returncode
    assert "cgroup" in ended.stderr


def test_what_fails_leaves_nothing_behind(runtime: Runtime) -> None:
    pid = runtime.running(make(runtime))
    words = ("-d", "--pid-file", runtime.directory / "p")
    for command in (("nope",), ("/etc",)):
        assert 255 == runtime("exec", *words, "c", *command).returncode
    ended = runtime("exec", "-d", "--pid-file", "/no/dir/p", "c", "sleep", "999")

    assert 255 == ended.returncode
    assert "/no/dir/.p: no such file or directory" in ended.stderr
    assert not (runtime.directory / "p").exists()
    until(lambda: orphans() == [pid], "nothing but the container's process")

    assert [pid] == json.loads(runtime.good("ps", "-f", "json", "c"))


def test_an_id_that_the_user_namespace_does_not_map_is_refused(runtime: Runtime) -> None:
    maps = [{"containerID": 0, "hostID": 100000, "size": 10}]
    namespaces = [*CONFIG["linux"]["namespaces"], {"type": "user"}]
    path = make(runtime, linux={"namespaces": namespaces, "uidMappings": maps, "gidMappings": maps})
    for place in [*runtime.directory.parents[:2], runtime.directory, path, path / "rootfs"]:
        place.chmod(0o755)
    pid = runtime.running(path)
    script = "id -u; readlink /proc/self/ns/user; head -n 1 /proc/self/uid_map"
    lines = output(runtime, "-u", "3:4", "c", "sh", "-c", script)

    assert ["3", os.readlink(f"/proc/{pid}/ns/user"), "0 100000 10"] == [" ".join(line.split()) for line in lines]
    assert 255 == runtime("exec", "-u", "11", "c", "true").returncode


def test_its_process_dies_with_a_command_that_is_killed_before_it_runs(runtime: Runtime) -> None:
    """And without a word: whoever looks into the container finds its own process alone."""
    pid = runtime.running(make(runtime))
    for wait in range(0, 30, 3):
        command = runtime.begin(runtime.words("exec", "c", "true"))
        signal.sigtimedwait([], wait / 1000)
        command.kill()
        command.wait()
    until(lambda: orphans() == [pid], "the others have ended")

    assert [pid] == json.loads(runtime.good("ps", "-f", "json", "c"))
