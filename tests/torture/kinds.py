"""Kinds of containers that the torture has in common: each can leave behind what no other one can.

A kind needs things of the host's, which go when the stack is closed: after its containers have gone.
"""

import os
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.container import CONFIG, KNOWN, UNIKERNEL, Runtime, children, merged, until, write_bundle
from tests.e2e.lan import FOR_EVER, SPT, Lan, tables
from tests.fastpath.network_rig import batch
from tests.guests import build, spt_build

OPEN = {"maskedPaths": None, "readonlyPaths": None}  # what a mount namespace of others can be without


@dataclass(frozen=True)
class Kind:
    """A bundle, and what else there is to be as it was."""

    bundle: Path
    before: Callable[[], object] = lambda: None


def waiting(directory: Path) -> Path:
    """The bundle of a Solo5 guest that stays."""
    annotations = {f"com.urunc.unikernel.{key}": value for key, value in SPT.items()}
    config = merged(CONFIG, {"annotations": annotations, "process": {"args": ["sleep"]}})
    return write_bundle(directory, {"guest": spt_build.build(build.default_cache())["wait"]}, config)


def borrowed(runtime: Runtime, name: str, *mount: dict[str, str]) -> Kind:
    """A program of the process monitor in the caller's mount namespace, which has to have no mount of it."""
    config = {
        "hostname": None,
        "process": {"args": ["/bin/busybox", "sleep", "1000"]},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, *mount], **OPEN},
    }
    files = {"bin/busybox": Path("/bin/busybox")}
    path = write_bundle(runtime.directory / name, files, merged(CONFIG, config))
    for point in ("proc", "dev"):
        (path / "rootfs" / point).mkdir()
    return Kind(path)


def joined(runtime: Runtime, name: str, stack: ExitStack) -> Kind:
    """The same in a mount namespace that is named, and goes on without it."""
    holder = subprocess.Popen(["unshare", "--mount", "sleep", "1000"])
    stack.callback(holder.wait)
    stack.callback(holder.kill)
    until(lambda: namespace(holder.pid) != namespace("self"), "the other mount namespace")
    KNOWN.update(children())
    kind = borrowed(runtime, name, {"type": "mount", "path": f"/proc/{holder.pid}/ns/mnt"})
    table = Path(f"/proc/{holder.pid}/mountinfo")
    return Kind(kind.bundle, lambda: [row for row in table.read_text().splitlines() if str(runtime.directory) in row])


def namespace(pid: int | str) -> str:
    return os.readlink(f"/proc/{pid}/ns/mnt")


def shared(runtime: Runtime, name: str, pod: Lan) -> Kind:
    """A guest that shares a network namespace: a private subnet, nftables rules for its port."""
    batch(pod.inside, ["link set lo up"])
    keys = {**SPT, "network": "shared", "ports": "8080"}
    spaces = [{"type": "network", "path": f"/run/netns/{pod.inside}"}, *({"type": t} for t in ("pid", "ipc", "mount"))]
    config = {
        "hostname": None,
        "annotations": {f"com.urunc.unikernel.{key}": value for key, value in keys.items()},
        "process": {"args": [FOR_EVER]},
        "linux": {"namespaces": spaces},
    }
    files = {"guest": build.station(build.default_cache())}
    path = write_bundle(runtime.directory / name, files, merged(CONFIG, config))
    return Kind(path, lambda: (pod.state(), tables(pod.inside), tables(pod.outside)))


def device(runtime: Runtime, name: str, hello: Path, stack: ExitStack) -> Kind | None:
    """A guest with a block device of the host for itself (O_EXCL), and a companion; None where none can be made."""
    image = runtime.directory / f"{name}.img"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["mkfs.ext2", "-q", image], check=True)
    made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    if made.returncode:
        return None
    loop = Path(made.stdout.strip())
    stack.callback(lambda: subprocess.run(["losetup", "--detach", loop], check=True))
    number = loop.stat().st_rdev
    numbers = {"major": os.major(number), "minor": os.minor(number)}
    rules: list[dict[str, Any]] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "b", "access": "rwm", **numbers},
    ]
    config = {
        "annotations": UNIKERNEL | {"com.urunc.unikernel.block": "/dev/data"},
        "process": {"args": ["/app", "exit=halt"]},
        "linux": {
            "devices": [{"path": "/dev/data", "type": "b", **numbers}],
            "resources": {"devices": rules},
        },
    }
    path = write_bundle(runtime.directory / name, {"hello": hello}, merged(CONFIG, config))
    return Kind(path, lambda: claimable(loop))


def claimable(loop: Path) -> bool:
    """Whether nobody has the device for itself any more."""
    try:
        os.close(os.open(loop, os.O_RDWR | os.O_EXCL))
    except OSError:
        return False
    return True
