"""Every kind of system call made to fail, at one place after the other: the undo is complete, the error is one line.

strace puts the error in the place of the call, in the runtime, in urunc-init and in hooks.
"""

import errno
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.container import CONFIG, Result, Runtime, merged, orphans, until, write_bundle
from tests.e2e.lan import SPT
from tests.guests import build, spt_build
from tests.torture.rounds import ROUNDS, SEED

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]

# what making, starting and removing a container consists of
CALLS = (
    *("clone3", "unshare", "pidfd_open", "waitid", "socketpair", "socket", "bind", "listen", "connect", "accept4"),
    *("sendmsg", "recvmsg", "memfd_create", "fcntl", "ioctl", "dup2", "dup3", "close_range", "openat", "openat2"),
    *("open_tree", "move_mount", "mount_setattr", "fsopen", "fsconfig", "fsmount", "mount", "umount2", "pivot_root"),
    *("chdir", "fchdir", "mkdirat", "mkdir", "mknodat", "symlinkat", "fchmodat", "renameat", "rename", "write"),
    *("sethostname", "prlimit64", "prctl", "setgroups", "setresuid", "setresgid", "capset", "keyctl", "seccomp"),
    *("execve", "execveat", "unlinkat", "unlink", "rmdir", "pidfd_send_signal"),
)
ERRORS = ("ENOMEM", "EPERM", "EMFILE", "ENOSPC", "EINTR")
# words of an interpreter that could not read a part of our program or of itself: which call that is differs from
# machine to machine, and what it then says is not ours
UNREADABLE = ("zipimport", "ZipImportError", "importlib", "ImportError", "ModuleNotFoundError", "Fatal Python error")
NO_MEANING = {("close_range", "EINTR"), ("recvmsg", "ENOSPC")}  # nobody could tell what to do about it


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A bundle that comes to its end, with hooks on the way."""
    hook = {"path": "/bin/true"}
    stages = ("createRuntime", "createContainer", "poststop")
    annotations = {f"com.urunc.unikernel.{key}": value for key, value in SPT.items()}
    config = merged(CONFIG, {"annotations": annotations, "hooks": {stage: [hook] for stage in stages}})
    return write_bundle(tmp_path / "b", {"guest": spt_build.build(build.default_cache())["hello"]}, config)


def traced(urunc: Runtime, bundle: Path, *options: str) -> Result:
    """`run` under strace, whose own words go to a file."""
    log = urunc.directory / "strace.txt"
    strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(log), *options]
    return urunc.run([*strace, *urunc.words("run", "--bundle", bundle, "c")])


def counts(urunc: Runtime, bundle: Path) -> Counter[str]:
    """How often each call is made when nothing fails."""
    ended = traced(urunc, bundle, "-e", "trace=" + ",".join(CALLS))

    assert 0 == ended.returncode, ended.stderr
    lines = (urunc.directory / "strace.txt").read_text().splitlines()
    return Counter(line.split()[1].partition("(")[0] for line in lines if "(" in line and "resumed>" not in line)


def check_clean(urunc: Runtime, ended: Result, what: str) -> None:
    """Nothing is left, or it goes by `delete --force`; what failed has said so in words for people."""
    if not any(word in ended.stderr for word in UNREADABLE):
        assert "Traceback" not in ended.stderr, f"{what}: {ended.stderr}"
        assert "internal error" not in ended.stderr, f"{what}: {ended.stderr}"
    if ended.returncode:
        assert ended.stderr.strip(), f"{what}: fails without a word"
    urunc.good("delete", "--force", "c")
    assert "gone" == urunc.status(), what
    until(lambda: not orphans(), f"{what}: the end of all processes")
    assert [] == urunc.remains(), what


def test_a_call_that_fails_anywhere_leaves_nothing(urunc: Runtime, path: Path) -> None:
    """A sample of all places of all calls, in the long form a large one."""
    assert shutil.which("strace"), "strace is missing: run ci/setup"
    urunc.good("run", "--bundle", path, "c")
    chance = random.Random(SEED)
    made = counts(urunc, path)
    for call in ("clone3", "mount_setattr", "execveat", "openat", "unlinkat"):
        assert made[call], f"{call} is not seen: strace does not follow"
    places = [
        (call, number, error)
        for call in CALLS
        for number in range(1, made[call] + 1)
        for error in ERRORS
        if (call, error) not in NO_MEANING
    ]
    failed = 0
    for call, number, error in chance.sample(places, min(len(places), ROUNDS)):
        what = f"{call} number {number} of {made[call]} fails by {error}"
        ended = traced(urunc, path, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}")
        failed += ended.returncode != 0
        check_clean(urunc, ended, what)

    assert failed > ROUNDS / 20, "hardly anything has failed: nothing was tried"


SMALL = tuple(f"nr_inodes={count},size=1m" for count in range(2, 11)) + tuple(f"size={4 * n}k" for n in range(1, 9))


@pytest.fixture
def small(urunc: Runtime, request: pytest.FixtureRequest) -> Iterator[Path]:
    """--root on a file system with room for so many files or bytes (a page is the least that a file takes)."""
    urunc.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", urunc.root], check=True)
    yield urunc.root
    subprocess.run(["umount", urunc.root], check=True)


@pytest.mark.parametrize("small", SMALL, indirect=True)
def test_a_full_state_directory(urunc: Runtime, path: Path, small: Path) -> None:
    """Create fails by name and leaves nothing, or there is enough for delete too."""
    ended = urunc("create", "--bundle", path, "c")
    if ended.returncode:
        assert "no space left on device" in ended.stderr
        assert "gone" == urunc.status()
    urunc.good("delete", "--force", "c")
    assert {".lock"} >= set(os.listdir(small))
    until(lambda: not orphans(), "the end of all processes")


@pytest.mark.parametrize("small", ["size=64k", "nr_inodes=16,size=1m"], indirect=True)
@pytest.mark.parametrize("left", range(6))
def test_a_state_directory_that_is_full_when_it_starts(urunc: Runtime, path: Path, small: Path, left: int) -> None:
    """Somebody else fills it up to `left` files of a page each: start works or says why not, delete always works."""
    urunc.create(path)
    others = []
    try:
        for number in range(100):
            others.append(small / f".other{number}")
            others[-1].write_bytes(b"x" * 4096)
    except OSError as error:
        assert errno.ENOSPC == error.errno
    for other in others[: left + 1]:
        other.unlink(missing_ok=True)
    ended = urunc("start", "c")
    assert 0 == ended.returncode or "no space left on device" in ended.stderr
    assert urunc.status() in ("running", "stopped")
    urunc.good("delete", "--force", "c")
    for other in others[left + 1 :]:
        other.unlink(missing_ok=True)
    assert {".lock"} >= set(os.listdir(small))
    until(lambda: not orphans(), "the end of all processes")


def test_few_descriptors_are_an_error_or_enough(urunc: Runtime, path: Path) -> None:
    outcomes = set()
    for limit in (*range(4, 100, 4), 128):
        words = urunc.words("create", "--bundle", path, "c")
        ended = urunc.run(["prlimit", f"--nofile={limit}", *words])
        outcomes.add(ended.returncode == 0)
        if ended.returncode:
            assert "gone" == urunc.status(), f"{limit} descriptors: {ended.stderr}"
        check_clean(urunc, ended, f"{limit} descriptors")

    assert {True, False} == outcomes


def test_little_memory_is_an_error_or_enough(urunc: Runtime, path: Path) -> None:
    outcomes = set()
    for limit_kib in (*range(8 << 10, 16 << 10, 512), *range(16 << 10, 64 << 10, 4 << 10), 4 << 20):
        words = urunc.words("create", "--bundle", path, "c")
        ended = urunc.run(["prlimit", f"--as={limit_kib << 10}", *words])
        outcomes.add(ended.returncode == 0)
        if ended.returncode:
            assert "gone" == urunc.status(), f"{limit_kib} KiB: {ended.stderr}"
            assert 1 == ended.returncode, f"{limit_kib} KiB: {ended.stderr}"
            assert ended.stderr.count("\n") == 1, f"{limit_kib} KiB: {ended.stderr}"
            urunc.good("delete", "--force", "c")
            assert [] == urunc.remains()
        urunc.good("delete", "--force", "c")

    assert True in outcomes
