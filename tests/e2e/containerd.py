"""A containerd of the tests' own, and what is left of a container on the machine.

The one rule: only what carries this instance's own namespace or directory is ever touched.
"""

import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

RUNC_ROOT = Path("/run/containerd/runc")  # of containerd's runc shim, whatever containerd's own directories are
STARTED_WITHIN_S = 30
ENDED_WITHIN_S = 60
# cri wants a network and changes the machine's sysctls; opt makes directories in /opt
DISABLED = ("io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp")


class Containerd:
    """A context manager: containerd with directories, a socket and a namespace of its own.

    `shims` is the directory of containerd-shim-urunc-v2.  After it, nothing is left: neither its shims nor their
    containers nor mounts.  `logs` is what it said, for messages of failures.
    """

    def __init__(self, shims: Path, environment: dict[str, str] | None = None) -> None:
        # a unix socket's path has 107 bytes at most
        self.directory = Path(tempfile.mkdtemp(prefix="urunc-e2e-", dir="/tmp"))
        self.namespace = self.directory.name.replace("_", "x")  # a containerd identifier does not end with one
        self.address = self.directory / "containerd.sock"
        self.snapshotter = "overlayfs" if overlayfs_works(self.directory) else "native"
        self.environment = {
            **os.environ,
            **(environment or {}),
            "PATH": f"{shims}:{os.environ['PATH']}",
            "CONTAINERD_ADDRESS": str(self.address),
            "CONTAINERD_NAMESPACE": self.namespace,
            "CONTAINERD_SNAPSHOTTER": self.snapshotter,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Containerd":
        config = self.directory / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self.directory}/root"\nstate = "{self.directory}/state"\n'
            f"disabled_plugins = [{', '.join(map(json.dumps, DISABLED))}]\n"
            f'[grpc]\naddress = "{self.address}"\n[ttrpc]\naddress = "{self.address}.ttrpc"\n'
        )
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                ("containerd", "--config", str(config)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,  # Ctrl-C is for pytest, which ends this one in order
            )
        try:
            wait_until(self._answers, "containerd answers", STARTED_WITHIN_S)
        except BaseException as error:
            error.add_note(self.logs)
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._end_containers()
        finally:
            self._stop()

    @property
    def logs(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def argv(self, *args: str) -> tuple[str, ...]:
        """The command line of ctr with `args`; it wants `environment`."""
        return ("ctr", *args)

    def ctr(
        self, *args: str, check: bool = True, timeout: float = 60, where: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run ctr; with `check` a failure is an AssertionError with what it and containerd said last.

        `where`: words before the command, of a program that executes it somewhere else.
        """
        ended = subprocess.run(
            (*where, *self.argv(*args)),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        if check and ended.returncode:
            tail = "\n".join(self.logs.splitlines()[-20:])
            raise AssertionError(f"$ {' '.join(ended.args)}\n{ended.stdout}{ended.stderr}-- containerd:\n{tail}")
        return ended

    def import_image(self, image: Path) -> str:
        """Import an image layout; return its name."""
        before = set(self.ctr("image", "ls", "-q").stdout.split())
        self.ctr("image", "import", "--snapshotter", self.snapshotter, str(image))
        (name,) = set(self.ctr("image", "ls", "-q").stdout.split()) - before
        return name

    def task_pid(self, name: str) -> int:
        """The pid of a container's first process, 0 without one."""
        rows = (line.split() for line in self.ctr("task", "ls").stdout.splitlines()[1:])
        return next((int(pid) for task, pid, _ in rows if task == name), 0)

    def task_status(self, name: str) -> str:
        """RUNNING, STOPPED, ..., or "" without a task."""
        rows = (line.split() for line in self.ctr("task", "ls").stdout.splitlines()[1:])
        return next((status for task, _, status in rows if task == name), "")

    def left_of(self, name: str) -> list[str]:
        """What a container has left behind: its shim, its processes if they name it, its directories and mounts."""
        directories = (
            RUNC_ROOT / self.namespace / name,
            self.directory / "state" / "io.containerd.runtime.v2.task" / self.namespace / name,
            self.directory / "root" / "io.containerd.runtime.v2.task" / self.namespace / name,
        )
        return [
            *(f"process {pid}: {command}" for pid, command in processes_with(name)),
            *(f"directory {path}" for path in directories if path.exists()),
            *(f"mount {point}" for point in mounts_below(self.directory) if f"/{name}/" in f"{point}/"),
        ]

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"containerd has ended with status {self.process.returncode}")
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.address))
            except OSError:
                return False
        return self.ctr("version", check=False).returncode == 0

    def _end_containers(self) -> None:
        for name in self.ctr("task", "ls", "-q", check=False).stdout.split():
            self.ctr("task", "delete", "--force", name, check=False)
        for name in self.ctr("container", "ls", "-q", check=False).stdout.split():
            self.ctr("container", "delete", name, check=False)

    def _stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(ENDED_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid, _ in processes_with(f"{self.address}"):  # a shim's command line has -address
            end_with_children(pid)
        for point in reversed(mounts_below(self.directory)):
            subprocess.run(("umount", "-l", point), check=False, stdin=subprocess.DEVNULL)
        shutil.rmtree(self.directory)
        shutil.rmtree(RUNC_ROOT / self.namespace, ignore_errors=True)


def overlayfs_works(directory: Path) -> bool:
    """Whether an overlay can be mounted on `directory`'s file system."""
    with tempfile.TemporaryDirectory(prefix="overlay-", dir=directory) as name:
        for part in ("lower", "upper", "work", "merged"):
            Path(name, part).mkdir()
        options = f"lowerdir={name}/lower,upperdir={name}/upper,workdir={name}/work"
        mount = ("mount", "-t", "overlay", "-o", options, "overlay", f"{name}/merged")
        if subprocess.run(mount, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode:
            return False
        subprocess.run(("umount", f"{name}/merged"), check=True, stdin=subprocess.DEVNULL)
        return True


def wait_until(holds: Callable[[], bool], what: str, within_s: float = ENDED_WITHIN_S) -> None:
    """Return as soon as `holds()`; AssertionError if it never does."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.02)


def processes_with(text: str) -> list[tuple[int, str]]:
    """Pid and command line of every process whose command line has `text`, but for this one."""
    found = []
    for pid, command in command_lines():
        if text in command and pid != os.getpid():
            found.append((pid, command))
    return found


def command_lines() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                pass  # it has just ended


def end_with_children(pid: int) -> None:
    """Kill a process and, before, its children: a shim's are its containers' first processes."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for number in (*map(int, children), pid):
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            pass


def mounts_below(directory: Path) -> list[str]:
    """The mount points below `directory`, in the order they were made."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [point for point in (line.split()[4] for line in lines) if f"{point}/".startswith(f"{directory}/")]


def in_terminal(
    argv: Sequence[str], environment: dict[str, str], typed: bytes = b"", after: bytes = b"", timeout_s: float = 20
) -> tuple[int, str]:
    """Run a command on a terminal of its own; return its status and what it wrote there.

    `typed` is typed as soon as it has written `after`.
    """
    master, slave = pty.openpty()
    output = bytearray()
    with subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        try:
            end = time.monotonic() + timeout_s
            while (data := _read(master, end)) is not None:
                output += data
                if typed and after in output:
                    os.write(master, typed)
                    typed = b""
            status = process.wait(max(0, end - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            process.kill()
            raise AssertionError(f"no end within {timeout_s} s: {argv} has written {bytes(output)!r}") from None
        finally:
            os.close(master)
    return status, output.decode(errors="replace")


def _read(master: int, end: float) -> bytes | None:
    """What was written to the terminal; None when nobody has it any more."""
    if not select.select([master], [], [], max(0, end - time.monotonic()))[0]:
        raise TimeoutError
    try:
        return os.read(master, 65536)
    except OSError:  # EIO
        return None
