"""The state directory: whose a container is, its lock, its record, and the documents that clients read."""

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.cgroups import hierarchies
from tests.unit.test_plan import SPEC

from urunc import _fastpath, hooks, state
from urunc._fastpath import Json
from urunc._record import replace
from urunc.errors import StateError
from urunc.spec import Hook


@pytest.fixture
def container(tmp_path: Path) -> Iterator[state.Container]:
    with state.create(str(tmp_path / "r"), "c") as made:
        yield made


def own_process() -> tuple[int, int]:
    """Our pid and start time, proc_pid_stat(5)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return os.getpid(), int(fields[19])


def write(container: state.Container, status: str = "created", pid: int = 0, start_time: int = 0) -> None:
    _fastpath.write_state(container.fd, status, pid, start_time, 0, state.document(SPEC, container.id))


@contextmanager
def descriptors(spare: int) -> Iterator[None]:
    """Only so many more can be had."""
    free = [os.open(os.devnull, os.O_RDONLY) for _ in range(spare + 1)]
    for fd in free:
        os.close(fd)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[spare], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_new_container_is_nobodys_until_it_has_a_record(container: state.Container) -> None:
    """What a create that was killed at once leaves is no container."""
    assert "nobody" == container.owner()
    write(container)
    assert "urunc" == container.owner()


@pytest.mark.parametrize(
    ("files", "owner"),
    [
        ((), "nobody"),
        (("record.new",), "nobody"),
        (("record",), "urunc"),
        (("record", "journal"), "urunc"),
        (("state.json",), "fallback"),
        (("status", "config.json"), "fallback"),
        (("record.new", "state.json"), "fallback"),
    ],
)
def test_the_files_say_whose_a_container_is(container: state.Container, files: tuple[str, ...], owner: str) -> None:
    for name in files:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=container.fd))

    assert owner == container.owner()
    for name in files:
        os.unlink(name, dir_fd=container.fd)


def test_a_container_that_is_not_there_is_nobodys(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with state.open_(str(root), "c", locked=False) as found:
            assert ("nobody", -1) == (found.owner(), found.fd)
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_what_is_no_directory_is_no_container(tmp_path: Path, kind: str) -> None:
    """A symlink is not followed to wherever it leads."""
    if kind == "file":
        (tmp_path / "c").touch()
    else:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "record").touch()
        (tmp_path / "c").symlink_to("elsewhere")
    with state.open_(str(tmp_path), "c", locked=False) as found:
        assert "nobody" == found.owner()


def test_an_id_is_given_once(container: state.Container, tmp_path: Path) -> None:
    write(container)
    os.close(container.lock_fd)
    container.lock_fd = -1
    with pytest.raises(StateError, match="container with given ID already exists: c"):
        state.create(str(tmp_path / "r"), "c")


def test_what_a_killed_create_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir(mode=0o700)
    (tmp_path / "c" / "record.new").write_text("half")
    with state.create(str(tmp_path), "c") as made:
        assert [] == os.listdir(made.fd)


def test_a_lock_is_held_by_one(container: state.Container, tmp_path: Path) -> None:
    """Of one id; another is free, and closing gives it back."""
    root_fd = os.open(tmp_path / "r", os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        _fastpath.lock(root_fd, "c", 0)
    os.close(_fastpath.lock(root_fd, "d", 0))
    os.close(container.lock_fd)
    container.lock_fd = -1
    os.close(_fastpath.lock(root_fd, "c", 0))
    os.close(root_fd)


def test_a_busy_container_is_said_to_be_busy(
    container: state.Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LOCK_TIMEOUT_MS", 20)
    with pytest.raises(StateError, match="container c is busy"):
        state.open_(str(tmp_path / "r"), "c", locked=True)


def test_a_create_that_is_at_work_is_creating(container: state.Container, tmp_path: Path) -> None:
    """One whose lock nobody holds any more has stopped."""
    write(container, "creating")
    with state.open_(str(tmp_path / "r"), "c", locked=False) as other:
        assert "creating" == other.status(other.record())
    os.close(container.lock_fd)
    container.lock_fd = -1
    with state.open_(str(tmp_path / "r"), "c", locked=False) as other:
        assert "stopped" == other.status(other.record())


def test_the_status_is_judged_by_the_process(container: state.Container) -> None:
    """Pid and start time: this process is none of ours, but it lives."""
    pid, start_time = own_process()
    for given, expected in (((pid, start_time), "running"), ((pid, start_time + 1), "stopped"), ((0, 0), "stopped")):
        write(container, "created", *given)
        assert expected == container.record().status()
    write(container, "created", -1, start_time)
    assert "stopped" == container.record().status()


@pytest.mark.parametrize("number", [9, 15])
def test_nobody_is_signalled_by_a_record_of_nobody(container: state.Container, number: int) -> None:
    """Above all not -1, which is everybody, and not 0, which is our own process group."""
    _, start_time = own_process()
    for pid in (-1, 0, os.getpid()):
        write(container, "created", pid, start_time + 1 if pid > 0 else 0)
        with pytest.raises(ProcessLookupError):
            container.record().kill(number)
        container.record().end()


def test_the_record_comes_back_as_it_was_written(container: state.Container) -> None:
    """Pid 0 when stopped; JSON whatever is in it."""
    spec = replace(SPEC, bundle='/b "\\\n\udcff é', annotations=Json('{"a\\tb": "\\u0001", "é":\n"é"}'.encode()))
    _fastpath.write_state(container.fd, "created", 42, 7, _fastpath.FLAG_HOOKS, state.document(spec, "c"))
    record = container.record()
    document = json.loads(record.json("running"))

    assert (42, 7, _fastpath.FLAG_HOOKS) == (record.pid, record.start_time, record.flags)
    assert ("c", 42, "running", {"a\tb": "\x01", "é": "é"}) == tuple(
        document[key] for key in ("id", "pid", "status", "annotations")
    )
    assert spec.bundle == document["bundle"]
    assert 0 == json.loads(record.json("stopped"))["pid"]


def test_the_state_document_lies_beside_the_record_for_people(container: state.Container) -> None:
    write(container)
    fd = os.open("state.json", os.O_RDONLY, dir_fd=container.fd)
    with open(fd) as file:
        assert "created" == json.load(file)["status"]
    assert {"record", "state.json"} == set(os.listdir(container.fd))


def test_a_broken_record_says_how_to_get_rid_of_it(container: state.Container) -> None:
    """At whatever byte it is cut, or grown, or of another version."""
    write(container)
    fd = os.open("record", os.O_RDWR, dir_fd=container.fd)
    whole = os.read(fd, 1 << 16)
    broken = [whole[:size] for size in range(len(whole))]
    broken += [whole + b"x", b"XXXX" + whole[4:], whole[:4] + b"\xff" + whole[5:], b"\xff" * len(whole)]
    for content in broken:
        os.ftruncate(fd, 0)
        os.pwrite(fd, content, 0)
        with pytest.raises(StateError, match="delete --force"):
            container.record()
    os.close(fd)


def test_a_record_of_an_older_version_is_read(container: state.Container) -> None:
    """Containers outlive an upgrade.  Version 1 did not say what of the limits is the monitor's: the default then."""
    write(container)
    fd = os.open("record", os.O_RDWR, dir_fd=container.fd)
    now = container.record()
    whole = os.read(fd, 1 << 16)
    older = whole[:4] + (1).to_bytes(4, "little") + whole[8:32] + whole[40:]
    os.ftruncate(fd, 0)
    os.pwrite(fd, older, 0)
    os.close(fd)
    then = container.record()

    assert (2).to_bytes(4, "little") == whole[4:8]
    assert (now.pid, now.start_time, now.json("running")) == (then.pid, then.start_time, then.json("running"))
    assert 128 << 20 == then.overhead_bytes


def test_a_record_of_a_newer_version_says_so(container: state.Container) -> None:
    """After a downgrade: nothing is guessed."""
    write(container)
    fd = os.open("record", os.O_RDWR, dir_fd=container.fd)
    os.pwrite(fd, (3).to_bytes(4, "little"), 4)
    os.close(fd)

    with pytest.raises(StateError, match=r"of a newer urunc\): use that one for it, or remove it by delete --force"):
        container.record()


def test_a_record_that_is_a_symlink_is_not_followed(container: state.Container, tmp_path: Path) -> None:
    write(container)
    os.rename("record", tmp_path / "elsewhere", src_dir_fd=container.fd)
    os.symlink(tmp_path / "elsewhere", "record", dir_fd=container.fd)
    with pytest.raises(StateError):
        container.record()


def test_remove_leaves_a_file_of_somebody_else(container: state.Container, tmp_path: Path) -> None:
    """And says so: what we did not make, we do not remove."""
    write(container)
    (tmp_path / "r" / "c" / "theirs").touch()
    with pytest.raises(OSError, match="c"):
        container.remove()
    assert ["theirs"] == os.listdir(tmp_path / "r" / "c")
    (tmp_path / "r" / "c" / "theirs").unlink()
    container.remove()
    container.remove()
    assert [".lock"] == os.listdir(tmp_path / "r")


def test_the_hooks_that_start_and_delete_need_are_kept(container: state.Container) -> None:
    hook = Hook(path="/bin/true", args=("true", 'a "b"'), env=("A=é",), timeout_s=3)
    state.write_hooks(container, replace(SPEC, poststop=(hook,), annotations=Json(b'{"a": "b"}')))
    row = {"path": "/bin/true", "args": ["true", 'a "b"'], "env": ["A=é"], "timeout": 3}

    assert {
        "bundle": "/b",
        "version": "1.0.2",
        "annotations": {"a": "b"},
        "poststart": [],
        "poststop": [row],
    } == hooks.load(container.fd)


JOURNALS = [
    "",
    "process 0 0\n",
    "process -1 0\n",
    "process\n",
    "process x y\n",
    "process 999999999 1\n",
    "nothing that is known\n",
    "process 1",
    "\n\n\n",
    "x" * 5000 + "\n",
]


@pytest.mark.parametrize("text", JOURNALS, ids=lambda text: repr(text[:20]))
def test_a_journal_of_nothing_is_undone_without_harm(container: state.Container, text: str) -> None:
    """A line without its end was cut by a crash."""
    fd = os.open("journal", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=container.fd)
    os.write(fd, text.encode())
    os.close(fd)
    _fastpath.undo(container.fd)

    assert [] == os.listdir(container.fd)


def test_undo_does_not_end_a_process_that_only_has_the_pid(container: state.Container) -> None:
    pid, start_time = own_process()
    fd = os.open("journal", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=container.fd)
    os.write(fd, f"process {pid} {start_time - 1}\n".encode())
    os.close(fd)
    _fastpath.undo(container.fd)  # we are still here


def test_a_process_that_nobody_can_look_at_has_not_ended(container: state.Container) -> None:
    """A service that runs out of descriptors takes no container for stopped, nor for one without a network."""
    write(container, "created", *own_process())
    record = container.record()
    with descriptors(0):
        status, has_links = record.status(), _fastpath.has_links(0)
    with descriptors(1), pytest.raises(OSError, match="Too many open files"):
        record.open_process()

    assert ("running", True) == (status, has_links)
    assert not _fastpath.has_links(0)


@pytest.mark.skipif(not hierarchies(), reason="there are no control groups")
def test_a_cgroup_that_nobody_can_look_at_stays_in_the_journal(container: state.Container) -> None:
    """One in use, of which it is not known whose it is."""
    controllers, (mount, _) = next(iter(hierarchies().items()))
    fd = os.open("journal", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=container.fd)
    os.write(fd, f"cgroup {controllers or 'cgroup2'} 1 {mount}\n".encode())
    os.close(fd)
    with descriptors(1), pytest.raises(OSError, match="Too many open files") as caught:
        _fastpath.undo(container.fd)
    kept = os.listdir(container.fd)
    _fastpath.undo(container.fd)

    assert errno.EMFILE == caught.value.errno
    assert ["journal"] == kept
    assert [] == os.listdir(container.fd)
