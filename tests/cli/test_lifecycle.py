"""What create leaves for its client, the signals that end a container, and what goes with it."""

import os
import re
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import UNIKERNEL, Runtime, alive, comm, exit_status, process_state, read, until

Make = Callable[..., Path]


# --- what create leaves for its client


def test_the_pid_file_holds_the_number_alone(urunc: Runtime, bundle: Make) -> None:
    pid_file = urunc.directory / "pid"
    pid = urunc.create(bundle(), "c", "--pid-file", pid_file)

    assert (str(pid), 0o644) == (read(pid_file), pid_file.stat().st_mode & 0o7777)
    assert "urunc:[1:init]" == comm(pid)


def test_the_pid_file_replaces_an_old_one(urunc: Runtime, bundle: Make) -> None:
    pid_file = urunc.directory / "pid"
    pid_file.write_text("a longer text than any process id")
    pid = urunc.create(bundle(), "c", "--pid-file", pid_file)

    assert str(pid) == read(pid_file)
    assert [] == [name for name in os.listdir(urunc.directory) if name.startswith(".pid")]


def test_the_state_has_what_the_specification_and_runc_have(urunc: Runtime, bundle: Make) -> None:
    path = bundle()
    pid = urunc.create(path)
    state = urunc.state()
    created = state.pop("created")

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", created)
    assert re.fullmatch(r"1\.\d+\.\d+(-dev)?", state.pop("ociVersion"))
    assert {
        "id": "c",
        "pid": pid,
        "status": "created",
        "bundle": str(path),
        "rootfs": str(path / "rootfs"),
        "annotations": UNIKERNEL,
        "owner": "root",
    } == state


def test_annotations_come_back_as_they_were_given(urunc: Runtime, bundle: Make) -> None:
    given = {"quote": '"\\', "line": "a\nb", "unicode": "é漢\U0001f980", "empty": "", "control": "\x01\x7f"}
    given |= {'k"e\ny': "v"}
    urunc.create(bundle(annotations=given))

    assert UNIKERNEL | given == urunc.state()["annotations"]


def test_a_bundle_of_an_odd_name_comes_back_as_it_is(urunc: Runtime, bundle: Make) -> None:
    path = bundle('b ,=:"\\é\n')
    urunc.running(path)

    assert str(path) == urunc.state()["bundle"]


def test_the_status_is_that_of_the_process_as_it_is_now(urunc: Runtime, bundle: Make) -> None:
    """No command of ours has run when the process ends: dead, or a zombie that nobody has reaped, is stopped."""
    path = bundle()
    pid = urunc.create(path)
    assert "created" == urunc.status()
    urunc.good("start", "c")
    assert "running" == urunc.status()
    os.kill(pid, signal.SIGKILL)
    until(lambda: process_state(pid) == "Z", "a zombie")
    state = urunc.state()
    assert ("stopped", 0) == (state["status"], state["pid"])
    os.waitpid(pid, 0)
    assert "stopped" == urunc.status()
    urunc.good("delete", "c")


def test_the_bundle_may_go_before_the_container(urunc: Runtime, bundle: Make) -> None:
    """What state and delete need is kept."""
    path = bundle()
    pid = urunc.create(path)
    path.rename(path.parent / "elsewhere")
    assert "created" == urunc.status()
    os.kill(pid, signal.SIGKILL)
    exit_status(pid)
    assert "stopped" == urunc.status()
    urunc.good("delete", "c")


def test_nothing_is_written_to_the_rootfs(urunc: Runtime, bundle: Make) -> None:
    path = bundle()
    before = sorted(os.listdir(path / "rootfs"))
    urunc.running(path)
    urunc.good("delete", "--force", "c")

    assert before == sorted(os.listdir(path / "rootfs"))


def test_a_rootfs_that_cannot_be_written_is_enough(urunc: Runtime, bundle: Make) -> None:
    path = bundle(root={"readonly": True})
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    command = ["unshare", "-m", "sh", "-ec", mount, str(path / "rootfs")]

    for words in (("create", "--bundle", str(path), "c"), ("start", "c")):
        ended = urunc.run([*command, *urunc.words(*words)])
        assert (0, "") == (ended.returncode, ended.stderr)


def test_a_removed_container_can_be_made_again(urunc: Runtime, bundle: Make) -> None:
    path = bundle()
    pids = []
    for _ in range(3):
        pids.append(urunc.create(path))
        urunc.good("delete", "c")

    assert 3 == len(set(pids))


def test_two_containers_of_one_bundle_are_two(urunc: Runtime, bundle: Make) -> None:
    path = bundle()
    one, two = urunc.create(path, "one"), urunc.create(path, "two")
    urunc.good("delete", "one")

    assert [False, True] == [alive(one), alive(two)]


def test_two_creates_of_one_id_make_one_container(urunc: Runtime, bundle: Make) -> None:
    """Whichever comes first wins, the others say why."""
    path = bundle()
    words = urunc.words("create", "--bundle", path, "c")
    errors = [urunc.directory / f"race.{number}" for number in range(4)]
    creates = []
    for error in errors:
        with error.open("wb") as stderr:
            creates.append(urunc.begin(words, stdout=subprocess.DEVNULL, stderr=stderr))
    statuses = [create.wait(20) for create in creates]

    assert [0, 1, 1, 1] == sorted(statuses)
    for status, error in zip(statuses, errors, strict=True):
        assert (status == 1) == ("container with given ID already exists" in read(error))
    assert "created" == urunc.status()


def test_start_after_create_never_gets_lost(urunc: Runtime, bundle: Make) -> None:
    """Ten at once after another: the Go urunc loses about one of ten."""
    path = bundle()
    for number in range(10):
        pid = urunc.create(path)
        urunc.good("start", "c")
        assert ("running", number) == (urunc.status(), number)
        urunc.good("delete", "--force", "c")
        assert not alive(pid)


# --- signals


DEADLY = ["TERM", "SIGTERM", "sigterm", "term", "15", "INT", "HUP", "QUIT", "USR1", "KILL", "9"]


@pytest.mark.parametrize("name", DEADLY)
def test_a_waiting_container_dies_of_a_signal(urunc: Runtime, bundle: Make, name: str) -> None:
    """Though it is pid 1 of its namespace, where a signal without a handler is not seen."""
    pid = urunc.create(bundle())
    urunc.good("kill", "c", name)
    short = name.upper().removeprefix("SIG")
    number = int(name) if name.isdigit() else getattr(signal, f"SIG{short}")

    assert 128 + number == exit_status(pid)
    assert "stopped" == urunc.status()
    urunc.good("delete", "c")


def test_kill_without_a_signal_is_term(urunc: Runtime, bundle: Make) -> None:
    pid = urunc.create(bundle())
    urunc.good("kill", "c")

    assert 143 == exit_status(pid)


@pytest.mark.parametrize("name", ["0", "WINCH", "winch", "28", "CONT", "CHLD", "URG"])
def test_a_signal_that_is_not_deadly_does_not_kill(urunc: Runtime, bundle: Make, name: str) -> None:
    pid = urunc.create(bundle())
    urunc.good("kill", "c", name)

    assert ("created", True) == (urunc.status(), alive(pid))


@pytest.mark.parametrize("name", ["TERM", "HUP", "QUIT", "37", "64", "USR2"])
def test_a_running_container_dies_of_a_signal(urunc: Runtime, bundle: Make, name: str) -> None:
    """Whether the monitor has a handler or, as pid 1, would not see the signal."""
    pid = urunc.running(bundle())
    urunc.good("kill", "c", name)
    exit_status(pid)

    assert "stopped" == urunc.status()


def test_delete_removes_a_created_container(urunc: Runtime, bundle: Make) -> None:
    """Containerd relies on it, without --force."""
    pid = urunc.create(bundle())
    urunc.good("delete", "c")

    assert ("gone", False, []) == (urunc.status(), alive(pid), urunc.remains())


def test_delete_force_ends_a_running_container(urunc: Runtime, bundle: Make) -> None:
    pid = urunc.running(bundle())
    urunc.good("delete", "--force", "c")

    assert ("gone", False, []) == (urunc.status(), alive(pid), urunc.remains())


def test_a_pid_that_is_somebody_elses_by_now_is_not_signalled(urunc: Runtime, bundle: Make) -> None:
    """The record names pid and start time: a record with our own pid and another start time means nobody."""
    pid = urunc.create(bundle())
    record = urunc.root / "c" / "record"
    time.sleep(0.05)  # start times count in ticks of 10 ms
    victim = subprocess.Popen(["sleep", "100"])
    content = record.read_bytes()
    assert 1 == content.count(struct.pack("=q", pid))
    record.write_bytes(content.replace(struct.pack("=q", pid), struct.pack("=q", victim.pid)))

    assert "stopped" == urunc.status()
    assert 1 == urunc("kill", "c", "KILL").returncode
    urunc.good("delete", "--force", "c")
    assert victim.poll() is None
    victim.kill()
    victim.wait()
    assert not alive(pid)  # by the journal
