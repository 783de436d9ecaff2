"""dist/urunc itself, with bundles as a person writes them: run, and create, start, kill and delete by hand."""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.e2e.conftest import Guests
from tests.e2e.containerd import in_terminal, mounts_below, processes_with, wait_until

from urunc import kvm

pytestmark = pytest.mark.e2e

HELLO = {"unikernelType": "linux", "hypervisor": "qemu", "binary": "/boot/hello", "accelerator": "tcg"}
LINUX = {**HELLO, "binary": "/boot/vmlinuz", "initrd": "/boot/initrd"}
NAMESPACES = ("pid", "ipc", "uts", "mount", "network")
NUMBERS = itertools.count()


@dataclass
class Bundle:
    """A bundle, and dist/urunc for its container, whose id is among its arguments too: so its processes can be told."""

    directory: Path
    binary: Path
    environment: dict[str, str]
    id: str = field(default_factory=lambda: f"urunc-run-{os.getpid()}-{next(NUMBERS)}")

    @property
    def root(self) -> Path:
        return self.directory / "root"

    def write(self, files: dict[str, Path], annotations: dict[str, str], *args: str, terminal: bool = False) -> None:
        for path, source in files.items():
            target = self.directory / "rootfs" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "terminal": terminal,
                "user": {"uid": 0, "gid": 0},
                "args": [*args, self.id],
                "env": ["COLOUR=blue"],
                "cwd": "/",
            },
            "root": {"path": "rootfs"},
            "hostname": "guest",
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "annotations": {f"com.urunc.unikernel.{key}": value for key, value in annotations.items()},
            "linux": {"namespaces": [{"type": name} for name in NAMESPACES]},
        }
        (self.directory / "config.json").write_text(json.dumps(config))

    def argv(self, verb: str, *options: str) -> tuple[str, ...]:
        return (str(self.binary), "--root", str(self.root), verb, *options)

    def urunc(self, verb: str, *options: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command; what a container that outlives it writes goes to the file `output`, as does its own."""
        path = self.directory / "output"
        with path.open("w+b") as output:
            ended = subprocess.run(
                self.argv(verb, *options),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                timeout=timeout,
                check=False,
            )
        ret = subprocess.CompletedProcess(ended.args, ended.returncode, self.output)
        path.rename(self.directory / f"output-{verb}")
        return ret

    @property
    def output(self) -> str:
        return (self.directory / "output").read_text(errors="replace").replace("\r", "")

    def left(self) -> list[str]:
        return [
            *(command for _, command in processes_with(self.id)),
            *(str(path) for path in self.root.glob(self.id)),
            *mounts_below(self.directory),
        ]


@pytest.fixture
def bundle(tmp_path: Path, runtime_binary: Path, environment: dict[str, str]) -> Iterator[Bundle]:
    """Ends what the test left."""
    ret = Bundle(tmp_path, runtime_binary, {**os.environ, **environment})
    yield ret
    subprocess.run(ret.argv("delete", "--force", ret.id), env=ret.environment, check=False, stdin=subprocess.DEVNULL)
    wait_until(lambda: not ret.left(), f"nothing is left of {ret.id}")


def test_run_of_the_hello_guest(bundle: Bundle, guests: Guests) -> None:
    bundle.write({"boot/hello": guests.hello}, HELLO, "first", "two words")

    ended = bundle.urunc("run", bundle.id)

    assert 0 == ended.returncode, ended.stdout
    assert "hello from a unikernel" in ended.stdout
    assert f' COLOUR=blue init=first -- "two words" {bundle.id}\n' in ended.stdout
    assert [] == bundle.left()


def test_run_of_a_linux_guest(bundle: Bundle, guests: Guests) -> None:
    bundle.write({"boot/vmlinuz": guests.kernel, "boot/initrd": guests.initrd}, LINUX, "/init", "one", "two words")

    ended = bundle.urunc("run", bundle.id)

    assert 0 == ended.returncode, ended.stdout
    assert f"linux guest says: one two words {bundle.id}" in ended.stdout.splitlines()
    assert [] == bundle.left()


def test_run_of_the_hello_guest_on_kvm(bundle: Bundle, guests: Guests) -> None:
    if kvm.level() == "none":
        pytest.skip("/dev/kvm does not work here: QEMU under KVM is not tested")
    bundle.write({"boot/hello": guests.hello}, {**HELLO, "accelerator": "kvm"}, "first")

    ended = bundle.urunc("run", bundle.id)

    assert 0 == ended.returncode, ended.stdout
    assert f" init=first -- {bundle.id}\n" in ended.stdout
    assert [] == bundle.left()


def test_run_on_a_terminal(bundle: Bundle, guests: Guests) -> None:
    """Both ways: what is typed reaches the guest, whose echo ends by a line `quit`."""
    bundle.write({"boot/hello": guests.hello}, HELLO, "first", "echo", terminal=True)
    argv = bundle.argv("run", "--bundle", str(bundle.directory), bundle.id)

    status, output = in_terminal(argv, bundle.environment, b"typed\rquit\r", after=f"{bundle.id}\r".encode())

    lines = output.replace("\r", "").splitlines()
    assert 0 == status, output
    assert lines[1].endswith(f" init=first -- echo {bundle.id}")
    assert ["typed", "quit"] == lines[-2:]
    assert [] == bundle.left()


def test_run_of_an_ordinary_container(bundle: Bundle) -> None:
    """It goes to the fallback runtime, which is not urunc again."""
    busybox = Path("/bin/busybox")
    bundle.write({"bin/busybox": busybox}, {}, str(busybox), "sh", "-c", "echo ordinary; exit 3")

    ended = bundle.urunc("run", bundle.id)

    assert (3, "ordinary\n") == (ended.returncode, ended.stdout)
    assert [] == bundle.left()


def status_of(bundle: Bundle) -> str:
    shown = bundle.urunc("state", bundle.id)
    assert 0 == shown.returncode, shown.stdout
    return str(json.loads(shown.stdout)["status"])


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_life_by_hand(bundle: Bundle, guests: Guests, signal: str) -> None:
    bundle.write({"boot/hello": guests.hello}, HELLO, "first", "sleep")

    created = bundle.urunc("create", "--pid-file", "pid", bundle.id)
    assert (0, "") == (created.returncode, created.stdout)
    said = bundle.directory / "output-create"  # the container's streams are those of create
    pid = int((bundle.directory / "pid").read_text())
    assert "created" == status_of(bundle)
    assert "" == said.read_text()
    assert 0 == bundle.urunc("start", bundle.id).returncode
    wait_until(lambda: f"init=first -- sleep {bundle.id}" in said.read_text(), "the guest says its command line")
    assert "running" == status_of(bundle)
    assert [pid] == [number for number, _ in processes_with(bundle.id)]
    assert 0 != bundle.urunc("delete", bundle.id).returncode
    assert 0 == bundle.urunc("kill", bundle.id, signal).returncode
    wait_until(lambda: status_of(bundle) == "stopped", f"{signal} ends the guest")
    deleted = bundle.urunc("delete", bundle.id)
    assert (0, "") == (deleted.returncode, deleted.stdout)
    assert [] == bundle.left()


def test_delete_of_what_was_never_started(bundle: Bundle, guests: Guests) -> None:
    bundle.write({"boot/hello": guests.hello}, HELLO, "first")
    assert 0 == bundle.urunc("create", bundle.id).returncode

    assert 0 == bundle.urunc("delete", "--force", bundle.id).returncode
    assert 0 == bundle.urunc("delete", "--force", bundle.id).returncode  # clients ask twice
    assert [] == bundle.left()


def test_dry_run_makes_nothing(bundle: Bundle, guests: Guests) -> None:
    bundle.write({"boot/hello": guests.hello}, HELLO, "first")

    shown = bundle.urunc("run", "--dry-run", bundle.id)

    assert 0 == shown.returncode, shown.stdout
    assert "accel=tcg" in shown.stdout.splitlines()[-1]
    assert [] == bundle.left()


def test_create_with_a_terminal_lets_go_of_its_own_streams(bundle: Bundle, guests: Guests) -> None:
    """containerd's shim reads them to their end before it asks for start; the container has its terminal."""
    bundle.write({"boot/hello": guests.hello}, HELLO, "first", terminal=True)
    program = (
        "import socket, sys\n"
        "server = socket.create_server(sys.argv[1], family=socket.AF_UNIX)\n"
        "print('ready', flush=True)\n"
        "received = socket.recv_fds(server.accept()[0], 4096, 1)\n"
        "sys.stdin.read()\n"
    )
    path = str(bundle.directory / "console")
    with subprocess.Popen(
        ("/usr/bin/python3", "-c", program, path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as client:
        assert client.stdout
        assert b"ready\n" == client.stdout.readline()

        ended = subprocess.run(
            bundle.argv("create", "--bundle", str(bundle.directory), "--console-socket", path, bundle.id),
            env=bundle.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=5,
            check=False,
        )

    assert (0, b"", b"") == (ended.returncode, ended.stdout, ended.stderr)
