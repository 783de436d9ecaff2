"""Hooks (config.md#posix-platform-hooks) as they meet the rest: cgroups, pid namespaces, time limits, ends.

Whatever control groups the machine has.
"""

import json
import os
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cgroups import has_controller
from tests.container import Runtime, exit_status, read, until
from tests.e2e.cgroup_views import View

pytestmark = pytest.mark.e2e

Make = Callable[..., Path]
SHELL_PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture
def urunc(view: View) -> View:
    return view


def shell(script: str, **changes: Any) -> dict[str, Any]:
    return {"path": "/bin/busybox", "args": ["sh", "-c", script], "env": [SHELL_PATH]} | changes


def kept(path: Path) -> dict[str, Any]:
    """The state that a hook was given and has written to a file."""
    state: dict[str, Any] = json.loads(read(path))
    return state


@pytest.mark.parametrize("namespace", ["own", "host", "joined"])
def test_a_hook_inside_knows_the_pid_that_it_sees(urunc: Runtime, bundle: Make, tmp_path: Path, namespace: str) -> None:
    """1 in a pid namespace of the container's own, else that of the namespace where it is; it is being created."""
    kinds: list[dict[str, str]] = [{"type": kind} for kind in ("network", "ipc", "uts", "mount")]
    if namespace == "joined":
        other = urunc.create(bundle("other"), "other")
        kinds.append({"type": "pid", "path": f"/proc/{other}/ns/pid"})
    elif namespace == "own":
        kinds.append({"type": "pid"})
    state = tmp_path / "state"
    hook = shell(f"cat >{state}.new; mv {state}.new {state}")
    pid = urunc.create(bundle(hooks={"createContainer": [hook]}, linux={"namespaces": kinds}))
    seen = [int(word) for word in next(
        line for line in read(Path(f"/proc/{pid}/status")).splitlines() if line.startswith("NSpid")
    ).split()[1:]]  # fmt: skip

    assert ("creating", seen[-1]) == (kept(state)["status"], kept(state)["pid"])
    assert {"own": 2, "host": 1, "joined": 2}[namespace] == len(seen)
    urunc.good("kill", "c", "KILL")
    exit_status(pid)  # or the first process of a joined namespace could not end before it


def test_limits_are_in_force_before_the_first_hook(urunc: View, bundle: Make, tmp_path: Path) -> None:
    """And the process that they are for is in its cgroup."""
    if urunc.unified or not has_controller("pids"):
        pytest.skip("the controller pids is not one of version 1 here")
    place = urunc.place("pids")
    script = f"cat {place}/pids.max {place}/cgroup.procs >{tmp_path}/found"
    resources = {"pids": {"limit": 77}}
    pid = urunc.create(bundle(hooks={"prestart": [shell(script)]}, linux={"resources": resources}))

    assert ["77", str(pid)] == read(tmp_path / "found").split()


def test_a_hook_can_ask_for_the_state(urunc: Runtime, bundle: Make, tmp_path: Path) -> None:
    """Whoever works on the container holds its lock: it must not be needed to look."""
    command = shlex.join(urunc.words("state", "c"))
    urunc.create(bundle(hooks={"createRuntime": [shell(f"{command} >{tmp_path}/found 2>&1", timeout=15)]}))

    assert "creating" == kept(tmp_path / "found")["status"]


def test_a_start_container_hook_has_its_time_limit(urunc: Runtime, bundle: Make) -> None:
    """The guest does not run then."""
    path = bundle(hooks={"startContainer": [{"path": "/busybox", "args": ["sleep", "1000"], "timeout": 1}]})
    (path / "rootfs" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (path / "rootfs" / "busybox").chmod(0o755)
    urunc.create(path)
    console = urunc.directory / "out.1"
    ended = urunc("start", "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "timeout" in ended.stderr
    urunc.await_status("stopped")
    assert "" == read(console)


@pytest.mark.parametrize("stage", ["poststart", "poststop"])
def test_a_late_hook_has_its_time_limit(urunc: Runtime, bundle: Make, tmp_path: Path, stage: str) -> None:
    """It is killed, warned of, and the next one runs."""
    slow, after = shell("sleep 1000", timeout=1), shell(f"touch {tmp_path}/after")
    urunc.create(bundle(hooks={stage: [slow, after]}))
    ended = urunc("start", "c")
    if stage == "poststop":
        assert not (tmp_path / "after").exists()
        ended = urunc("delete", "--force", "c")

    assert 0 == ended.returncode
    assert "level=warning" in ended.stderr
    assert "timeout" in ended.stderr
    assert (tmp_path / "after").exists()


@pytest.mark.parametrize(("version", "status"), [("1.0.2", "running"), ("1.1.0", "running"), ("1.2.1", "stopped")])
def test_a_poststart_hook_that_fails_stops_a_container_since_1_2(
    urunc: Runtime, bundle: Make, version: str, status: str
) -> None:
    urunc.create(bundle(ociVersion=version, hooks={"poststart": [shell("exit 3")]}))
    ended = urunc("start", "c")

    assert (status == "stopped") == bool(ended.returncode)
    assert "exit status 3" in ended.stderr
    urunc.await_status(status)


def test_poststop_hooks_of_a_create_that_fails_run_when_all_is_gone(
    urunc: Runtime, bundle: Make, tmp_path: Path
) -> None:
    """Each of them, whatever the others say."""
    path = bundle(hooks={
        "createRuntime": [shell("exit 1")],
        "poststop": [shell("exit 2"), shell(f"cat >{tmp_path}/state; ls {urunc.root} >{tmp_path}/left")],
    })  # fmt: skip
    ended = urunc("create", "-b", path, "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "exit status 1" in ended.stderr
    assert "stopped" == kept(tmp_path / "state")["status"]
    assert "pid" not in kept(tmp_path / "state")
    assert "" == read(tmp_path / "left")


def test_poststop_hooks_run_when_all_is_gone(urunc: View, bundle: Make, tmp_path: Path) -> None:
    """Process, state directory and cgroups; in the caller's namespaces."""
    places = " ".join(str(urunc.place(names)) for names in urunc.hierarchies())
    script = f"ls -d {urunc.root}/c {places} >{tmp_path}/left 2>/dev/null; readlink /proc/self/ns/mnt >{tmp_path}/ns"
    pid = urunc.running(bundle(hooks={"poststop": [shell(script)]}))
    inside, ours = (os.readlink(f"/proc/{who}/ns/mnt") for who in (pid, "self"))
    urunc.good("delete", "--force", "c")
    found = read(tmp_path / "ns").strip()

    assert "" == read(tmp_path / "left")
    assert inside != found
    assert urunc.name != "hybrid" or ours == found  # the other views are mount namespaces of the command's own
    assert not Path(f"/proc/{pid}/exe").exists()


def test_poststop_hooks_run_after_run(urunc: Runtime, bundle: Make, tmp_path: Path) -> None:
    ended = urunc("run", "-b", bundle(args=("/app",), hooks={"poststop": [shell(f"cat >{tmp_path}/state")]}), "c")

    assert "stopped" == kept(tmp_path / "state")["status"]
    assert ended.stderr == ""


def test_poststop_hooks_run_for_a_create_that_was_killed(urunc: Runtime, bundle: Make, tmp_path: Path) -> None:
    """By the delete that clears up after it."""
    hooks = {
        "createRuntime": [shell(f"touch {tmp_path}/there; sleep 1000")],
        "poststop": [shell(f"touch {tmp_path}/after")],
    }
    process = urunc.begin(urunc.words("create", "-b", bundle(hooks=hooks), "c"))
    until((tmp_path / "there").exists, "the first hook")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    urunc.good("delete", "--force", "c")

    assert (tmp_path / "after").exists()


def test_hooks_of_a_stage_run_one_after_the_other(urunc: Runtime, bundle: Make, tmp_path: Path) -> None:
    """The second begins when the first has ended, however long that takes."""
    log = tmp_path / "log"
    slow = shell(f"echo begin >>{log}; sleep 0.3; echo end >>{log}")
    begin = time.monotonic()
    urunc.create(bundle(hooks={"prestart": [slow, slow], "createRuntime": [slow]}))

    assert ["begin", "end"] * 3 == read(log).split()
    assert time.monotonic() - begin > 0.9
