"""The state directory, list, ps, and what needs no container."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import HOOK_STAGES, Runtime, exit_status

Make = Callable[..., Path]


# --- the state directory


def test_a_root_longer_than_a_socket_address(urunc: Runtime, bundle: Make) -> None:
    """sun_path holds 107 bytes."""
    urunc.root = urunc.directory / ("long" * 50) / "er"
    pid = urunc.create(bundle())
    urunc.good("start", "c")

    assert (True, "running") == (len(str(urunc.root)) > 200, urunc.status())
    urunc.good("kill", "c", "KILL")
    exit_status(pid)
    urunc.good("delete", "c")


def test_nobody_else_may_read_the_state(urunc: Runtime, bundle: Make) -> None:
    urunc.create(bundle())
    directory = urunc.root / "c"

    assert {0o700} == {path.stat().st_mode & 0o777 for path in (urunc.root, directory)}
    assert 0 == sum(path.stat().st_mode & 0o077 for path in directory.iterdir() if not path.is_socket())


def test_list_shows_all_containers(urunc: Runtime, bundle: Make) -> None:
    path = bundle()
    urunc.create(path, "one")
    urunc.running(path, "two")
    urunc.stopped(path, "three")
    rows = {row["id"]: row for row in json.loads(urunc.good("list", "--format", "json"))}
    table = [line.split() for line in urunc.good("list").splitlines()]

    assert {"one": "created", "two": "running", "three": "stopped"} == {i: row["status"] for i, row in rows.items()}
    for name, row in rows.items():
        assert urunc.state(name) == row
    assert ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"] == table[0]
    assert sorted([name, str(row["pid"]), row["status"], str(path)] for name, row in rows.items()) == [
        line[:4] for line in table[1:]
    ]
    assert ["one", "three", "two"] == sorted(urunc.good("list", "-q").split())


def test_a_container_of_an_older_urunc_lives_on(urunc: Runtime, bundle: Make) -> None:
    """Whoever upgrades urunc does not stop what runs: a record of version 1, which had no `overhead`."""
    pid = urunc.create(bundle())
    record = urunc.root / "c" / "record"
    whole = record.read_bytes()
    record.write_bytes(whole[:4] + (1).to_bytes(4, "little") + whole[8:32] + whole[40:])

    assert "created" == urunc.status()
    urunc.good("start", "c")
    assert "running" == urunc.status()
    assert ["c", str(pid), "running"] == urunc.good("list").splitlines()[1].split()[:3]
    urunc.good("kill", "c", "KILL")
    exit_status(pid)
    urunc.good("delete", "c")


def test_a_container_of_a_newer_urunc_is_left_alone(urunc: Runtime, bundle: Make) -> None:
    """Whoever goes back to an older one is told which containers it cannot handle, and can end them."""
    pid = urunc.create(bundle())
    with (urunc.root / "c" / "record").open("r+b") as record:
        record.seek(4)
        record.write((3).to_bytes(4, "little"))
    said = {verb: urunc(verb, "c") for verb in ("state", "start", "kill", "delete", "pause")}

    assert {1} == {ended.returncode for ended in said.values()}
    for ended in said.values():
        assert "record of container c cannot be read (record: of a newer urunc): use that one" in ended.stderr
    urunc.good("delete", "--force", "c")
    exit_status(pid)


def test_an_empty_list(urunc: Runtime) -> None:
    """runc says null, crun []; a client's decoder takes both for no containers."""
    assert ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"] == urunc.good("list").split()
    assert not json.loads(urunc.good("list", "-f", "json"))
    assert "" == urunc.good("list", "-q").strip()


def test_junk_in_the_root_does_not_break_list(urunc: Runtime, bundle: Make) -> None:
    """A broken entry does not hide the others; state and delete say that it is no container."""
    urunc.create(bundle())
    (urunc.root / "junk").mkdir()
    (urunc.root / "file").write_text("x")
    (urunc.root / "a b").mkdir()
    (urunc.root / "cut").mkdir()
    (urunc.root / "cut" / "record").write_bytes(b"x" * 10)

    rows = json.loads(urunc.good("list", "-f", "json"))
    assert {"c": "created", "cut": "unknown"} == {row["id"]: row["status"] for row in rows}
    assert ["c", "cut"] == urunc.good("list", "-q").split()
    assert "gone" == urunc.status("junk")
    assert 1 == urunc("delete", "junk").returncode
    urunc.good("delete", "--force", "junk")
    ended = urunc("state", "cut")
    assert (1, True) == (ended.returncode, "delete --force" in ended.stderr)
    urunc.good("delete", "--force", "cut")
    (urunc.root / "a b").rmdir()
    (urunc.root / "file").unlink()


def test_list_needs_no_fallback_runtime_for_our_own_containers(urunc: Runtime, bundle: Make) -> None:
    """What looks like somebody else's is left out where nobody can be asked."""
    urunc.create(bundle())
    (urunc.root / "theirs").mkdir()
    (urunc.root / "theirs" / "state.json").touch()
    urunc.config.write_text('fallback = "/nonexistent"\n')
    ended = urunc("list", "-q")
    urunc.config.unlink()
    (urunc.root / "theirs" / "state.json").unlink()
    (urunc.root / "theirs").rmdir()

    assert (0, ["c"]) == (ended.returncode, ended.stdout.split())


def test_ps_shows_the_processes_of_the_container(urunc: Runtime, bundle: Make) -> None:
    path = bundle()
    pid = urunc.running(path)
    head, *rows = urunc.good("ps", "c").splitlines()

    assert [pid] == json.loads(urunc.good("ps", "--format", "json", "c"))
    assert ["UID", "PID"] == head.split()[:2]
    assert [str(pid)] == [row.split()[1] for row in rows]
    assert [str(pid)] == [row.split()[0] for row in urunc.good("ps", "c", "-o", "pid,comm").splitlines()[1:]]
    urunc.good("kill", "c", "KILL")
    exit_status(pid)
    assert not json.loads(urunc.good("ps", "--format", "json", "c"))


# --- what needs no container


def test_version_says_what_podman_prints(urunc: Runtime) -> None:
    first, *others = urunc.good("--version").splitlines()

    assert re.fullmatch(r"urunc version \S+", first)
    assert [True] == [bool(re.fullmatch(r"spec: 1\.\d+\.\d+(-dev)?", line)) for line in others if "spec" in line]


def test_features_needs_no_options(urunc: Runtime) -> None:
    """Containerd 2.4 asks once per handler, without global flags."""
    ended = urunc.run([str(urunc.program), "features"])
    features = json.loads(ended.stdout)

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "1.0.0" == features["ociVersionMin"]
    assert set(HOOK_STAGES) == set(features["hooks"])
    assert {"pid", "network", "mount", "ipc", "uts"} <= set(features["linux"]["namespaces"])


def test_spec_writes_a_configuration_once(urunc: Runtime, tmp_path: Path) -> None:
    urunc.good("spec", cwd=tmp_path)
    ended = urunc("spec", cwd=tmp_path)

    assert "ociVersion" in json.loads((tmp_path / "config.json").read_text())
    assert (1, True) == (ended.returncode, "config.json exists" in ended.stderr)


@pytest.mark.parametrize(("words", "status"), [(("bogus",), 3), (("--bogus",), 1), (("state", "--bogus", "x"), 1)])
def test_unknown_words_are_refused(urunc: Runtime, words: tuple[str, ...], status: int) -> None:
    ended = urunc(*words)

    assert (status, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "bogus" in ended.stderr


@pytest.mark.parametrize("verb", ["create", "start", "state", "kill", "delete", "exec", "pause", "ps", "update"])
def test_a_command_without_an_id_is_refused(urunc: Runtime, verb: str) -> None:
    ended = urunc(verb)

    assert ended.returncode in (1, 255)
    assert re.search("requires (exactly|a minimum of) 1 argument", ended.stderr)
