"""Hooks of the six stages, with shells that leave a trace."""

import json
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.container import HOOK_STAGES, UNIKERNEL, Runtime, comm, orphans, read

Make = Callable[..., Path]


# in the rootfs of the container there is only what the test puts there: busybox
PROBE = (
    'printf "%s %s " "$0" "$STAGE" >>{log}; /bin/busybox cat >>{log}; echo >>{log}; '
    '[ -n "$DUMP" ] && /bin/busybox env >"$DUMP.env" && pwd >"$DUMP.cwd"; exit ${{CODE:-0}}'
)


class Hooked:
    """A bundle whose hooks leave a trace outside and, bind-mounted, inside of the container's rootfs."""

    def __init__(self, make: Make, directory: Path, **hooks: list[dict[str, Any]]) -> None:
        self.log = directory / "hooks.log"
        self.log.touch()
        self.path = make(hooks=hooks)
        rootfs = self.path / "rootfs"
        (rootfs / "bin").mkdir()
        (rootfs / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
        (rootfs / "bin" / "busybox").chmod(0o755)
        # the same path in the rootfs and outside is the same file: a hook writes to it wherever it runs
        (rootfs / str(directory).lstrip("/")).mkdir(parents=True)
        os.link(self.log, rootfs / str(self.log).lstrip("/"))

    def entries(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return argv[0], $STAGE and the state that each hook was given, in the order in which they ran."""
        found = []
        for line in read(self.log).splitlines():
            zeroth, stage, text = line.split(" ", 2)
            found.append((zeroth, stage, json.loads(text)))
        return found

    def stages(self) -> list[str]:
        return [stage for _, stage, _ in self.entries()]


def hook(directory: Path, stage: str, **changes: Any) -> dict[str, Any]:
    """A hook that appends argv[0], the stage and its standard input to hooks.log; `code` is its exit status."""
    script = PROBE.format(log=directory / "hooks.log")
    env = [f"STAGE={stage}", "PATH=/bin:/usr/bin", f"CODE={changes.pop('code', 0)}"]
    args = ["sh", "-c", script, changes.pop("zeroth", "hook")]
    return {"path": "/bin/busybox", "args": args, "env": [*env, *changes.pop("env", [])]} | changes


@pytest.fixture
def hooked(bundle: Make, tmp_path: Path) -> Callable[..., Hooked]:
    return lambda **hooks: Hooked(bundle, tmp_path, **hooks)


def test_hooks_run_in_their_order(urunc: Runtime, hooked: Callable[..., Hooked], tmp_path: Path) -> None:
    """All six stages, two hooks in each, each at its command."""
    traced = hooked(**{stage: [hook(tmp_path, stage, zeroth=number) for number in "12"] for stage in HOOK_STAGES})
    urunc.create(traced.path)
    made = [(number, stage) for stage in HOOK_STAGES[:3] for number in "12"]
    assert made == [entry[:2] for entry in traced.entries()]
    urunc.good("start", "c")
    started = [(number, stage) for stage in HOOK_STAGES[3:5] for number in "12"]
    assert made + started == [entry[:2] for entry in traced.entries()]
    urunc.good("delete", "--force", "c")
    assert [("1", "poststop"), ("2", "poststop")] == [entry[:2] for entry in traced.entries()][-2:]
    assert 12 == len(traced.entries())


def test_hooks_read_the_state(urunc: Runtime, hooked: Callable[..., Hooked], tmp_path: Path) -> None:
    """Status and pid at each stage are as in oci.md, section 4."""
    traced = hooked(**{stage: [hook(tmp_path, stage)] for stage in HOOK_STAGES})
    pid = urunc.create(traced.path)
    urunc.good("start", "c")
    urunc.good("delete", "--force", "c")
    states = {stage: state for _, stage, state in traced.entries()}

    for state in states.values():
        assert ("1.0.2", "c", str(traced.path)) == (state["ociVersion"], state["id"], state["bundle"])
        assert UNIKERNEL == state["annotations"]
    for stage in ("prestart", "createRuntime"):
        assert (stage, "creating", pid) == (stage, states[stage]["status"], states[stage]["pid"])
    assert ("created", 1) == (states["startContainer"]["status"], states["startContainer"]["pid"])
    assert ("running", pid) == (states["poststart"]["status"], states["poststart"]["pid"])
    assert ("stopped", 0) == (states["poststop"]["status"], states["poststop"].get("pid", 0))


@pytest.mark.parametrize("stage", HOOK_STAGES)
def test_a_hook_has_only_its_own_environment(
    urunc: Runtime, hooked: Callable[..., Hooked], tmp_path: Path, stage: str
) -> None:
    """Nothing of the caller's, and its cwd is one that it can rely on: bundle, or / in the container."""
    dump = tmp_path / "dump"
    traced = hooked(**{stage: [hook(tmp_path, stage, env=[f"DUMP={dump}"])]})
    urunc.environment |= {"LEAK": "1", "HOME": "/root"}
    urunc.create(traced.path)
    urunc.good("start", "c")
    urunc.good("delete", "--force", "c")
    inside = stage == "startContainer"
    place = traced.path / "rootfs" / str(tmp_path).lstrip("/") if inside else tmp_path
    variables = dict(line.split("=", 1) for line in read(place / "dump.env").splitlines())

    # the shell adds its own
    assert {"STAGE", "PATH", "CODE", "DUMP"} == set(variables) - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert ("/" if inside else str(traced.path)) == read(place / "dump.cwd").strip()


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_in_create_leaves_nothing(
    urunc: Runtime, hooked: Callable[..., Hooked], tmp_path: Path, stage: str
) -> None:
    """Later hooks do not run, poststop hooks do (the specification's lifecycle, steps 12 and 13)."""
    failing = [hook(tmp_path, stage, zeroth="1", code=5), hook(tmp_path, stage, zeroth="2")]
    traced = hooked(**{stage: failing, "poststop": [hook(tmp_path, "poststop")]})
    pid_file = tmp_path / "pid"
    ended = urunc("create", "-b", traced.path, "--pid-file", pid_file, "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert re.search("error running hook.*exit status 5", ended.stderr)
    assert [stage, "poststop"] == traced.stages()
    assert ("gone", [], False) == (urunc.status(), urunc.remains(), pid_file.exists())


def test_a_start_container_hook_that_fails_stops_the_container(
    urunc: Runtime, hooked: Callable[..., Hooked], tmp_path: Path
) -> None:
    """The specification wants an error; the guest must not run."""
    traced = hooked(startContainer=[hook(tmp_path, "startContainer", code=5)])
    urunc.create(traced.path)
    console = urunc.directory / "out.1"
    ended = urunc("start", "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert re.search("error running hook.*exit status 5", ended.stderr)
    assert ("stopped", "") == (urunc.status(), read(console))
    urunc.good("delete", "c")


@pytest.mark.parametrize(("stage", "status"), [("poststart", "running"), ("poststop", "gone")])
def test_a_late_hook_that_fails_is_a_warning(
    urunc: Runtime, hooked: Callable[..., Hooked], tmp_path: Path, stage: str, status: str
) -> None:
    """The other hooks of the stage run, and the command succeeds."""
    traced = hooked(**{stage: [hook(tmp_path, stage, code=5), hook(tmp_path, stage, zeroth="2")]})
    urunc.create(traced.path)
    statuses = [urunc("start", "c").returncode]
    if stage == "poststop":
        statuses.append(urunc("delete", "--force", "c").returncode)

    assert {0} == set(statuses)
    assert status == urunc.status()
    assert ["hook", "2"] == [zeroth for zeroth, _, _ in traced.entries()]


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_runs_past_its_timeout_is_killed(
    urunc: Runtime, hooked: Callable[..., Hooked], tmp_path: Path, stage: str
) -> None:
    slow = {"path": "/bin/busybox", "args": ["sleep", "100"], "env": [], "timeout": 1}
    traced = hooked(**{stage: [slow]})
    ended = urunc("create", "-b", traced.path, "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "timeout" in ended.stderr
    assert ("gone", []) == (urunc.status(), urunc.remains())


def test_a_hook_killed_by_a_signal_is_an_error(urunc: Runtime, hooked: Callable[..., Hooked]) -> None:
    suicide = {"path": "/bin/busybox", "args": ["sh", "-c", "kill -9 $$"]}
    ended = urunc("create", "-b", hooked(createRuntime=[suicide]).path, "c")

    assert (1, True) == (ended.returncode, "signal" in ended.stderr)
    assert [] == urunc.remains()


def test_a_hook_that_is_missing_is_named(urunc: Runtime, hooked: Callable[..., Hooked]) -> None:
    ended = urunc("create", "-b", hooked(createRuntime=[{"path": "/no/hook"}]).path, "c")

    assert 1 == ended.returncode
    assert "/no/hook" in ended.stderr
    assert "no such file or directory" in ended.stderr
    assert [] == urunc.remains()


def test_a_hook_that_writes_much_does_not_block(urunc: Runtime, hooked: Callable[..., Hooked]) -> None:
    noisy = {"path": "/bin/busybox", "args": ["sh", "-c", "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"]}
    noisy["env"] = ["PATH=/bin:/usr/bin"]
    urunc.create(hooked(createRuntime=[noisy]).path)


def test_a_hook_that_does_not_read_its_input_is_no_error(urunc: Runtime, hooked: Callable[..., Hooked]) -> None:
    """Nor one that leaves a process behind which holds its output open."""
    daemon = {"path": "/bin/busybox", "args": ["sh", "-c", "busybox sleep 100 & exit 0"], "env": ["PATH=/bin"]}
    urunc.create(hooked(createRuntime=[daemon]).path)
    (left,) = [pid for pid in orphans() if comm(pid) == "busybox"]
    os.kill(left, signal.SIGKILL)


def test_a_create_runtime_hook_finds_the_network_namespace(
    urunc: Runtime, hooked: Callable[..., Hooked], tmp_path: Path
) -> None:
    """CNI plugins and docker go by /proc/PID/ns/net of the state that they read."""
    script = (
        'pid=$(sed "s/.*\\"pid\\": *\\([0-9]*\\).*/\\1/"); readlink /proc/$pid/ns/net >'
        f"{tmp_path}/net; readlink /proc/$$/ns/net >{tmp_path}/own"
    )
    traced = hooked(
        createRuntime=[{"path": "/bin/busybox", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]
    )
    pid = urunc.create(traced.path)

    assert os.readlink(f"/proc/{pid}/ns/net") == read(tmp_path / "net").strip()
    assert os.readlink("/proc/self/ns/net") == read(tmp_path / "own").strip()


def test_a_create_container_hook_is_in_the_containers_namespaces(
    urunc: Runtime, hooked: Callable[..., Hooked], tmp_path: Path
) -> None:
    """Its path is one of the host's: the root has not changed yet."""
    script = f"for n in net uts ipc mnt pid; do readlink /proc/self/ns/$n; done >{tmp_path}/ns"
    traced = hooked(
        createContainer=[{"path": "/bin/busybox", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]
    )
    pid = urunc.create(traced.path)
    expected = [os.readlink(f"/proc/{pid}/ns/{name}") for name in ("net", "uts", "ipc", "mnt")]

    assert expected == read(tmp_path / "ns").split()[:4]


def test_a_hook_inherits_no_descriptor(urunc: Runtime, hooked: Callable[..., Hooked], tmp_path: Path) -> None:
    script = f"ls /proc/$$/fd >{tmp_path}/fds"
    hooks = [{"path": "/bin/busybox", "args": ["ash", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]
    with socket.socket() as leak:
        urunc.create(hooked(createRuntime=hooks).path, pass_fds=[leak.fileno()])
        leaked = str(leak.fileno())

    assert leaked not in read(tmp_path / "fds").split()


@pytest.mark.parametrize("kind", ["missing", "empty", "cut"])
def test_kept_hooks_that_are_broken_do_not_keep_the_container(urunc: Runtime, bundle: Make, kind: str) -> None:
    """A create that is killed while it writes them leaves such a file: `delete --force` removes everything."""
    urunc.create(bundle(hooks={"poststop": [{"path": "/bin/true"}]}))
    kept = urunc.root / "c" / "hooks.json"
    whole = kept.read_bytes()
    kept.unlink()
    if kind != "missing":
        kept.write_bytes(whole[:20] if kind == "cut" else b"")
    ended = urunc("delete", "--force", "c")
    left = urunc.remains()
    if left:
        kept.write_bytes(whole)  # for the fixture

    assert (0, []) == (ended.returncode, left)
