"""What the black-box tests hold in their hands: a runtime's command line, bundles, and what may be left of them.

The one rule: only what these tests have started is looked at or ended, never by name.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import cgroups

REPOSITORY = Path(__file__).resolve().parent.parent
RUNC = Path("/usr/sbin/runc")
PROGRAM = Path(os.environ.get("URUNC_TEST_PROGRAM") or REPOSITORY / "dist" / "urunc")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOUND_S = 60.0  # nothing here takes a second on an idle machine, but ten guests may be booting beside it

HOOK_STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
NAMESPACES = tuple({"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount"))
UNIKERNEL = {
    "com.urunc.unikernel.unikernelType": "linux",
    "com.urunc.unikernel.hypervisor": "qemu",
    "com.urunc.unikernel.binary": "/hello",
    "com.urunc.unikernel.accelerator": "tcg",
}
CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {"terminal": False, "user": {"uid": 0, "gid": 0}, "args": ["/app"], "env": ["A=1"], "cwd": "/"},
    "root": {"path": "rootfs"},
    "hostname": "guest",
    "linux": {"namespaces": list(NAMESPACES)},
}

Result = subprocess.CompletedProcess[str]


def until(condition: Callable[[], object], what: str) -> None:
    """Poll until `condition` holds; fail by name when it does not come true."""
    end = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < end, f"waited {BOUND_S:.0f} s for: {what}"
        time.sleep(0.005)


def merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` with `changes`, key by key; None removes one."""
    result = dict(config)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def write_bundle(directory: Path, files: Mapping[str, Path], config: Mapping[str, Any]) -> Path:
    """Make a bundle in `directory`: copies of `files` in its rootfs, and config.json."""
    (directory / "rootfs").mkdir(parents=True)
    for name, source in files.items():
        (directory / "rootfs" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, directory / "rootfs" / name)
    (directory / "config.json").write_text(json.dumps(config))
    return directory


class Runtime:
    """One OCI runtime with a --root of its own; call it with the words of a command line.

    Standard output and error are files, not pipes: the container's process inherits those of `create`.
    """

    def __init__(self, program: Path, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.root = directory / "r"
        self.config = directory / "config.toml"
        self.environment = {"PATH": PATH, "URUNC_CONFIG_FILE": str(self.config)}
        self.mounts_before = mounts(directory)
        self.cgroups_before = cgroups.left()
        self.output = directory / "out.0"  # of the last command
        self.count = 0
        self.expected_warning = ""  # words of a line that every create may write

    def words(self, *words: object) -> list[str]:
        """Return a command line with our --root."""
        return [str(self.program), "--root", str(self.root), *map(str, words)]

    def __call__(self, *words: object, **options: Any) -> Result:
        """Run a command to its end; `options` are those of `run`."""
        return self.run(self.words(*words), **options)

    def run(self, command: Sequence[str], **options: Any) -> Result:
        self.count += 1
        self.output, errors = self.directory / f"out.{self.count}", self.directory / f"err.{self.count}"
        with self.output.open("wb") as out, errors.open("wb") as err:
            process = self.begin(command, **({"stdout": out, "stderr": err} | options))
            try:
                status = process.wait(BOUND_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
        return subprocess.CompletedProcess(command, status, read(self.output), read(errors))

    def begin(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command; `options` are those of Popen."""
        defaults: dict[str, Any] = {"env": self.environment, "cwd": self.directory, "stdin": subprocess.DEVNULL}
        started: subprocess.Popen[bytes] = subprocess.Popen(command, **(defaults | options))
        return started

    def good(self, *words: object, **options: Any) -> str:
        """Run a command that must succeed and be silent on stderr; return its output."""
        ended = self(*words, **options)

        assert (0, "") == (ended.returncode, self.unwarned(ended.stderr)), f"{ended.args}: {ended.stderr}"
        return ended.stdout

    def unwarned(self, errors: str) -> str:
        """Return what stands on stderr without the warning that is expected there."""
        lines = errors.splitlines(keepends=True)
        return "".join(line for line in lines if not self.expected_warning or self.expected_warning not in line)

    def create(self, bundle: Path, name: str = "c", *words: object, **options: Any) -> int:
        """Create a container; return the pid of its process, which state knows."""
        self.good("create", "--bundle", bundle, *words, name, **options)
        return int(self.state(name)["pid"])

    def running(self, bundle: Path, name: str = "c") -> int:
        """Create and start a container whose guest does not end by itself."""
        pid = self.create(bundle, name)
        self.good("start", name)
        return pid

    def state(self, name: str = "c") -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.good("state", name))
        return state

    def status(self, name: str = "c") -> str:
        """Return the status, "gone" if there is no such container."""
        ended = self("state", name)
        if ended.returncode == 0:
            return str(json.loads(ended.stdout)["status"])
        assert "does not exist" in ended.stderr, f"{name}: {ended.stderr}"
        return "gone"

    def await_status(self, status: str, name: str = "c") -> None:
        until(lambda: self.status(name) == status, f"{name} is {status}")

    def paused(self, bundle: Path, name: str = "c") -> int:
        """Leave a paused container."""
        pid = self.running(bundle, name)
        self.good("pause", name)
        return pid

    def stopped(self, bundle: Path, name: str = "c") -> None:
        """Leave a container that has stopped."""
        self.create(bundle, name)
        self.good("kill", name, "KILL")
        self.await_status("stopped", name)

    def remains(self) -> list[str]:
        """Return what is left of all containers: state directories, living processes, cgroups, mounts."""
        entries = set(os.listdir(self.root)) if self.root.exists() else set()
        left = [f"state {name}" for name in sorted(entries - {".lock"})]
        left += [f"process {pid} {comm(pid)}" for pid in orphans()]
        left += [f"cgroup {path}" for path in cgroups.left() if path not in self.cgroups_before]
        return left + [f"mount {mount}" for mount in mounts(self.directory) - self.mounts_before]

    def clean(self) -> None:
        """Have `delete --force` remove every container; whatever was done to one, nothing may be left then."""
        for name in sorted(os.listdir(self.root)) if self.root.exists() else []:
            if name != ".lock":
                ended = self("delete", "--force", "--", name)
                assert (0, "") == (ended.returncode, ended.stderr), f"delete --force {name}: {ended.stderr}"

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """Afterwards every container is removed, and nothing may be left."""
        yield
        try:
            self.clean()

            assert [] == self.remains()
        finally:
            end_orphans()

    def allow_process_monitor(self) -> None:
        """Have the host's configuration allow it, and expect the warning that it gives each time."""
        self.config.write_text('process_monitor = true\nfallback = "process"\n')
        self.expected_warning = "the process monitor is in use"


def read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def catches(pid: int, number: int) -> bool:
    """Whether a monitor has come to where it handles a signal: one that is pid 1 is killed instead until then."""
    masks = [line.split()[1] for line in read(Path(f"/proc/{pid}/status")).splitlines() if line.startswith("SigCgt:")]
    return not comm(pid).startswith("urunc:[") and any(int(mask, 16) >> number - 1 & 1 for mask in masks)


def process_state(pid: int) -> str:
    """Return the letter of proc_pid_stat(5), "" for a process that is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def alive(pid: int) -> bool:
    return process_state(pid) not in ("", "Z", "X")


def exit_status(pid: int) -> int:
    """Wait for a container's process, our child as we are a subreaper; return its status as a shell has it."""
    until(lambda: process_state(pid) in ("Z", "X"), f"the end of {pid}")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


# children that we had before: a containerd that serves the whole session is nobody's orphan
KNOWN: set[int] = set()


def children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def orphans() -> list[int]:
    """Reap our children that have ended; return those that live: containers' processes, as we are a subreaper."""
    living = []
    for pid in children():
        if pid in KNOWN:
            continue
        if alive(pid):
            living.append(pid)
        else:
            os.waitpid(pid, 0)
    return living


def end_orphans() -> None:
    """End what a failed test has left, so that the next one starts clean."""
    for pid in orphans():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def descriptors() -> int:
    """How many this process has; but for the one of urunc-init, which it keeps from its first container on."""
    numbers = os.listdir("/proc/self/fd")
    images = [at for at in numbers if os.path.realpath(f"/proc/self/fd/{at}").endswith("/memfd:urunc-init (deleted)")]
    return len(numbers) - len(images)


def mounts(directory: Path) -> set[str]:
    """Return the mounts that have to do with `directory` or with urunc's run directory."""
    with open("/proc/self/mountinfo") as table:
        return {line.strip() for line in table if str(directory) in line or "/run/urunc" in line}
