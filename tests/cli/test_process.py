"""The process of a container: what it sees and what it has, by the spec and by what leaks from clients."""

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.container import Runtime, comm, exit_status, read

Make = Callable[..., Path]


def test_a_descriptor_that_a_client_leaks_is_not_in_the_container(urunc: Runtime, bundle: Make) -> None:
    """Containerd's shim leaks a listening socket as 3 into create and start."""
    leaks = [socket.socket() for _ in range(3)]
    options: dict[str, Any] = {"pass_fds": [leak.fileno() for leak in leaks]}
    inodes = {f"socket:[{os.fstat(leak.fileno()).st_ino}]" for leak in leaks}

    def open_files(pid: int) -> set[str]:
        found = set()
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except FileNotFoundError:
                continue  # the monitor opens and closes files of its own
        return found

    try:
        pid = urunc.create(bundle(), **options)
        assert set() == inodes & open_files(pid)
        urunc.good("start", "c", **options)
        assert set() == inodes & open_files(pid)
        assert comm(pid).startswith("qemu")
    finally:
        for leak in leaks:
            leak.close()


def test_the_monitor_has_nothing_that_it_does_not_need(urunc: Runtime, bundle: Make) -> None:
    """No environment, no capability, no new privileges, a root of its own that is not the container's."""
    pid = urunc.running(bundle())
    status = dict(line.split(":\t", 1) for line in read(Path(f"/proc/{pid}/status")).splitlines() if ":\t" in line)
    root = Path(f"/proc/{pid}/root")

    assert "" == read(Path(f"/proc/{pid}/environ"))
    assert {"0000000000000000"} == {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    assert "1" == status["NoNewPrivs"]
    assert f"{pid}\t1" == status["NSpid"]
    assert {".monitor", "dev", "guest"} <= set(os.listdir(root))
    assert set() == {"proc", "sys", "home", "root"} & set(os.listdir(root))
    assert ["null", "urandom"] == sorted(path.name for path in (root / "dev").rglob("*") if not path.is_dir())
    with pytest.raises(OSError, match="Read-only"):
        (root / "guest" / "kernel").open("wb")


def test_the_namespaces_are_those_of_the_spec(urunc: Runtime, bundle: Make) -> None:
    kinds = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup"}
    pid = urunc.create(bundle(linux={"namespaces": [{"type": kind} for kind in kinds]}))
    own = {kind: os.readlink(f"/proc/self/ns/{file}") for kind, file in kinds.items()}
    theirs = {kind: os.readlink(f"/proc/{pid}/ns/{file}") for kind, file in kinds.items()}

    assert set() == set(own.items()) & set(theirs.items())
    urunc.good("start", "c")
    assert theirs == {kind: os.readlink(f"/proc/{pid}/ns/{file}") for kind, file in kinds.items()}


def test_namespaces_are_joined_by_path(urunc: Runtime, bundle: Make) -> None:
    """Those of another container, the pid namespace too: as a pod's containers do."""
    first = urunc.create(bundle(), "first")
    kinds = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
    joined = [{"type": kind, "path": f"/proc/{first}/ns/{file}"} for kind, file in kinds.items()]
    pid = urunc.create(bundle("b2", hostname=None, linux={"namespaces": [*joined, {"type": "mount"}]}), "second")
    urunc.good("start", "second")

    for file in kinds.values():
        assert os.readlink(f"/proc/{first}/ns/{file}") == os.readlink(f"/proc/{pid}/ns/{file}")
    assert os.readlink(f"/proc/{first}/ns/mnt") != os.readlink(f"/proc/{pid}/ns/mnt")
    urunc.good("kill", "second", "KILL")
    assert 137 == exit_status(pid)
    assert "created" == urunc.status("first")


def test_a_namespace_of_another_type_is_refused(urunc: Runtime, bundle: Make) -> None:
    path = bundle(hostname=None, linux={"namespaces": [{"type": "network", "path": "/proc/self/ns/uts"}]})
    ended = urunc("create", "-b", path, "c")

    assert (1, []) == (ended.returncode, urunc.remains())
    assert "/proc/self/ns/uts" in ended.stderr


def test_user_groups_limits_and_scores_are_those_of_the_spec(urunc: Runtime, bundle: Make) -> None:
    process = {
        "user": {"uid": 1234, "gid": 2345, "additionalGids": [7, 8], "umask": 0o27},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}],
        "oomScoreAdj": 500,
    }
    pid = urunc.running(bundle(process=process))
    status = dict(line.split(":\t", 1) for line in read(Path(f"/proc/{pid}/status")).splitlines() if ":\t" in line)
    limits = read(Path(f"/proc/{pid}/limits"))

    assert ["1234"] * 4 == status["Uid"].split()
    assert ["2345"] * 4 == status["Gid"].split()
    assert ["7", "8"] == status["Groups"].split()
    assert "0027" == status["Umask"]
    assert re.search(r"Max open files +512 +1024 ", limits)
    assert "500\n" == read(Path(f"/proc/{pid}/oom_score_adj"))


def test_a_step_that_fails_in_start_is_named(urunc: Runtime, bundle: Make) -> None:
    """Here a limit above what the kernel allows; the container has stopped, and delete removes it."""
    rlimits = [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]
    urunc.create(bundle(process={"rlimits": rlimits}))
    ended = urunc("start", "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert f"setrlimit RLIMIT_NOFILE to {1 << 40}, {1 << 40}: operation not permitted" in ended.stderr
    assert "lower process.rlimits" in ended.stderr
    assert "stopped" == urunc.status()
    urunc.good("delete", "c")


def test_the_guest_says_its_command_line_on_stdout(urunc: Runtime, bundle: Make) -> None:
    """Quotes and blanks of arguments arrive: nothing splits or joins them on the way."""
    pid = urunc.create(bundle(args=("/app", "a b", "c,d=e", "--x")), "c")
    console = urunc.directory / "out.1"
    urunc.good("start", "c")

    assert 0 == exit_status(pid)
    assert 'A=1 init=/app -- "a b" c,d=e --x' in read(console)


def test_standard_input_is_the_guests_serial_port(urunc: Runtime, bundle: Make) -> None:
    read_end, write_end = os.pipe()
    pid = urunc.create(bundle(args=("/app", "echo")), stdin=read_end)
    console = urunc.directory / "out.1"
    os.close(read_end)
    urunc.good("start", "c")
    os.write(write_end, b"knock\nquit\n")

    assert 0 == exit_status(pid)
    assert read(console).rstrip().endswith("knock\nquit")
    os.close(write_end)
