"""Boots the guests of tests/guests through dist/urunc and shows what they print and where the time goes.

The one rule: what is shown is what happened, and the command above it can be pasted.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
URUNC = ROOT / "dist" / "urunc"
TIMEOUT_S = 180
NAMESPACES = ("pid", "ipc", "uts", "mount", "network")


@dataclass(frozen=True)
class Guest:
    """A guest: its files in the container's rootfs, its command and what it is to urunc."""

    name: str
    args: tuple[str, ...]
    annotations: dict[str, str]
    files: dict[str, Path] = field(default_factory=dict)


def main() -> int:
    """Show every guest; the exit status is 1 if one of them failed."""
    return max([show(guest) for guest in guests()])


def guests() -> tuple[Guest, ...]:
    """What is shown: a Solo5 guest under our own tender, the smallest guest for QEMU, a Linux kernel with an initrd."""
    sys.path.insert(0, str(ROOT))
    from tests.guests import build, spt_build

    cache = build.default_cache()
    kernel, initrd = build.linux(cache)
    return (
        Guest(
            "solo5",
            ("hello", "from a", "Solo5 guest"),
            {"unikernelType": "mirage", "hypervisor": "spt", "binary": "/hello.spt"},
            {"hello.spt": spt_build.build(cache)["hello"]},
        ),
        Guest(
            "hello",
            ("hello", "from", "a unikernel"),
            {"unikernelType": "linux", "hypervisor": "qemu", "binary": "/boot/hello"},
            {"boot/hello": build.hello(cache)},
        ),
        Guest(
            "linux",
            ("/init", "hello", "from a", "Debian kernel"),
            {"unikernelType": "linux", "hypervisor": "qemu", "binary": "/boot/kernel", "initrd": "/boot/initrd"},
            {"boot/kernel": kernel, "boot/initrd": initrd},
        ),
    )


def show(guest: Guest) -> int:
    """Run `guest` in a container of its own and print its output and its stages."""
    with tempfile.TemporaryDirectory(prefix="urunc-demo-") as name:
        directory = Path(name)
        make_bundle(directory / "bundle", guest)
        trace = directory / "trace.json"
        argv = (str(URUNC), "--root", str(directory / "root"), "--trace", str(trace), "run",
                "--bundle", str(directory / "bundle"), f"demo-{guest.name}-{os.getpid()}")  # fmt: skip
        print(f"\n== {guest.name} ==\n$ {shlex.join(argv)}", flush=True)
        status, output, took_ms = run(argv)
        print("\n".join(f"    {line}" for line in output.splitlines()))
        print(f"status {status}, {took_ms:.1f} ms in all\n")
        print(stage_table(trace_events(trace)), flush=True)
    return 1 if status else 0


def make_bundle(bundle: Path, guest: Guest) -> None:
    """Write the OCI bundle of `guest`: config.json and a rootfs with its files."""
    for path, source in guest.files.items():
        target = bundle / "rootfs" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    config = {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": list(guest.args), "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "hostname": guest.name,
        "annotations": {f"com.urunc.unikernel.{key}": value for key, value in guest.annotations.items()},
        "linux": {"namespaces": [{"type": name} for name in NAMESPACES]},
    }
    (bundle / "config.json").write_text(json.dumps(config, indent=2))


def run(argv: tuple[str, ...]) -> tuple[int, str, float]:
    """Exit status, output and duration in ms of a command."""
    begin = time.monotonic()
    try:
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               timeout=TIMEOUT_S, check=False, text=True, errors="replace")  # fmt: skip
    except subprocess.TimeoutExpired as error:
        delete = (*argv[:3], "delete", "--force", argv[-1])
        subprocess.run(delete, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False)
        output = (error.stdout or b"").decode(errors="replace")
        return 1, f"{output}\nno end within {TIMEOUT_S} s", TIMEOUT_S * 1000.0
    return ended.returncode, ended.stdout, (time.monotonic() - begin) * 1000


def trace_events(path: Path) -> list[dict[str, object]]:
    """The complete events of a Chrome trace, which may lack its last bracket (that is how it is appended to)."""
    if not path.exists():
        return []
    text = path.read_text().strip().rstrip(",")
    events = json.loads(text if text.endswith("]") else f"{text}]")
    return [event for event in events if event.get("ph") == "X"]


def stage_table(events: list[dict[str, object]]) -> str:
    """One line per stage, in the order of their beginnings: begin and duration in ms."""
    if not events:
        return "    (no trace)"
    rows = sorted(
        (float(str(event["ts"])), float(str(event["dur"])), f"{event['cat']}: {event['name']}") for event in events
    )
    zero = rows[0][0]
    width = max(len(name) for *_, name in rows)
    lines = [f"    {'stage':{width}}   begin ms    took ms"]
    lines += [f"    {name:{width}}  {(ts - zero) / 1000:9.2f}  {duration / 1000:9.2f}" for ts, duration, name in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
