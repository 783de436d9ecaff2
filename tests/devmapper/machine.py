"""A machine with a thin pool and a containerd whose snapshotter is devmapper: User-Mode Linux, as an ordinary process.

The one rule: the machine cannot change the host.  Its root is the host's seen through an overlay; what it writes, and
the pool itself, are sparse files of a temporary directory.

As a program: python tests/devmapper/machine.py COMMAND... runs a command there, to look around.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

KERNEL = Path("/usr/bin/linux.uml")  # Debian's user-mode-linux
MODULES = Path("/usr/lib/uml/modules")
BOOT = Path(__file__).resolve().parent / "boot.sh"
BOOT_WITHIN_S = 120  # an idle machine takes 5 s
DISKS = {"data": 4 << 30, "metadata": 64 << 20, "written": 8 << 30}  # bytes, of sparse files
END_WITHIN_S = 10
SYSTEMD = ("systemd.unit=command.service", "systemd.log_target=kmsg", "systemd.default_standard_output=null")

Result = subprocess.CompletedProcess[str]


class MachineError(Exception):
    """The machine did not come up, or was still up at its time limit; the text ends with what it said."""


def run(
    command: Sequence[str],
    *,
    timeout_s: float,
    memory_mib: int = 1536,
    fs_type: str = "ext4",
    cwd: Path | None = None,
    systemd: bool = False,
    words: tuple[str, ...] = (),
) -> Result:
    """Run `command` as root in a new machine; its standard streams are files.

    `fs_type` is what the snapshotter makes (ext4, xfs with Debian 12's), "" for a machine without containerd.  The
    environment has CONTAINERD_ADDRESS, CONTAINERD_SNAPSHOTTER and DEVMAPPER_POOL.  With `systemd` that is process 1,
    and there is neither containerd nor a thin pool.  `words` are for the command line of the kernel, and of systemd.
    """
    with tempfile.TemporaryDirectory(prefix="urunc-machine-") as name:
        directory = Path(name)
        try:
            environment = {"FS_TYPE": fs_type, "CWD": str(cwd or Path.cwd()), "SYSTEMD": "1" if systemd else ""}
            _prepare(directory, command, environment)
            ended = _boot(directory, memory_mib, timeout_s, (*SYSTEMD, *words) if systemd else words)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise MachineError(f"no machine: {error}: run ci/setup") from error
        status = _read(directory / "status").strip()
        if not status or status == "125":
            reason = "it did not end in time" if ended is None else f"User-Mode Linux ended with status {ended}"
            raise MachineError(
                f"no machine, or no status of {shlex.join(command)}: {reason}\n{_read(directory / 'out')}"
                f"{_read(directory / 'err')}{_read(directory / 'log')[-8000:]}{_read(directory / 'kernel')[-4000:]}"
            )
        return subprocess.CompletedProcess(command, int(status), _read(directory / "out"), _read(directory / "err"))


def unusable() -> str:
    """Return why there can be no machine here, "" if there can: by use, without containerd."""
    try:
        ended = run(("true",), timeout_s=BOOT_WITHIN_S, fs_type="")
    except MachineError as error:
        return str(error)
    return "" if ended.returncode == 0 else f"true ends with status {ended.returncode}"


def _prepare(directory: Path, command: Sequence[str], environment: dict[str, str]) -> None:
    environment = {"MODULES": str(max(MODULES.iterdir())), **environment}
    lines = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    (directory / "environment").write_text("\n".join([*lines, f"COMMAND=({shlex.join(command)})", ""]))
    for disk, size in DISKS.items():
        with (directory / disk).open("wb") as file:
            file.truncate(size)
    lazy = "lazy_itable_init=1,lazy_journal_init=1"
    subprocess.run(
        ("/sbin/mke2fs", "-q", "-t", "ext4", "-E", lazy, "-O", "^has_journal", str(directory / "written")),
        stdin=subprocess.DEVNULL, capture_output=True, check=True,
    )  # fmt: skip


def _boot(directory: Path, memory_mib: int, timeout_s: float, words: tuple[str, ...]) -> int | None:
    """Return the status of the kernel's process, None if it had to be ended."""
    disks = [f"ubd{number}={directory / name}" for number, name in enumerate(DISKS)]
    line = (
        *(str(KERNEL), f"mem={memory_mib}M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw"),
        *(f"init={BOOT}", "umid=machine", f"uml_dir={directory}/", *disks, "con=null", "quiet", "loglevel=4"),
        *words,
        *("--", str(directory)),
    )
    with (directory / "kernel").open("wb") as log, subprocess.Popen(
        line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
        env={"HOME": str(directory), "TMPDIR": _memory_directory(directory, memory_mib), "PATH": os.defpath},
    ) as process:  # fmt: skip
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)


def _memory_directory(directory: Path, memory_mib: int) -> str:
    """Return where the file that is the machine's memory goes: a container's /dev/shm may be too small for it."""
    shared = os.statvfs("/dev/shm")
    return "/dev/shm" if shared.f_bavail * shared.f_frsize > memory_mib << 20 else str(directory)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(END_WITHIN_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def main() -> int:
    try:
        ended = run(sys.argv[1:] or ["uname", "-a"], timeout_s=3600)
    except MachineError as error:
        print(error, file=sys.stderr)
        return 125
    print(ended.stdout, end="")
    print(ended.stderr, end="", file=sys.stderr)
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
