"""`ctr run` and what follows, with a containerd of our own: guests, and ordinary containers through the fallback."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Guests
from tests.e2e.containerd import Containerd, in_terminal, processes_with, wait_until

from urunc.pack import File, pack

pytestmark = pytest.mark.e2e

RUNTIME = ("--runtime", "io.containerd.urunc.v2")
RUN = ("run", "--rm", *RUNTIME)
HELLO = {"unikernelType": "linux", "hypervisor": "qemu", "binary": "/boot/hello"}
LINUX = {"unikernelType": "linux", "hypervisor": "qemu", "binary": "/boot/vmlinuz", "initrd": "/boot/initrd"}
BUSYBOX = "/bin/busybox"  # the same in the image
NUMBERS = itertools.count()


class Images:
    """Packs and imports images of this module's own."""

    def __init__(self, containerd: Containerd, directory: Path) -> None:
        self.containerd = containerd
        self.directory = directory

    def make(self, name: str, files: list[File], annotations: dict[str, str], *, base64: bool = False) -> str:
        tar = self.directory / f"{name}.tar"
        full = f"docker.io/library/{name}:latest"
        pack(tar, full, files, annotations, ["default", "command"], ["COLOUR=blue"], base64=base64)
        assert full == self.containerd.import_image(tar)
        return full


@pytest.fixture(scope="module")
def images(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(containerd, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def hello(images: Images, guests: Guests) -> str:
    return images.make("hello", [File(source=str(guests.hello), path="/boot/hello")], HELLO)


@pytest.fixture(scope="module")
def linux(images: Images, guests: Guests) -> str:
    files = [
        File(source=str(guests.kernel), path="/boot/vmlinuz"),
        File(source=str(guests.initrd), path="/boot/initrd"),
    ]
    return images.make("linux", files, LINUX)


@pytest.fixture(scope="module")
def busybox(images: Images) -> str:
    """An ordinary image: it has no urunc.json."""
    return images.make("busybox", [File(source=BUSYBOX, path=BUSYBOX)], {})


@pytest.fixture
def name(containerd: Containerd) -> Iterator[str]:
    """A container's name, to be among its arguments too: then its processes can be told.  Ends what the test left."""
    name = f"urunc-e2e-{os.getpid()}-{next(NUMBERS)}"
    yield name
    if containerd.task_status(name):
        containerd.ctr("task", "delete", "--force", name)
    if name in containerd.ctr("container", "ls", "-q").stdout.split():
        containerd.ctr("container", "delete", name)
    wait_until(lambda: not containerd.left_of(name), f"nothing is left of {name}")


def run_detached(containerd: Containerd, image: str, name: str, *args: str) -> Path:
    """Start a container whose output goes to the file that is returned; wait until it has said something."""
    log = containerd.directory / f"{name}.log"
    containerd.ctr("run", "--detach", "--log-uri", f"file://{log}", *RUNTIME, image, name, *args)
    wait_until(lambda: log.exists() and log.stat().st_size > 0, f"{name} says something")
    return log


def assert_nothing_left(containerd: Containerd, name: str) -> None:
    """A shim ends a little after its container."""
    try:
        wait_until(lambda: not containerd.left_of(name), "")
    except AssertionError:
        assert [] == containerd.left_of(name), containerd.logs


def test_guest_prints_its_command_line(containerd: Containerd, hello: str, name: str) -> None:
    ended = containerd.ctr(*RUN, hello, name, "first", "second word", name)

    assert "hello from a unikernel" in ended.stdout
    assert f' COLOUR=blue init=first -- "second word" {name}\n' in ended.stdout
    assert "" == ended.stderr
    assert_nothing_left(containerd, name)


def test_guest_has_the_command_of_its_image(containerd: Containerd, hello: str, name: str) -> None:
    ended = containerd.ctr(*RUN, hello, name)

    assert " init=default -- command\n" in ended.stdout


def test_guest_of_an_image_with_base64(containerd: Containerd, images: Images, guests: Guests, name: str) -> None:
    files = [File(source=str(guests.hello), path="/boot/hello")]
    image = images.make("hello-base64", files, HELLO, base64=True)

    ended = containerd.ctr(*RUN, image, name, "first", name)

    assert f" init=first -- {name}\n" in ended.stdout
    assert_nothing_left(containerd, name)


def test_guest_of_annotations_alone(containerd: Containerd, images: Images, guests: Guests, name: str) -> None:
    image = images.make("hello-plain", [File(source=str(guests.hello), path="/boot/hello")], {})
    words = itertools.chain.from_iterable(
        ("--annotation", f"com.urunc.unikernel.{key}={value}") for key, value in HELLO.items()
    )

    ended = containerd.ctr(*RUN, *words, image, name, "first", name)

    assert f" init=first -- {name}\n" in ended.stdout
    assert_nothing_left(containerd, name)


def test_linux_guest_with_an_initrd(containerd: Containerd, linux: str, name: str) -> None:
    ended = containerd.ctr(*RUN, linux, name, "/init", "one", "two words", name)

    assert f"linux guest says: one two words {name}" in ended.stdout.replace("\r", "").splitlines()
    assert_nothing_left(containerd, name)


def test_guest_that_cannot_be_is_an_error(containerd: Containerd, images: Images, tmp_path: Path, name: str) -> None:
    """What asks for a VM never runs without one, and the client shows why."""
    (tmp_path / "urunc.json").write_text('{"com.urunc.unikernel.unikernelType": "linux"}')
    files = [File(source=str(tmp_path / "urunc.json"), path="/urunc.json"), File(source=BUSYBOX, path=BUSYBOX)]
    image = images.make("broken", files, {})

    ended = containerd.ctr(*RUN, image, name, BUSYBOX, "echo", "ordinary", name, check=False)

    assert 0 != ended.returncode
    assert "ordinary" not in ended.stdout
    assert "com.urunc.unikernel.hypervisor" in ended.stderr
    assert_nothing_left(containerd, name)


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_kill_and_delete_of_a_sleeping_guest(containerd: Containerd, hello: str, name: str, signal: str) -> None:
    run_detached(containerd, hello, name, "first", "sleep", name)
    pid = containerd.task_pid(name)

    assert "RUNNING" == containerd.task_status(name)
    containerd.ctr("task", "kill", "--signal", signal, name)
    wait_until(lambda: containerd.task_status(name) == "STOPPED", f"{signal} ends the guest")
    assert not Path(f"/proc/{pid}").exists()
    deleted = containerd.ctr("task", "delete", name)
    assert ("exit code 137" in deleted.stderr) is (signal == "SIGKILL"), deleted.stderr  # QEMU ends in order by TERM
    assert "" == containerd.task_status(name)
    containerd.ctr("container", "delete", name)
    assert_nothing_left(containerd, name)


def test_kill_of_everything_in_a_guest(containerd: Containerd, hello: str, name: str) -> None:
    run_detached(containerd, hello, name, "first", "sleep", name)

    containerd.ctr("task", "kill", "--all", "--signal", "SIGKILL", name)
    wait_until(lambda: containerd.task_status(name) == "STOPPED", "the guest ends")


def test_delete_of_a_running_guest_needs_force(containerd: Containerd, hello: str, name: str) -> None:
    run_detached(containerd, hello, name, "first", "exit=halt", name)

    assert 0 != containerd.ctr("task", "delete", name, check=False).returncode
    assert "RUNNING" == containerd.task_status(name)
    containerd.ctr("task", "delete", "--force", name)
    containerd.ctr("container", "delete", name)
    assert_nothing_left(containerd, name)


def test_sleeping_linux_guest_is_one_process(containerd: Containerd, linux: str, name: str) -> None:
    log = run_detached(containerd, linux, name, "/init", "sleep", "1000", name)
    wait_until(lambda: f"says: sleep 1000 {name}" in log.read_text(errors="replace"), "the guest runs", 180)
    pid = containerd.task_pid(name)

    listed = containerd.ctr("task", "ps", name).stdout.splitlines()[1:]

    assert [str(pid)] == [line.split()[0] for line in listed]
    monitors = [number for number, command in processes_with(name) if "containerd-shim" not in command]
    assert [pid] == monitors


def test_terminal_of_a_guest(containerd: Containerd, hello: str, name: str) -> None:
    """Both ways: what is typed reaches the guest, whose echo ends by a line `quit`."""
    argv = containerd.argv(*RUN, "--tty", hello, name, "first", "echo", name)

    status, output = in_terminal(argv, containerd.environment, typed=b"typed\rquit\r", after=f"{name}\r".encode())

    assert 0 == status, output
    lines = output.replace("\r", "").splitlines()
    assert lines[1].endswith(f" init=first -- echo {name}")
    assert ["typed", "quit"] == lines[-2:]
    assert_nothing_left(containerd, name)


def test_input_of_a_guest(containerd: Containerd, hello: str, name: str) -> None:
    argv = containerd.argv(*RUN, hello, name, "first", "echo", name)
    with subprocess.Popen(
        argv, env=containerd.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdin
        assert client.stdout
        for line in client.stdout:
            if line.endswith(f"{name}\n"):
                break
        client.stdin.write("typed\nquit\n")
        client.stdin.flush()  # not closed: ctr would have to tell the shim
        rest = client.stdout.read()
        assert 0 == client.wait(60)

    assert "typed\nquit\n" == rest
    assert_nothing_left(containerd, name)


def test_ordinary_container_runs_under_the_fallback(containerd: Containerd, busybox: str, name: str) -> None:
    ended = containerd.ctr(*RUN, busybox, name, BUSYBOX, "sh", "-c", "echo ordinary; exit 3", name, check=False)

    assert (3, "ordinary\n", "") == (ended.returncode, ended.stdout, ended.stderr)
    assert_nothing_left(containerd, name)


def test_commands_on_an_ordinary_container_reach_the_fallback(containerd: Containerd, busybox: str, name: str) -> None:
    script = "echo up; trap 'exit 5' TERM; while :; do /bin/busybox sleep 0.1; done"
    run_detached(containerd, busybox, name, BUSYBOX, "sh", "-c", script, name)

    executed = containerd.ctr("task", "exec", "--exec-id", "more", name, BUSYBOX, "echo", "executed")
    assert "executed\n" == executed.stdout
    listed = [line.split()[0] for line in containerd.ctr("task", "ps", name).stdout.splitlines()[1:]]
    assert str(containerd.task_pid(name)) in listed
    containerd.ctr("task", "kill", "--signal", "SIGTERM", name)
    wait_until(lambda: containerd.task_status(name) == "STOPPED", "the script ends")
    assert "exit code 5" in containerd.ctr("task", "delete", name).stderr
    containerd.ctr("container", "delete", name)
    assert_nothing_left(containerd, name)


def test_terminal_of_an_ordinary_container(containerd: Containerd, busybox: str, name: str) -> None:
    argv = containerd.argv(*RUN, "--tty", busybox, name, BUSYBOX, "sh", "-c", "test -t 0 && echo a terminal", name)

    status, output = in_terminal(argv, containerd.environment)

    assert (0, "a terminal\n") == (status, output.replace("\r", ""))
    assert_nothing_left(containerd, name)


def test_exec_in_a_guest_is_refused(containerd: Containerd, hello: str, name: str) -> None:
    run_detached(containerd, hello, name, "first", "sleep", name)

    ended = containerd.ctr("task", "exec", "--exec-id", "more", name, "/bin/sh", check=False)

    assert 0 != ended.returncode
    assert "exec is not possible" in ended.stderr
    assert "RUNNING" == containerd.task_status(name)
