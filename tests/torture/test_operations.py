"""Every operation of the plan, and what is written down of a container, made to fail: by each errno, before and after.

Whatever fails, the undo is complete without a `delete`, and the error names the step.  The program is one of `ci/build
--faults`; a resource limit that nothing else uses says which call fails (faults.c).
"""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from tests.cgroups import NAME
from tests.container import (
    CONFIG,
    REPOSITORY,
    UNIKERNEL,
    Runtime,
    exit_status,
    merged,
    orphans,
    until,
    write_bundle,
)
from tests.e2e.lan import FOR_EVER, SPT, Lan
from tests.guests import build
from tests.torture import kinds
from tests.torture.kinds import Kind
from tests.torture.rounds import ROUNDS, SEED

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]

ERRORS = tuple(
    getattr(errno, name)
    for name in (
        *("ENOMEM", "EMFILE", "ENOSPC", "EPERM", "EACCES", "ENOENT", "EIO", "EAGAIN", "EBUSY", "EINVAL", "EINTR"),
        *("ENFILE", "EEXIST", "ENOSYS", "EROFS"),
    )
)
CALLER, INIT = 0, 1  # the process in which a call is counted
LONG = ROUNDS >= 300
MOST = 1000  # of calls in one process; a plan has about fifty operations


@dataclass(frozen=True)
class Fault:
    """The call that fails: `number` of those of the process `side`; when all of it is done if `after`."""

    side: int
    number: int
    after: bool
    error: int

    def command(self, words: list[str]) -> list[str]:
        value = self.error | self.side << 8 | self.after << 9 | self.number << 10
        return ["prlimit", f"--locks={value}:unlimited", *words]


@pytest.fixture(scope="module")
def program() -> Path:
    subprocess.run([REPOSITORY / "ci" / "build", "--faults"], check=True)
    return REPOSITORY / "build" / "faults" / "urunc"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What a kind of container needs of the host, which goes after its containers."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def runtime(program: Path, tmp_path: Path, subreaper: None, stack: ExitStack) -> Iterator[Runtime]:
    runtime = Runtime(program, tmp_path)
    runtime.allow_process_monitor()
    with runtime.emptied():
        yield runtime


@pytest.fixture
def lan() -> Iterator[Lan]:
    made = Lan()
    made.usual()
    yield made
    made.remove()


def guest(runtime: Runtime, lan: Lan, hello: Path) -> Kind:
    """A tap and a redirect in a namespace of somebody else, hooks, limits."""
    joined = [
        {"type": "network", "path": f"/run/netns/{lan.inside}"},
        *({"type": t} for t in ("pid", "ipc", "uts", "mount", "cgroup")),
    ]
    hook = {"path": "/bin/true"}
    config = {
        "annotations": {f"com.urunc.unikernel.{key}": value for key, value in SPT.items()},
        "process": {"args": [FOR_EVER], "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}]},
        "hooks": {stage: [hook] for stage in ("createRuntime", "createContainer", "startContainer", "poststop")},
        "linux": {"namespaces": joined, "resources": {"pids": {"limit": 50}}},
    }
    files = {"guest": build.station(build.default_cache()), "bin/true": Path("/bin/busybox")}
    return Kind(write_bundle(runtime.directory / "b", files, merged(CONFIG, config)), lan.state)


def program_of_the_host(runtime: Runtime, lan: Lan, hello: Path) -> Kind:
    """What only the process monitor has: mounts, devices, masks, sysctls; and maps of ids."""
    maps = [{"containerID": 0, "hostID": 0, "size": 100000}]
    config = {
        "process": {"args": ["/bin/busybox", "sleep", "1000"], "oomScoreAdj": 10},
        "domainname": "nowhere",
        "root": {"readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/host", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]},
        ],
        "linux": {
            "namespaces": [*CONFIG["linux"]["namespaces"], {"type": "user"}],
            "uidMappings": maps,
            "gidMappings": maps,
            "cgroupsPath": f"/{NAME}/operations",
            "maskedPaths": ["/proc/keys"],
            "readonlyPaths": ["/proc/sys"],
            "sysctl": {"kernel.msgmax": "4321"},
            "rootfsPropagation": "rprivate",
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
        },
    }
    path = write_bundle(runtime.directory / "b", {"bin/busybox": Path("/bin/busybox")}, merged(CONFIG, config))
    for name in ("proc", "dev", "host"):
        (path / "rootfs" / name).mkdir()
    return Kind(path)


def machine(runtime: Runtime, lan: Lan, hello: Path) -> Kind:
    """A monitor with a prepared tree, and files of the guest."""
    config = {"annotations": UNIKERNEL, "process": {"args": ["/app", "exit=halt"]}}
    return Kind(write_bundle(runtime.directory / "b", {"hello": hello}, merged(CONFIG, config)))


KINDS = {"guest": guest, "process": program_of_the_host, "qemu": machine}
# what differs in them is little: the short form takes a part of the places, beginning with another one for each seed
MORE_KINDS = ("borrowed", "joined", "shared", "device")
STRIDE = 1 if LONG else 8


def another(runtime: Runtime, lan: Lan, hello: Path, stack: ExitStack, name: str) -> Kind:
    """A kind of containers that have to do with what is the host's, or another container's."""
    makers: dict[str, Callable[[], Kind | None]] = {
        "borrowed": lambda: kinds.borrowed(runtime, name),
        "joined": lambda: kinds.joined(runtime, name, stack),
        "shared": lambda: kinds.shared(runtime, name, lan),
        "device": lambda: kinds.device(runtime, name, hello, stack),
    }
    made = makers[name]()
    if made is None:
        pytest.skip("no loop device can be made here")
    return made


def check_clean(runtime: Runtime, kind: Kind, clean: object, what: str) -> None:
    until(lambda: not orphans(), f"{what}: the end of all processes")
    assert "gone" == runtime.status(), what
    assert [] == runtime.remains(), what
    assert clean == kind.before(), what


def attempt(runtime: Runtime, kind: Kind, clean: object, fault: Fault) -> str:
    """Create and start with `fault`; return what has failed, "" if nothing has."""
    what = str(fault)
    pid_file = runtime.directory / "pid"
    words = runtime.words("create", "--bundle", kind.bundle, "--pid-file", pid_file, "c")
    ended = runtime.run(fault.command(words))
    verb = "create"
    if ended.returncode == 0:
        pid = int(pid_file.read_text())
        ended, verb = runtime("start", "c"), "start"
        if ended.returncode:
            exit_status(pid)
            assert "stopped" == runtime.status(), what
            runtime.good("delete", "c")
        else:
            runtime.good("delete", "--force", "c")
        pid_file.unlink()
    assert not pid_file.exists(), what
    said = runtime.unwarned(ended.stderr)
    check_clean(runtime, kind, clean, f"{what}: {said}")
    if ended.returncode == 0:
        return ""
    reason = os.strerror(fault.error)
    assert said.endswith("\n"), f"{what}: fails without a word"
    assert 1 == said.count("\n"), f"{what}: {said}"
    assert f"{'after' if fault.after else 'before'}: {reason[:1].lower()}{reason[1:]}" in said, f"{what}: {said}"
    return f"{verb}: {said.partition('msg=')[2]}"


def points(runtime: Runtime, kind: Kind, stride: int = 1) -> Iterator[str]:
    """Every call of both processes; the long form takes every errno, before and after, the short one of each place."""
    clean, turn = kind.before(), count()

    def struck(side: int, number: int) -> list[str]:
        if LONG:
            faults = [Fault(side, number, after, error) for after in (False, True) for error in ERRORS]
            return [attempt(runtime, kind, clean, fault) for fault in faults]
        error = ERRORS[next(turn) % len(ERRORS)]
        first = Fault(side, number, number % 2 == 1, error)
        said = attempt(runtime, kind, clean, first)  # after the last of all nothing is left that could fail
        return [said or attempt(runtime, kind, clean, Fault(side, number, not first.after, error))]

    for side in (CALLER, INIT):
        for number in range(SEED % stride, MOST, stride):
            found = struck(side, number)
            if not any(found):
                break
            yield from (said for said in found if said)
        else:
            pytest.fail(f"more than {MOST} calls: the count never ends")


@pytest.mark.parametrize("name", KINDS)
def test_an_operation_that_fails_leaves_nothing_and_says_which_it_was(
    runtime: Runtime, lan: Lan, hello: Path, name: str
) -> None:
    kind = KINDS[name](runtime, lan, hello)
    runtime.create(kind.bundle)  # the first of a kind prepares things
    runtime.good("delete", "--force", "c")
    said = list(points(runtime, kind))

    assert any(line.startswith("create") for line in said)
    assert any(line.startswith("start") for line in said)
    for step in ("clone", "pivot_root", "record", "journal", "commit", "exec", "user"):
        assert any(step in line for line in said), f"{step} has never failed"


@pytest.mark.parametrize("name", MORE_KINDS)
def test_what_is_not_the_containers_own_is_as_it_was_whatever_fails(
    runtime: Runtime, lan: Lan, hello: Path, stack: ExitStack, name: str
) -> None:
    """Mount namespaces that are the caller's or another's, rules in a pod's network, a device of the host."""
    kind = another(runtime, lan, hello, stack, name)
    runtime.create(kind.bundle)
    runtime.good("delete", "--force", "c")

    assert list(points(runtime, kind, STRIDE))


@pytest.mark.parametrize("name", ["borrowed", "program"])
def test_an_exec_that_fails_leaves_the_container_as_it_is(runtime: Runtime, lan: Lan, hello: Path, name: str) -> None:
    """Whatever fails: the error names the step, and nobody but the container's process is there."""
    kind = kinds.borrowed(runtime, name) if name == "borrowed" else program_of_the_host(runtime, lan, hello)
    pid = runtime.running(kind.bundle)
    turn = count()

    def failed(side: int, number: int, *, after: bool) -> bool:
        fault = Fault(side, number, after, ERRORS[next(turn) % len(ERRORS)])
        ended = runtime.run(fault.command(runtime.words("exec", "c", "/bin/busybox", "true")))
        said, reason = runtime.unwarned(ended.stderr), os.strerror(fault.error)
        until(lambda: [pid] == orphans(), f"{fault}: the end of what was executed")
        assert "running" == runtime.status(), fault
        if ended.returncode == 0:
            return False
        assert 255 == ended.returncode, f"{fault}: {said}"
        assert 1 == said.count("\n"), f"{fault}: {said}"
        assert f"{'after' if after else 'before'}: {reason[:1].lower()}{reason[1:]}" in said, f"{fault}: {said}"
        return True

    stride, struck = STRIDE // 2 + 1, 0
    for side in (CALLER, INIT):
        for number in range(SEED % stride, MOST, stride):
            both = [failed(side, number, after=after) for after in (False, True)]
            struck += sum(both)
            if not any(both):
                break

    assert struck > 5, "hardly anything has failed: nothing was tried"
