"""The process monitor in a mount namespace that is not the container's: the caller's, or one that is joined."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_process_monitor import make, process
from tests.container import Runtime, read

__all__ = ["process"]

# hidden in nothing, so that it may be in a mount namespace of others
OPEN: dict[str, Any] = {"maskedPaths": None, "readonlyPaths": None}
SLEEP = "while :; do sleep 1000; done"


def kinds(*mount: dict[str, str]) -> dict[str, Any]:
    return {"hostname": None, "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, *mount], **OPEN}}


def mounts(directory: Path, pid: int | str = "self") -> list[str]:
    """Return what is mounted on / and below `directory` in the mount namespace of `pid`; tests beside us mount too."""
    rows = read(Path(f"/proc/{pid}/mountinfo")).splitlines()
    return [row for row in rows if row.split()[4] == "/" or row.split()[4].startswith(str(directory))]


def namespace(pid: int | str = "self") -> str:
    return os.readlink(f"/proc/{pid}/ns/mnt")


@pytest.fixture
def other() -> Iterator[int]:
    """The pid of a process with a mount namespace of its own, in which there is what is on the host."""
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", "echo ready; exec sleep 1000"], stdout=-1) as holder:
        assert holder.stdout
        assert b"ready\n" == holder.stdout.readline()
        yield holder.pid
        holder.kill()


def test_without_a_mount_namespace_it_is_in_the_callers(process: Runtime) -> None:
    """And nothing of it is to be seen there: not before start, not while it runs, not afterwards."""
    before = mounts(process.directory)
    pid = process.create(make(process, SLEEP, **kinds()))

    assert (namespace(), before) == (namespace(pid), mounts(process.directory))
    process.good("start", "c")
    assert (namespace(), before) == (namespace(pid), mounts(process.directory))
    process.good("delete", "--force", "c")
    assert before == mounts(process.directory)


def test_its_root_is_all_it_sees(process: Runtime) -> None:
    """Its mounts are there, and `..` does not lead out."""
    script = 'cd /proc/..; cd ../../..; ls; cat /proc/mounts; readlink /proc/self/cwd; test -c dev/null && echo "$$"'
    ended = process("run", "--bundle", make(process, script, **kinds()), "b")

    assert (0, "") == (ended.returncode, process.unwarned(ended.stderr))
    assert ["bin", "dev", "proc", "/", "1"] == ended.stdout.splitlines()


def test_exec_has_the_root_of_the_container(process: Runtime) -> None:
    """That of the namespace is the host's."""
    pid = process.running(make(process, SLEEP, **kinds()))

    assert ["bin", "dev", "proc"] == process.good("exec", "c", "ls", "/").split()
    assert namespace(pid) == process.good("exec", "c", "readlink", "/proc/self/ns/mnt").strip()


def test_one_that_is_named_is_joined_and_left_as_it_is(process: Runtime, other: int) -> None:
    before = mounts(process.directory, other)
    root = os.stat(f"/proc/{other}/root")
    joined = {"type": "mount", "path": f"/proc/{other}/ns/mnt"}
    pid = process.running(make(process, SLEEP, **kinds(joined)))

    assert namespace() != namespace(pid)
    assert (namespace(other), before) == (namespace(pid), mounts(process.directory, other))
    assert ["bin", "dev", "proc"] == process.good("exec", "c", "ls", "/").split()
    process.good("delete", "--force", "c")
    assert before == mounts(process.directory, other)
    assert os.path.samestat(root, os.stat(f"/proc/{other}/root"))


def test_what_fails_behind_the_mounts_leaves_none(process: Runtime) -> None:
    before = mounts(process.directory)
    hooks = {"createContainer": [{"path": "/bin/false"}]}
    ended = process("create", "--bundle", make(process, SLEEP, hooks=hooks, **kinds()), "c")

    assert (1, before, []) == (ended.returncode, mounts(process.directory), process.remains())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"linux": {"rootfsPropagation": "shared"}}, "linux.rootfsPropagation takes a mount namespace"),
        (
            {"mounts": [{"destination": "/t", "type": "tmpfs", "source": "t", "options": ["unbindable"]}]},
            "unbindable takes a mount namespace",
        ),
    ],
)
def test_what_others_would_notice_is_refused(process: Runtime, changes: dict[str, Any], words: str) -> None:
    wanted = kinds()
    linux = {**wanted.pop("linux"), **changes.pop("linux", {})}
    ended = process("create", "--bundle", make(process, SLEEP, linux=linux, **changes, **wanted), "c")

    assert (1, []) == (ended.returncode, process.remains())
    assert words in ended.stderr
