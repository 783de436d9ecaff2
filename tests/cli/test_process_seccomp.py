"""An agent that answers for system calls of a container: whatever is asserted here is asserted of runc first."""

import array
import errno
import fcntl
import json
import os
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cgroups import NAME
from tests.container import BOUND_S, CONFIG, RUNC, Runtime, exit_status, merged, write_bundle

# linux/seccomp.h: SECCOMP_IOCTL_NOTIF_RECV and _SEND, struct seccomp_notif and seccomp_notif_resp
RECEIVE, SEND = 0xC0502100, 0xC0182101
NOTIFICATION, RESPONSE = struct.Struct("QII64x"), struct.Struct("QqiI")
MOUNTS = [{"destination": "/proc", "type": "proc", "source": "proc"}]


class Agent:
    """Listens; takes one connection for each process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(BOUND_S)
        self.listener.bind(str(path))
        self.listener.listen(4)

    def accept(self) -> tuple[dict[str, Any], int]:
        """Return the state and the descriptor of the filter that came with it."""
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(BOUND_S)
            text, ancillary, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(16))
            while more := connection.recv(1 << 16):
                text += more
        (row,) = ancillary
        (descriptor,) = array.array("i", row[2])
        return json.loads(text), descriptor

    def close(self) -> None:
        self.listener.close()


def answer(descriptor: int, error: int) -> int:
    """Let the next call that somebody is asked for fail; return the pid of who calls."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(BOUND_S * 1000), "no call has come"
    asked = bytearray(NOTIFICATION.size)
    fcntl.ioctl(descriptor, RECEIVE, asked)
    cookie, pid, _ = NOTIFICATION.unpack(asked)
    fcntl.ioctl(descriptor, SEND, bytearray(RESPONSE.pack(cookie, 0, -error, 0)))
    return int(pid)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path / "agent")
    yield agent
    agent.close()


def make(runtime: Runtime, script: str, seccomp: dict[str, Any], **changes: Any) -> Path:
    """Make a bundle whose process is a shell; its profile asks an agent for mkdir, unless `seccomp` says otherwise."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
        "listenerMetadata": "as it \u00ab is \u00bb",
        **seccomp,
    }
    process = {"args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"]}
    linux = {"seccomp": profile, "cgroupsPath": f"/{NAME}/seccomp"}
    config = merged(merged(CONFIG, {"process": process, "mounts": MOUNTS, "linux": linux}), changes)
    path = write_bundle(runtime.directory / "b", {"bin/busybox": Path("/bin/busybox")}, config)
    for applet in ("sh", "mkdir", "sleep"):
        (path / "rootfs" / "bin" / applet).symlink_to("busybox")
    (path / "rootfs" / "proc").mkdir()
    return path


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_it_has_the_state_in_create_and_its_answer_is_the_calls(
    runtime: Runtime, agent: Agent, no_new_privileges: bool
) -> None:
    script = "mkdir /a 2>&1 && exit 1; exit 7"
    changes = {"process": {"noNewPrivileges": no_new_privileges}, "annotations": {"a": "b"}}
    pid = runtime.create(make(runtime, script, {"listenerPath": str(agent.path)}, **changes))
    state, descriptor = agent.accept()
    runtime.good("start", "c")
    asking = answer(descriptor, errno.ENOMEDIUM)

    assert 7 == exit_status(pid)
    assert (["seccompFd"], pid, "as it \u00ab is \u00bb") == (state["fds"], state["pid"], state["metadata"])
    assert asking not in (0, pid)
    told = {key: state["state"].get(key) for key in ("id", "status", "pid", "bundle", "annotations")}
    expected = {"id": "c", "status": "creating", "pid": pid, "bundle": str(runtime.directory / "b")}
    assert {**expected, "annotations": {"a": "b"}} == told
    os.close(descriptor)


def test_exec_is_a_process_of_its_own(runtime: Runtime, agent: Agent) -> None:
    pid = runtime.running(make(runtime, "sleep 1000", {"listenerPath": str(agent.path)}))
    os.close(agent.accept()[1])
    pid_file = runtime.directory / "pid"
    runtime.good("exec", "--detach", "--pid-file", pid_file, "c", "sh", "-c", "mkdir /a || exit 9")
    state, descriptor = agent.accept()
    answer(descriptor, errno.EROFS)
    joined = int(pid_file.read_text())

    assert (joined, pid, "running") == (state["pid"], state["state"]["pid"], state["state"]["status"])
    assert 9 == exit_status(joined)
    os.close(descriptor)


def test_an_agent_that_has_gone_keeps_nobody_waiting(runtime: Runtime, agent: Agent) -> None:
    """The call is unknown then: nobody else may hold what it listened to."""
    pid = runtime.create(make(runtime, "mkdir /a && exit 1; exit 7", {"listenerPath": str(agent.path)}))
    os.close(agent.accept()[1])
    runtime.good("start", "c")

    assert 7 == exit_status(pid)


def test_a_path_that_nobody_is_asked_at_is_not_looked_at(runtime: Runtime) -> None:
    seccomp = {"listenerPath": "/no/such", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
    pid = runtime.running(make(runtime, "exit 5", seccomp))

    assert 5 == exit_status(pid)


@pytest.mark.parametrize(
    ("seccomp", "words"),
    [
        ({}, "listenerPath"),
        ({"listenerPath": "/no/such"}, "failed to connect with seccomp agent"),
        ({"listenerPath": "/etc/passwd"}, "failed to connect with seccomp agent"),
        (
            {"syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]},
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY cannot be used as default action"),
    ],
    ids=["none", "missing", "file", "write", "default"],
)
def test_what_nobody_could_answer_is_refused(runtime: Runtime, seccomp: dict[str, Any], words: str) -> None:
    ended = runtime("create", "--bundle", make(runtime, "exit 0", seccomp), "c")

    assert (1, []) == (ended.returncode, runtime.remains())
    assert words in ended.stderr


def test_killing_them_flag_is_taken_with_an_agent(runtime: Runtime, agent: Agent) -> None:
    if runtime.program == RUNC:
        pytest.skip("runc 1.1.5 knows no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
    seccomp = {"listenerPath": str(agent.path), "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}
    pid = runtime.running(make(runtime, "mkdir /a && exit 1; exit 7", seccomp))
    answer(agent.accept()[1], errno.EROFS)

    assert 7 == exit_status(pid)
