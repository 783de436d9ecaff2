"""The command lines, environments and habits of real clients (containerd, its CRI plugin, podman and conmon)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.container import Runtime, exit_status, read

Make = Callable[..., Path]


def test_the_command_lines_of_containerd(urunc: Runtime, bundle: Make) -> None:
    """Everything that its runc shim says in the life of a container, in its order (clients.md)."""
    path = bundle()
    log = path / "log.json"

    def runc(*words: object) -> str:
        return urunc.good("--log", log, "--log-format", "json", *words)

    runc("create", "--bundle", path, "--pid-file", path / "init.pid", "c")
    pid = int(read(path / "init.pid"))
    runc("start", "c")
    assert [pid] == json.loads(runc("ps", "--format", "json", "c"))
    runc("kill", "c", "15")
    # QEMU ends by its handler for TERM; before it has one, as pid 1 it would not see the signal, and gets KILL
    assert exit_status(pid) in (0, 137, 143)
    runc("delete", "c")
    runc("delete", "--force", "c")
    assert "" == read(log)
    assert [] == urunc.remains()


def test_the_command_lines_of_containerds_cri_plugin(urunc: Runtime, bundle: Make) -> None:
    """It stops with `kill --all ID 9`, once more after the exit: the status must be 0."""
    pid = urunc.running(bundle())
    urunc.good("kill", "--all", "c", "9")
    assert 137 == exit_status(pid)
    urunc.good("kill", "--all", "c", "9")
    urunc.good("delete", "c")


def test_the_command_lines_of_podman(urunc: Runtime, bundle: Make) -> None:
    """No global options; kill and delete with an environment of XDG_RUNTIME_DIR alone; only ever `delete --force`."""
    path = bundle()
    bare: dict[str, Any] = {"env": {"XDG_RUNTIME_DIR": "/run/user/0"}}
    pipes: dict[str, Any] = {"env": urunc.environment | {"_OCI_SYNCPIPE": "3", "_OCI_STARTPIPE": "4"}}
    urunc.good("create", "--bundle", path, "--pid-file", urunc.directory / "pid", "c", **pipes)
    pid = int(read(urunc.directory / "pid"))
    urunc.good("start", "c", **bare)
    urunc.good("kill", "c", "9", **bare)
    assert 137 == exit_status(pid)
    urunc.good("delete", "--force", "c", **bare)
    urunc.good("delete", "--force", "c", **bare)
    assert [] == urunc.remains()


def test_create_finds_everything_without_an_environment(urunc: Runtime, bundle: Make) -> None:
    urunc.good("create", "--bundle", bundle(), "c", env={})
    urunc.good("start", "c", env={})
    urunc.good("delete", "--force", "c", env={})


def test_the_working_directory_is_not_the_bundle(urunc: Runtime, bundle: Make, tmp_path: Path) -> None:
    """In a pod it is the sandbox's bundle: only --bundle counts."""
    wrong = bundle("sandbox", annotations={"which": "wrong"})
    urunc.good("create", "--bundle", bundle(annotations={"which": "right"}), "c", cwd=wrong)
    state = urunc.state()

    assert (str(tmp_path / "b"), "right") == (state["bundle"], state["annotations"]["which"])


def test_without_a_bundle_the_working_directory_counts(urunc: Runtime, bundle: Make) -> None:
    path = bundle()
    urunc.good("create", "c", cwd=path)

    assert str(path) == urunc.state()["bundle"]


def test_a_relative_bundle_is_that_of_the_caller(urunc: Runtime, bundle: Make) -> None:
    path = bundle()
    urunc.good("create", "-b", ".", "c", cwd=path)
    urunc.good("create", "-b", path.name, "d", cwd=path.parent)

    assert [str(path)] * 2 == [urunc.state("c")["bundle"], urunc.state("d")["bundle"]]


def test_a_working_directory_that_is_gone_stops_nothing(urunc: Runtime, bundle: Make, tmp_path: Path) -> None:
    urunc.create(bundle())
    (tmp_path / "gone").mkdir()
    words = ["sh", "-c", 'rmdir ../gone && exec "$@"', "sh", *urunc.words("delete", "--force", "c")]

    assert (0, "") == ((ended := urunc.run(words, cwd=tmp_path / "gone")).returncode, ended.stderr)


def test_options_may_follow_the_id(urunc: Runtime, bundle: Make) -> None:
    """As contest and runtime-tools write them."""
    urunc.good("create", "c", "--bundle", bundle())
    urunc.good("delete", "c", "--force")


@pytest.mark.parametrize("option", ["--no-pivot", "--no-new-keyring", "--preserve-fds=2"])
def test_options_without_a_meaning_here_are_accepted(urunc: Runtime, bundle: Make, option: str) -> None:
    urunc.create(bundle(), "c", option)


@pytest.mark.parametrize("version", ["1.0.2-dev", "1.0.0", "1.2.1", "1.3.0", "1.99.0", ""])
def test_the_versions_of_all_clients_are_accepted(urunc: Runtime, bundle: Make, version: str) -> None:
    urunc.create(bundle(ociVersion=version))


@pytest.mark.parametrize("name", ["ok_A-1.2+x", "x" * 255, "...", "a" * 64])
def test_ids_of_all_clients_are_accepted(urunc: Runtime, bundle: Make, name: str) -> None:
    urunc.create(bundle(), name)
    urunc.good("start", name)
    urunc.good("delete", "--force", name)


def test_unknown_keys_are_ignored(urunc: Runtime, bundle: Make) -> None:
    """The specification says MUST, of top-level keys and of annotations."""
    urunc.create(bundle(unknown={"a": 1}, annotations={"org.example.x": "y", "com.urunc.unikernel.later": "z"}))
