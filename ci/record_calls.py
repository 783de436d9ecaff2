"""Records the system calls of the monitors and writes the lists that their seccomp filters are made of.

    .venv/bin/python ci/record_calls.py [MONITOR...]        as root; needs strace and, for a monitor, its program

The one rule: a list is what was seen.  What a rare path needs beside that is in calls.REVIEWED, by hand and with its
reason.  Guests of the tests run through dist/urunc, which logs denied calls instead of killing (--debug), so that an
old list does not hide a new call.  What init does before the monitor is executed is not counted.  A monitor with a
filter of its own may call what that lets through (calls.OWN), seen or not.
"""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
from tests.container import alive, exit_status, merged, write_bundle  # noqa: E402
from tests.guests import build, hvt_build, multiboot_build, spt_build  # noqa: E402

from urunc import calls, kvm, monitors  # noqa: E402

URUNC = ROOT / "dist" / "urunc"
MACHINE = os.uname().machine
TARGET = ROOT / "src" / "urunc" / f"calls_{MACHINE}.py"
TIMEOUT_S = 120
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CALL = re.compile(r"^\d+ +(\w+)\(")
NETWORK = """
pid=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/')
exec nsenter -t "$pid" -n sh -ec '
ip link add eth0 type veth peer name other
ip addr add 10.9.8.7/24 dev eth0
ip link set eth0 up; ip link set other up'
"""
HEAD = '''"""System calls that a monitor may make on {machine}, with their numbers: written by ci/record_calls.py."""

ALLOWED = {{
'''


@dataclass(frozen=True)
class Run:
    """One container: `says` is waited for, then `typed` goes to its standard input and `signal` to its process."""

    monitor: str
    guest: str
    args: tuple[str, ...]
    keys: dict[str, str] = field(default_factory=dict)
    says: str = ""
    typed: str = ""
    signal: int = 0
    network: bool = False
    resources: dict[str, dict[str, int]] = field(default_factory=dict)


def runs() -> Iterator[Run]:
    """What the lists are made of: each kind of guest, device and end that the tests have."""
    for accelerator in ("tcg", *(["kvm"] if kvm.level() == "full" else [])):
        qemu = {"unikernelType": "linux", "accelerator": accelerator}
        hello = "hello from a unikernel"
        two = {"cpu": {"quota": 200_000, "period": 100_000}, "memory": {"limit": 1 << 30}}
        yield Run("qemu", "hello", ("/app", "one"), qemu, hello)
        yield Run("qemu", "hello", ("/app", "echo"), qemu, hello, "typed\nquit\n", resources=two)
        yield Run("qemu", "hello", ("/app", "exit=halt"), qemu, hello, signal=signal.SIGTERM, network=True)
        disk = {**qemu, "block": "/disk.img"}
        if accelerator == "tcg":  # the devices are the same
            yield Run("qemu", "linux", ("/init", "one"), qemu, "linux guest says: one")
            command = ("/init", "/bin/dd", "if=/dev/zero", "of=/dev/vda", "bs=1M", "count=1")
            yield Run("qemu", "linux", command, disk, "linux guest says", network=True, resources=two)
            yield Run("qemu", "hello", ("/app", "one"), {**qemu, "unikernelType": "unikraft"})
            yield Run("qemu", "multiboot", ("/app",), {**qemu, "unikernelType": "mewz"})
    solo5 = {"unikernelType": "mirage"}
    yield Run("spt", "hello", ("one",), solo5)
    yield Run("spt", "wait", ("timer",), solo5)
    yield Run("spt", "wait", ("sleep",), solo5, "waiting", signal=signal.SIGTERM)
    yield Run("spt", "block", ("copy",), {**solo5, "block": "/disk.img"})
    yield Run("spt", "net", ("10.9.8.7", "1"), solo5, "address", signal=signal.SIGTERM, network=True)
    if shutil.which("solo5-hvt"):
        yield Run("hvt", "hello", ("one",), solo5)
        yield Run("hvt", "hello", ("stay",), solo5, "hello: stay", signal=signal.SIGTERM)
        yield Run("hvt", "block", ("x",), {**solo5, "block": "/disk.img,/other.img", "solo5BlkDev": "source"})
        yield Run("hvt", "net", ("10.9.8.7",), solo5, "bindings", signal=signal.SIGTERM, network=True)
    for monitor in ("firecracker", "cloud-hypervisor"):
        if shutil.which(monitor):
            yield from _with_kvm(monitor)


def _with_kvm(monitor: str) -> Iterator[Run]:
    keys = {"unikernelType": "linux", "accelerator": "kvm"}
    stays = ("/app", "exit=halt")
    two = {"cpu": {"quota": 200_000, "period": 100_000}, "memory": {"limit": 1 << 30}}
    if monitor == "firecracker":  # a reset ends it
        yield Run(monitor, "hello", ("/app", "one"), keys, "one")
        yield Run(monitor, "hello", ("/app", "echo"), keys, "hello from", "typed\nquit\n", resources=two)
    yield Run(monitor, "hello", stays, keys, "exit=halt", signal=signal.SIGKILL, resources=two)
    yield Run(monitor, "hello", stays, {**keys, "block": "/disk.img"}, "exit=halt", signal=signal.SIGKILL, network=True)
    yield Run(monitor, "hello", stays, {**keys, "stop": "powerdown"}, "exit=halt", signal=signal.SIGTERM)


def bundle_of(run: Run, directory: Path) -> Path:
    cache = build.default_cache()
    files = {"guest": _image(run, cache)}
    keys = {"hypervisor": run.monitor, "binary": "/guest", **run.keys}
    if run.guest == "linux":
        kernel, initrd = build.linux(cache)
        files |= {"guest": kernel, "initrd": initrd}
        keys["initrd"] = "/initrd"
    for name in keys["block"].split(",") if "block" in keys else ():
        (directory / "disk").write_bytes(bytes(16 << 20))
        files[name.lstrip("/")] = directory / "disk"
    hook = {"path": "/bin/sh", "args": ["sh", "-ec", NETWORK], "env": [f"PATH={os.environ['PATH']}"]}
    config = {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": list(run.args), "cwd": "/", "env": []},
        "root": {"path": "rootfs"},
        "annotations": {f"com.urunc.unikernel.{key}": value for key, value in keys.items()},
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "resources": run.resources,
        },
    }
    hooks = {"hooks": {"createRuntime": [hook]}} if run.network else {}
    return write_bundle(directory / "bundle", files, merged(config, hooks))


def _image(run: Run, cache: Path) -> Path:
    if run.guest == "multiboot":
        return multiboot_build.image(cache, "exit")
    if run.monitor == "spt":
        return spt_build.build(cache)[run.guest]
    if run.monitor == "hvt":
        return hvt_build.guests_of(cache, "solo5-hvt")[run.guest]
    return build.hello(cache)


def record(run: Run, directory: Path) -> set[str]:
    """Return the names of the calls that the monitor made."""
    bundle, trace, output = bundle_of(run, directory), directory / "trace", directory / "output"
    urunc = (str(URUNC), "--debug", "--root", str(directory / "root"))
    reading, writing = os.pipe()
    with output.open("wb") as out:
        subprocess.run((*urunc, "create", "--bundle", str(bundle), "c"), stdin=reading, stdout=out, check=True)
    state = subprocess.run((*urunc, "state", "c"), capture_output=True, check=True)
    pid = int(json.loads(state.stdout)["pid"])
    tracer = subprocess.Popen(("strace", "-f", "-qq", "-s", "0", "-o", trace, "-p", str(pid)))
    await_(lambda: "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text(), "strace is there")
    subprocess.run((*urunc, "start", "c"), check=True)
    if run.says:
        await_(lambda: not alive(pid) or (run.says in output.read_text(errors="replace")), run.says)
    os.write(writing, run.typed.encode())
    # it may have ended; the first SIGTERM may be for the power button only
    await_(lambda: not run.signal or not alive(pid) or _signalled(urunc, run.signal), "an end")
    status = exit_status(pid)
    tracer.wait(TIMEOUT_S)
    os.close(reading)
    os.close(writing)
    subprocess.run((*urunc, "delete", "--force", "c"), check=True)
    lines = list(itertools.dropwhile(lambda line: "execve" not in line, trace.read_text(errors="replace").splitlines()))
    companion = "" if lines[0].startswith(f"{pid} ") else f"{pid} "  # no filter is for it
    own = (line for line in lines if not (companion and line.startswith(companion)))
    found = {match[1] for line in own if (match := CALL.match(line))}
    print(
        f"{run.monitor:12}{' '.join((run.guest, *run.args))[:40]:42}status {status:3}  calls {len(found)}", flush=True
    )
    return found


def _signalled(urunc: tuple[str, ...], number: int) -> bool:
    """Send the signal again; whether that has not worked any more."""
    return subprocess.run((*urunc, "kill", "c", str(int(number))), check=False, capture_output=True).returncode != 0


def await_(condition: "object", what: str) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


def numbers() -> dict[str, int]:
    """Name -> number of every system call of this machine, from the kernel's headers."""
    command = ("gcc", "-E", "-dM", "-include", "asm/unistd.h", "-x", "c", "/dev/null")
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}


def written(recorded: dict[str, set[str]]) -> str:
    known = numbers()
    lines = [HEAD.format(machine=MACHINE)]
    for monitor, names in sorted(recorded.items()):
        lines.append(f'    "{monitor}": {{\n')
        lines += [f'        "{name}": {known[name]},\n' for name in sorted(names)]
        lines.append("    },\n")
    reviewed = sorted({name for names in calls.REVIEWED.values() for name in names.split()} & set(known))
    lines += ["}\n", f"REVIEWED = { ({name: known[name] for name in reviewed}) }\n"]
    lines += [f"HIDDEN = { ({name: known[name] for name in calls.HIDDEN}) }\n"]
    lines += [f"ARCHITECTURE = {ARCHITECTURES[MACHINE]:#x}  # AUDIT_ARCH_*\n"]
    lines += [f"LAST = {max(known.values())}  # what is above it was not known when this was written\n"]
    return "".join(lines)


def main(wanted: list[str]) -> None:
    recorded = {name: set(names) for name, names in calls.table(MACHINE).items()}
    subreaper()
    seen: dict[str, set[str]] = {}
    for run in runs():
        if run.monitor in wanted or not wanted:
            with tempfile.TemporaryDirectory(prefix="urunc-record-") as directory:
                seen.setdefault(run.monitor, set()).update(record(run, Path(directory)))
    for name in sorted(seen):
        seen[name] |= set(calls.OWN.get(name, "").split()) & set(numbers())
        gone, new = recorded.get(name, set()) - seen[name], seen[name] - recorded.get(name, set())
        print(f"{name}: new {' '.join(sorted(new)) or '-'}; not seen any more {' '.join(sorted(gone)) or '-'}")
    TARGET.write_text(written(recorded | seen))
    subprocess.run((sys.executable, "-m", "ruff", "format", "-q", TARGET), check=True)
    assert set(seen) <= set(monitors.MODULES)


def subreaper() -> None:
    """Let the containers' processes be our children, to be waited for."""
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


if __name__ == "__main__":
    main(sys.argv[1:])
