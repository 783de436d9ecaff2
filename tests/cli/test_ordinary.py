"""Ordinary containers: the fallback runtime is given them, with all their later commands."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import PATH, UNIKERNEL, Runtime, comm, exit_status, read

Make = Callable[..., Path]


@pytest.fixture
def ordinary(bundle: Make) -> Path:
    """A bundle that runc can run: busybox, and nothing of a unikernel."""
    mounts = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    path = bundle(args=("/bin/busybox", "sleep", "1000"), annotations=None, mounts=mounts)
    (path / "rootfs" / "bin").mkdir()
    (path / "rootfs" / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (path / "rootfs" / "bin" / "busybox").chmod(0o755)
    return path


def test_an_ordinary_container_is_the_fallback_runtimes(urunc: Runtime, ordinary: Path) -> None:
    """With all its later commands, in podman's way and in containerd's."""
    pid_file = urunc.directory / "pid"
    urunc.good("create", "--bundle", ordinary, "--pid-file", pid_file, "c")
    pid = int(read(pid_file))
    assert ("created", pid) == ((state := urunc.state())["status"], state["pid"])
    assert not (urunc.root / "c" / "record").exists()
    urunc.good("start", "c")
    assert "running" == urunc.status()
    assert "busybox" == comm(pid)
    assert "here\n" == urunc.good("exec", "c", "/bin/busybox", "echo", "here")
    assert 7 == urunc("exec", "c", "/bin/busybox", "sh", "-c", "exit 7").returncode
    assert [pid] == json.loads(urunc.good("ps", "--format", "json", "c"))
    assert "cannot delete container" in urunc("delete", "c").stderr
    urunc.good("kill", "c", "KILL")
    assert 137 == exit_status(pid)
    assert "stopped" == urunc.status()
    urunc.good("delete", "c")
    urunc.good("delete", "--force", "c")
    assert ("gone", []) == (urunc.status(), urunc.remains())


def test_the_fallback_needs_no_environment(urunc: Runtime, ordinary: Path) -> None:
    urunc.good("create", "--bundle", ordinary, "c")
    urunc.good("kill", "c", "9", env={"XDG_RUNTIME_DIR": "/run/user/0"})
    urunc.good("delete", "--force", "c", env={"XDG_RUNTIME_DIR": "/run/user/0"})


def test_list_merges_both_kinds(urunc: Runtime, bundle: Make, ordinary: Path) -> None:
    urunc.good("create", "--bundle", ordinary, "theirs")
    ours = bundle("ours")
    urunc.create(ours, "ours")

    assert ["ours", "theirs"] == sorted(urunc.good("list", "-q").split())
    rows = {row["id"]: row["status"] for row in json.loads(urunc.good("list", "-f", "json"))}
    assert {"ours": "created", "theirs": "created"} == rows


def test_the_id_of_an_ordinary_container_is_taken(urunc: Runtime, bundle: Make, ordinary: Path) -> None:
    urunc.good("create", "--bundle", ordinary, "c")
    ended = urunc("create", "--bundle", bundle("ours"), "c")
    assert (1, True) == (ended.returncode, "container with given ID already exists" in ended.stderr)
    assert "created" == urunc.status()
    urunc.good("delete", "c")
    urunc.create(bundle("again"), "c")
    ended = urunc("create", "--bundle", ordinary, "c")
    assert (1, True) == (ended.returncode, "container with given ID already exists" in ended.stderr)
    assert "created" == urunc.status()


def test_a_pods_sandbox_is_ordinary_whatever_its_annotations_say(urunc: Runtime, ordinary: Path) -> None:
    """The pod's annotations reach the pause container too."""
    config = json.loads((ordinary / "config.json").read_text())
    config["annotations"] = UNIKERNEL | {"io.kubernetes.cri.container-type": "sandbox"}
    (ordinary / "config.json").write_text(json.dumps(config))
    urunc.good("create", "--bundle", ordinary, "c")

    assert not (urunc.root / "c" / "record").exists()
    assert "created" == urunc.status()


def test_an_error_of_the_fallback_is_the_clients(urunc: Runtime, ordinary: Path) -> None:
    log = urunc.directory / "log.json"
    config = json.loads((ordinary / "config.json").read_text())
    config["process"]["args"] = ["/nope"]
    (ordinary / "config.json").write_text(json.dumps(config))
    ended = urunc("--log", log, "--log-format", "json", "create", "--bundle", ordinary, "c")

    assert 1 == ended.returncode
    assert "error" in [json.loads(line)["level"] for line in read(log).splitlines()]
    assert [] == urunc.remains()


@pytest.mark.parametrize(
    ("text", "expected"),
    [('fallback = "/nonexistent/runc"', "/nonexistent/runc"), ('fallback = "{self}"', "urunc itself")],
)
def test_a_fallback_that_cannot_be_is_refused(urunc: Runtime, ordinary: Path, text: str, expected: str) -> None:
    """One that is urunc itself would call itself for ever."""
    urunc.config.write_text(text.format(self=urunc.program) + "\n")
    ended = urunc("create", "--bundle", ordinary, "c")

    assert (1, True) == (ended.returncode, expected in ended.stderr)
    assert [] == urunc.remains()


def test_a_client_that_finds_us_as_runc_does_not_recurse(urunc: Runtime, ordinary: Path, tmp_path: Path) -> None:
    """A directory with `runc -> urunc` stands first on PATH (ci/containerd-shim-urunc-v2)."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "runc").symlink_to(urunc.program)
    environment = urunc.environment | {"PATH": f"{tmp_path}/bin:{PATH}"}
    command = ["runc", "--root", str(urunc.root)]
    ended = urunc.run([*command, "create", "--bundle", str(ordinary), "c"], env=environment)

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "created" == urunc.status()
