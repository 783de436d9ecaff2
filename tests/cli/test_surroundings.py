"""Callers that leave odd things behind in the process they start us in: none of it decides what a container is."""

import ctypes
import errno
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.container import (
    CONFIG,
    HOOK_STAGES,
    Runtime,
    catches,
    exit_status,
    merged,
    orphans,
    until,
    write_bundle,
)
from tests.e2e.lan import SPT
from tests.guests import build, spt_build

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64")

Make = Callable[..., Path]
HOOKS = {stage: [{"path": "/bin/true"}] for stage in HOOK_STAGES if stage != "startContainer"}
EVERY = set(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}  # 32 and 33 are libc's own
ANNOTATIONS = {f"com.urunc.unikernel.{key}": value for key, value in SPT.items()}


@pytest.fixture
def guest(tmp_path: Path) -> Make:
    """Makes bundles: of a guest that stays, unless another one is named."""

    def make(name: str = "wait", word: str = "sleep", **changes: Any) -> Path:
        config = merged(CONFIG, {"annotations": ANNOTATIONS, "process": {"args": [word]}})
        files = {"guest": spt_build.build(build.default_cache())[name]}
        return write_bundle(tmp_path / name, files, merged(config, changes))

    return make


def ignore_all() -> None:
    for number in EVERY:
        signal.signal(number, signal.SIG_IGN)


def close_streams() -> None:
    os.closerange(0, 3)


def stand_nowhere(directory: Path) -> None:
    """Have a working directory that has been removed."""
    directory.mkdir(exist_ok=True)
    os.chdir(directory)
    directory.rmdir()


SURROUNDINGS: dict[str, Callable[[], object]] = {
    "no SIGCHLD": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "every signal ignored": ignore_all,
    "every signal blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, EVERY),
    "nobody may read": lambda: os.umask(0o777),
    "no streams": close_streams,
    "no input": lambda: os.close(0),
    "no directory": lambda: stand_nowhere(Path("gone").absolute()),
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_life_is_the_same(urunc: Runtime, guest: Make, name: str) -> None:
    """With hooks, whose end has to be heard of, and a monitor that is not root's and has to read its root."""
    path = guest(hooks=HOOKS, process={"user": {"uid": 1000, "gid": 1000}})
    odd: dict[str, Any] = {"preexec_fn": SURROUNDINGS[name]}
    urunc.good("create", "--bundle", path, "c", **odd)
    pid = int(urunc.state()["pid"])
    urunc.good("start", "c", **odd)
    urunc.good("state", "c", **odd)
    until(lambda: catches(pid, signal.SIGTERM), "the monitor handles SIGTERM")
    urunc.good("kill", "c", "TERM", **odd)

    assert 128 + signal.SIGTERM == exit_status(pid)
    urunc.good("delete", "c", **odd)


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_run_returns_the_guests_status(urunc: Runtime, guest: Make, name: str) -> None:
    ended = urunc("run", "--bundle", guest("exit", "7"), "c", preexec_fn=SURROUNDINGS[name])

    assert (7, "") == (ended.returncode, ended.stderr)


def test_run_hears_signals_that_its_caller_has_blocked(urunc: Runtime, guest: Make) -> None:
    """As runc does, which is a Go program: they are for the container."""
    process = urunc.begin(urunc.words("run", "--bundle", guest(), "c"), preexec_fn=SURROUNDINGS["every signal blocked"])
    until(lambda: "running" == urunc.status(), "the guest runs")
    pid = int(urunc.state()["pid"])
    until(lambda: catches(pid, signal.SIGTERM), "the monitor handles SIGTERM")
    process.send_signal(signal.SIGTERM)

    assert 128 + signal.SIGTERM == process.wait(60)


@pytest.mark.parametrize("size", [0, 100, 100_000])
def test_files_that_may_not_grow(urunc: Runtime, guest: Make, size: int) -> None:
    """RLIMIT_FSIZE: an error with a name, where the signal for it (SIGXFSZ) would end a command in the midst of it."""
    limit: dict[str, Any] = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}
    path = guest()
    status, said = through_a_pipe(urunc, "create", "--bundle", path, "c", **limit)
    assert status == 0 or "file too large" in said.lower()
    if status:
        assert "gone" == urunc.status()
        assert [] == urunc.remains()
        urunc.create(path)
    status, said = through_a_pipe(urunc, "start", "c", **limit)
    assert status == 0 or "file too large" in said.lower()
    assert urunc.status() in ("created", "running")
    assert (0, "") == through_a_pipe(urunc, "delete", "--force", "c", **limit)


def through_a_pipe(urunc: Runtime, *words: object, **options: Any) -> tuple[int, str]:
    """The exit status, and what was said: a file could not take it.  The container has no end of the pipe."""
    reading, writing = os.pipe()
    with open(reading, "rb") as errors:
        process = urunc.begin(urunc.words(*words), stdout=subprocess.DEVNULL, stderr=writing, **options)
        os.close(writing)
        status = process.wait(60)
        os.set_blocking(errors.fileno(), False)
        return status, (errors.read() or b"").decode()


@pytest.mark.parametrize("verb", ["state", "kill", "delete"])
def test_few_descriptors_leave_a_container_as_it_is(urunc: Runtime, guest: Make, verb: str) -> None:
    """The command works, or says that there are too few of them: nothing is wrong with the container."""
    words = {"state": ("state", "c"), "kill": ("kill", "c", "0"), "delete": ("delete", "--force", "c")}[verb]
    urunc.running(guest())
    statuses = []
    for count in range(4, 16):
        ended = urunc(*words, preexec_fn=lambda n=count: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)))
        statuses.append(ended.returncode)
        assert ended.returncode == 0 or "too many open files" in ended.stderr.lower(), f"{count}: {ended.stderr}"
        if verb == "delete" and ended.returncode == 0:
            break
        assert urunc.status() in ("running", "stopped")

    assert {0, 1} == set(statuses)


@pytest.mark.parametrize("options", ["ro", "noexec,nosuid,nodev", "overlay"])
def test_a_state_directory_of_an_odd_kind(urunc: Runtime, guest: Make, tmp_path: Path, options: str) -> None:
    """Sockets, locks and renames work on them; where nothing can be written create says so."""
    path = guest()
    with mounted(urunc.root, tmp_path / "parts", options):
        if options == "ro":
            ended = urunc("create", "--bundle", path, "c")
            assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
            assert f"{urunc.root} is on a read-only file system" in ended.stderr
            return
        urunc.running(path)
        urunc.good("delete", "--force", "c")
        until(lambda: not orphans(), "the end of the guest")
        assert {".lock"} == set(os.listdir(urunc.root))


@contextmanager
def mounted(place: Path, parts: Path, options: str) -> Iterator[None]:
    """A file system at `place`, with what it takes in `parts`."""
    place.mkdir()
    parts.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", parts], check=True)
    try:
        for name in ("lower", "upper", "work"):
            (parts / name).mkdir()
        overlay = ["-t", "overlay", "-o", f"lowerdir={parts}/lower,upperdir={parts}/upper,workdir={parts}/work"]
        kind = overlay if options == "overlay" else ["-t", "tmpfs", "-o", options]
        made = subprocess.run(["mount", *kind, "none", place], capture_output=True, text=True, check=False)
        if made.returncode and options == "overlay":
            pytest.skip(f"no overlayfs on a tmpfs here: {made.stderr.strip()}")
        assert 0 == made.returncode, made.stderr
        try:
            yield
        finally:
            subprocess.run(["umount", place], check=True)
    finally:
        subprocess.run(["umount", parts], check=True)


@pytest.mark.parametrize("words", [("create", "c"), ("--root", "r", "create", "-b", "/b", "c")])
def test_a_path_from_a_directory_that_is_gone_is_named(urunc: Runtime, words: tuple[str, ...]) -> None:
    ended = urunc.run([str(urunc.program), *words], preexec_fn=SURROUNDINGS["no directory"])

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "the working directory has been removed" in ended.stderr


def test_an_environment_as_large_as_the_kernel_takes(urunc: Runtime, guest: Make) -> None:
    """The container has none of it."""
    urunc.environment |= {f"FILLER{number}": "x" * 100_000 for number in range(18)}
    pid = urunc.running(guest())

    assert b"" == Path(f"/proc/{pid}/environ").read_bytes()


def test_a_parent_that_dies_takes_no_container_along(urunc: Runtime, guest: Make) -> None:
    """PR_SET_PDEATHSIG of our caller is ours alone."""
    die = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
    for words in (("create", "--bundle", guest(), "c"), ("start", "c")):
        command = [sys.executable, "-c", die, *urunc.words(*words)]
        shell = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *command]
        ended = urunc.run(shell)
        assert (0, "") == (ended.returncode, ended.stderr)

    assert "running" == urunc.status()


def test_a_caller_in_another_time_namespace_sees_the_same(urunc: Runtime, guest: Make) -> None:
    """The start time that a process is known by is told to each reader in the clock of its own namespace."""
    elsewhere = ["unshare", "--time", "--boottime", "100000", "--fork"]
    if urunc.run([*elsewhere, "true"]).returncode:
        pytest.skip("no time namespaces here")
    path = guest()
    urunc.running(path)
    assert '"running"' in urunc.run([*elsewhere, *urunc.words("state", "c")]).stdout
    ended = urunc.run([*elsewhere, *urunc.words("delete", "c")])
    assert (1, "running") == (ended.returncode, urunc.status())
    assert "not stopped" in ended.stderr
    assert 0 == urunc.run([*elsewhere, *urunc.words("kill", "c", "KILL")]).returncode
    urunc.await_status("stopped")
    urunc.good("delete", "c")

    assert 0 == urunc.run([*elsewhere, *urunc.words("create", "--bundle", path, "c")]).returncode
    assert "created" == urunc.status()
    urunc.good("start", "c")
    assert "running" == urunc.status()


# numbers of the calls that filters of other container engines do not know (arch/x86/entry/syscalls/syscall_64.tbl)
NEW_CALLS = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}


def without(number: int) -> None:
    """Have a system call be none, as by a seccomp filter that is older than it (seccomp(2), SECCOMP_RET_ERRNO)."""
    rows = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | errno.ENOSYS), (0x06, 0, 0, 0x7FFF0000)]
    code = b"".join(struct.pack("HBBI", *row) for row in rows)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(rows), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    set_no_new_privileges, set_seccomp, by_filter = 38, 22, 2
    assert libc.prctl(set_no_new_privileges, 1, 0, 0, 0) == 0
    assert libc.prctl(set_seccomp, by_filter, program, 0, 0) == 0


@pytest.mark.parametrize("call", NEW_CALLS)
def test_a_caller_without_a_call_is_told_what_is_missing(urunc: Runtime, guest: Make, call: str) -> None:
    """Create works without it, or fails in one line and leaves nothing, although that call cannot be made for it."""
    odd: dict[str, Any] = {"preexec_fn": lambda: without(NEW_CALLS[call])}
    ended = urunc("create", "--bundle", guest(), "c", **odd)

    if ended.returncode == 0:
        ended = urunc("start", "c")
        urunc.good("delete", "--force", "c")
        if ended.returncode == 0:
            return
    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "function not implemented: urunc needs Linux 5.14 or later, without a filter around it" in ended.stderr
    until(lambda: not orphans(), "the end of all processes")
    assert ("gone", []) == (urunc.status(), urunc.remains())


def test_full_disks_cut_no_file(urunc: Runtime, guest: Make) -> None:
    """Hooks larger than what is left: write(2) takes a part of them, and says so by a number alone."""
    urunc.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", urunc.root], check=True)
    try:
        hook = {"path": "/bin/true", "args": ["true", *["x" * 1000] * 40]}
        ended = urunc("create", "--bundle", guest(hooks={"poststop": [hook]}), "c")

        assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
        assert "no space left on device" in ended.stderr
        assert {".lock"} == set(os.listdir(urunc.root))
    finally:
        subprocess.run(["umount", urunc.root], check=True)
