"""Pairs whose monitor has a companion: what the exit status is, what signals do, and that state and kill still hold."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.container import Runtime, alive, comm, exit_status, read, until
from tests.guests import build, multiboot_build

from urunc import _fastpath, api, facts, runtime
from urunc._record import replace
from urunc.errors import HostError
from urunc.monitors import Helper

ISA_DEBUG, SOLO5, HALT = "mewz", "mirage", "rumprun"
ADDED_MAX_KIB = 300
CAP_CHOWN = 0
Make = Callable[..., Path]


@pytest.fixture
def guest(bundle: Make) -> Make:
    """Makes a bundle of a multiboot guest, which does `action`, for a framework."""

    def make(
        framework: str, action: str = "halt", code: int = 0, args: tuple[str, ...] = ("app",), **changes: Any
    ) -> Path:
        image = multiboot_build.image(build.default_cache(), action, code)
        annotations = {"com.urunc.unikernel.unikernelType": framework} | changes.pop("annotations", {})
        made = bundle(args=args, annotations=annotations, **changes)
        (made / "rootfs" / "hello").write_bytes(image.read_bytes())
        return made

    return make


@pytest.fixture
def fake(urunc: Runtime) -> Callable[[str], None]:
    """Puts a program in QEMU's place that does what `words` say: the host's kernel adds them to its command line."""

    def place(words: str) -> None:
        monitor = multiboot_build.monitor(build.default_cache())
        kernel = multiboot_build.image(build.default_cache(), "halt")
        urunc.config.write_text(
            f'[monitors.qemu]\npath = "{monitor}"\n[linux.kernels.k]\npath = "{kernel}"\ncmdline = "{words}"\n'
        )

    return place


KERNEL = {"com.urunc.unikernel.kernel": "k"}


def monitor_of(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def started(urunc: Runtime, made: Path) -> tuple[int, Path]:
    """Create and start; the pid of the container and the file of its output, which has the guest's first word."""
    pid = urunc.create(made)
    output = urunc.directory / "out.1"
    urunc.good("start", "c")
    until(lambda: "ready" in read(output), "the guest's word")
    return pid, output


@pytest.mark.parametrize(
    ("made", "status"),
    [
        ((ISA_DEBUG, "exit", 0), 0),
        ((ISA_DEBUG, "exit", 3), 3),
        ((ISA_DEBUG, "exit", 127), 127),
        ((ISA_DEBUG, "reset"), 0),
        ((ISA_DEBUG, "nic", 7), 7),  # it would not live without an interface
        ((SOLO5, "exit", 41), 0),
        ((SOLO5, "exit", 1), 3),  # not how Solo5 ends: QEMU's own status
        ((HALT, "halt"), 0),
        ((HALT, "sleep"), 0),
        ((HALT, "reset"), 0),
    ],
)
def test_status_of_the_guest_is_that_of_the_container(
    urunc: Runtime, guest: Make, made: tuple[Any, ...], status: int
) -> None:
    ended = urunc("run", "--bundle", guest(*made), "c")

    assert (status, "") == (ended.returncode, ended.stderr)
    assert "ready" in ended.stdout


def test_guest_that_waits_for_an_interrupt_has_not_ended(urunc: Runtime, guest: Make) -> None:
    """The companion looks at it more often than a guest that has ended stays alive."""
    pid, _ = started(urunc, guest(HALT, "tick"))
    monitor = monitor_of(pid)
    before = switches(pid)

    until(lambda: switches(pid) >= before + 60, "the companion has looked at it many times")

    assert alive(monitor)
    assert "running" == urunc.status()


def switches(pid: int) -> int:
    """How often a process has gone to sleep of its own accord."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[0])


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ((ISA_DEBUG, "status=1"), 1),  # QEMU's own: it has not started a guest
        ((ISA_DEBUG, "replies=1 status=1"), 1),
        ((ISA_DEBUG, "replies=2 status=1"), 0),
        ((ISA_DEBUG, "flood replies=2 status=7"), 3),
        ((ISA_DEBUG, "replies=2 status=4"), 4),
        ((SOLO5, "status=83"), 83),
        ((SOLO5, "replies=2 status=83"), 0),
        ((HALT, "replies=2 status=5"), 5),
    ],
)
def test_status_of_a_monitor_counts_as_the_guests_once_that_was_started(
    urunc: Runtime, guest: Make, fake: Callable[[str], None], said: tuple[str, str], status: int
) -> None:
    framework, words = said
    fake(words)

    ended = urunc("run", "--bundle", guest(framework, annotations=KERNEL), "c")

    assert (status, "") == (ended.returncode, ended.stderr)


def test_container_is_its_companion_and_ends_with_it(urunc: Runtime, guest: Make, fake: Callable[[str], None]) -> None:
    fake("sleep")
    pid, _ = started(urunc, guest(ISA_DEBUG, annotations=KERNEL))
    monitor = monitor_of(pid)

    assert ("running", pid) == (urunc.status(), urunc.state()["pid"])
    assert "urunc:[3:watch]" == comm(pid)

    urunc.good("delete", "--force", "c")

    assert not alive(pid)
    until(lambda: not alive(monitor), "the end of the monitor")


def test_monitors_that_end_at_once_are_all_seen(urunc: Runtime, guest: Make, fake: Callable[[str], None]) -> None:
    """The end of a filter may be seen before that of its process: a race, so there are some of them."""
    fake("replies=1 status=1")
    made = guest(ISA_DEBUG, annotations=KERNEL)

    assert [1] * 20 == [urunc("run", "--bundle", made, "c").returncode for _ in range(20)]


def test_container_without_a_pid_namespace_ends_whole(urunc: Runtime, guest: Make, fake: Callable[[str], None]) -> None:
    fake("sleep")
    kinds = ("network", "ipc", "uts", "mount")
    linux = {"namespaces": [{"type": kind} for kind in kinds]}
    pid, _ = started(
        urunc, guest(ISA_DEBUG, annotations=KERNEL, linux=linux, process={"user": {"uid": 1000, "gid": 1}})
    )
    monitor = monitor_of(pid)

    urunc.good("delete", "--force", "c")

    until(lambda: not alive(monitor), "the end of the monitor")


def test_signal_reaches_the_monitor_and_its_status_the_client(
    urunc: Runtime, guest: Make, fake: Callable[[str], None]
) -> None:
    fake("catch sleep status=0")
    pid, output = started(urunc, guest(SOLO5, annotations=KERNEL))

    urunc.good("kill", "c", "TERM")

    assert 9 == exit_status(pid)
    assert "caught" in read(output)
    assert "stopped" == urunc.status()


@pytest.mark.parametrize(("name", "number"), [("TERM", 15), ("USR1", 10), ("KILL", 9), ("HUP", 1)])
def test_signal_that_nobody_catches_ends_the_container(
    urunc: Runtime, guest: Make, fake: Callable[[str], None], name: str, number: int
) -> None:
    fake("sleep")
    pid, _ = started(urunc, guest(SOLO5, annotations=KERNEL))

    urunc.good("kill", "c", name)

    assert 128 + number == exit_status(pid)


def test_monitor_that_cannot_be_executed_is_the_error_of_start(urunc: Runtime, guest: Make) -> None:
    urunc.create(guest(HALT))
    (program,) = Path("/run/urunc/@cache/trees").glob("qemu/usr/bin/qemu-system-*")
    kept = program.read_bytes()
    try:
        program.write_bytes(b"no program")
        ended = urunc("start", "c")
    finally:
        program.write_bytes(kept)

    assert 1 == ended.returncode
    assert "exec" in ended.stderr
    urunc.await_status("stopped")


def private_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))


def test_companion_is_small(urunc: Runtime, guest: Make, fake: Callable[[str], None]) -> None:
    """With its program, which is in memory too."""
    fake("sleep")
    pid, _ = started(urunc, guest(HALT, annotations=KERNEL))
    descriptor = _fastpath.program("urunc-init")
    try:
        program_kib = os.fstat(descriptor).st_size >> 10
    finally:
        os.close(descriptor)

    assert ADDED_MAX_KIB > private_kib(pid) + program_kib


def test_pair_without_a_companion_has_none(urunc: Runtime, bundle: Make) -> None:
    pid = urunc.running(bundle())

    assert comm(pid).startswith("qemu-system")
    assert "" == Path(f"/proc/{pid}/task/{pid}/children").read_text()


class Served:
    """A container whose monitor is served by helpers: made through the API, started with a plan that has them."""

    def __init__(self, urunc: Runtime, made: Path, output: Path, helpers: tuple[Helper, ...]) -> None:
        self.file = output.open("wb")
        self.template = api.Runtime(root=str(urunc.root), config=str(urunc.config)).template(str(made))
        self.container = self.template.create("c", stdout=self.file.fileno(), stderr=self.file.fileno())
        launch, wanted = self.container._launch, self.template._wanted
        assert launch is not None
        guest, chosen, host = self.template._prepared
        machine = replace(wanted.machine(guest, chosen, facts.Network()), helpers=helpers)
        self.plan = _fastpath.pack(launch.plan(chosen, host, machine).operations)

    def start(self) -> None:
        runtime.start(self.container._request, self.plan)

    def close(self) -> None:
        self.container.delete(force=True)
        self.container.close()
        self.template.close()
        self.file.close()


@pytest.fixture
def served(urunc: Runtime, guest: Make, fake: Callable[[str], None], tmp_path: Path) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def make(words: str, *helpers: Helper, **changes: Any) -> Served:
        fake(words)
        made.append(Served(urunc, guest(ISA_DEBUG, annotations=KERNEL, **changes), tmp_path / "output", helpers))
        return made[-1]

    yield make
    for one in made:
        one.close()


def helper(*argv: str, **fields: Any) -> Helper:
    program = f"/.monitor{multiboot_build.monitor(build.default_cache())}"
    return Helper(path=program, argv=("helper", *argv), **fields)


def test_helper_that_dies_ends_the_container_and_says_why(served: Callable[..., Served], tmp_path: Path) -> None:
    container = served("sleep", helper("sleep"), helper("status=3"))
    container.start()

    assert 125 == container.container.wait(20)
    assert "which the monitor needs, has ended with status 3: the container ends\n" in read(tmp_path / "output")


def test_helper_that_is_killed_ends_the_container(served: Callable[..., Served], tmp_path: Path) -> None:
    container = served("sleep", helper("sleep"))
    container.start()
    pid = container.container.state().pid
    until(lambda: len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) == 2, "both are there")
    first = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]

    os.kill(int(first), signal.SIGKILL)

    assert 125 == container.container.wait(20)
    assert "was ended by signal 9: the container ends\n" in read(tmp_path / "output")


def test_helpers_end_with_the_monitor(served: Callable[..., Served]) -> None:
    container = served("replies=2 status=5", helper("sleep"), helper("catch", "sleep"))
    container.start()

    assert 2 == container.container.wait(20)


def test_helper_has_credentials_of_its_own(served: Callable[..., Served], tmp_path: Path) -> None:
    """As root with a capability beside a monitor of another user, and as another user with the same."""
    root = helper("credentials", "sleep", capabilities=(CAP_CHOWN,))
    other = helper("credentials", "sleep", uid=7, gid=8, capabilities=(CAP_CHOWN,))
    container = served("sleep", root, other, process={"user": {"uid": 1000, "gid": 1000}})
    container.start()
    output = tmp_path / "output"
    until(lambda: read(output).count("descriptor 3") == 2, "both have spoken")

    assert [
        "uid 0, effective 1, bounding 1, descriptor 3 closed",
        "uid 7, effective 1, bounding 1, descriptor 3 closed",
    ] == sorted(line for line in read(output).splitlines() if line.startswith("uid"))


def test_helpers_of_another_user_end_without_a_pid_namespace(served: Callable[..., Served]) -> None:
    kinds = ("network", "ipc", "uts", "mount")
    linux = {"namespaces": [{"type": kind} for kind in kinds]}
    container = served("sleep", helper("sleep"), linux=linux, process={"user": {"uid": 1000, "gid": 1000}})
    container.start()
    pid = container.container.state().pid
    family = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    container.container.kill(signal.SIGKILL)

    assert 137 == container.container.wait(20)
    for process in family:
        until(lambda: not alive(process), "the end of all")  # noqa: B023  called before the next


def test_helper_that_cannot_be_executed_is_the_error_of_start(served: Callable[..., Served]) -> None:
    container = served("sleep", Helper(path="/.monitor/none", argv=("none",)))

    with pytest.raises(HostError, match=r"helper: exec /\.monitor/none: no such file or directory"):
        container.start()


@pytest.mark.parametrize("log", [True, False])
def test_mewz_with_little_memory_is_a_warning_in_the_log_alone(urunc: Runtime, guest: Make, log: bool) -> None:
    options = ("--log", urunc.directory / "log") if log else ()
    made = guest(ISA_DEBUG, "exit", linux={"resources": {"memory": {"limit": 256 << 20}}})
    ended = urunc(*options, "run", "--bundle", made, "c")

    assert (0, "") == (ended.returncode, ended.stderr)
    if log:
        written = read(urunc.directory / "log")
        assert "level=warning" in written
        assert "a mewz guest with 256 MiB of memory may fail: give it 512 MiB or more" in written
