"""The cage around a monitor, as the kernel accounts for it, against what it is to be.

`URUNC_UPDATE_CAGES=1 pytest tests/e2e/test_containment.py` writes the lists of tests/e2e/cages anew; the difference is
there to be read: a line more is something more that a guest who owns its monitor can reach.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.container import CONFIG, NAMESPACES, UNIKERNEL, Runtime, merged, read, until, write_bundle
from tests.e2e import cage
from tests.guests import build, spt_build

from urunc import kvm, monitors

pytestmark = pytest.mark.e2e

CAGES = Path(__file__).resolve().parent / "cages"
UPDATE = bool(os.environ.get("URUNC_UPDATE_CAGES"))
ALL_NEW = {"namespaces": [*NAMESPACES, {"type": "cgroup"}]}
# a guest that says a word and stays, for each monitor: annotations, arguments, the word
GUESTS: dict[str, tuple[dict[str, str], tuple[str, ...], str]] = {
    "qemu": ({}, ("/app", "echo"), "hello from a unikernel"),
    "firecracker": ({"accelerator": "kvm"}, ("/app", "echo"), "hello from a unikernel"),
    "spt": ({"unikernelType": "mirage", "accelerator": ""}, ("sleep",), "waiting"),
    "hvt": ({"unikernelType": "mirage", "accelerator": "kvm"}, ("sleep",), ""),
}
Make = Callable[..., Path]


@pytest.fixture
def guest(tmp_path: Path, hello: Path) -> Make:
    """Makes the bundle of a guest that stays, for a monitor by its name; the rest changes config.json."""

    def make(monitor: str, **changes: Any) -> Path:
        keys, args, _ = GUESTS[monitor]
        file = spt_build.build(build.default_cache())["wait"] if monitor in ("spt", "hvt") else hello
        known = {"hypervisor": monitor, **keys}
        own = {f"com.urunc.unikernel.{key}": value for key, value in known.items()}
        annotations = {key: value for key, value in {**UNIKERNEL, **own}.items() if value}
        config = merged(CONFIG, {"annotations": annotations, "process": {"args": list(args)}, "linux": ALL_NEW})
        return write_bundle(tmp_path / f"bundle-{monitor}", {"hello": file}, merged(config, changes))

    return make


def up(urunc: Runtime, bundle: Path, monitor: str) -> int:
    """Start the container; return the pid of its monitor when the guest runs."""
    urunc.good("create", "--bundle", bundle, "c")
    output = urunc.output
    urunc.good("start", "c")
    until(lambda: GUESTS[monitor][2] in read(output), f"the guest of {monitor} says {GUESTS[monitor][2]!r}")
    return int(urunc.state()["pid"])


def available(monitor: str) -> str:
    """Return why the monitor cannot run a guest here, "" if it can: found and, if it needs it, with KVM that works."""
    entry = monitors.load(monitor)
    if not entry.built_in and not any(map(shutil.which, entry.binaries)):
        return f"{entry.binaries[0]} is not on PATH: the cage of {monitor} is not tested"
    if entry.kvm == "needed" and kvm.level() == "none":
        return f"/dev/kvm does not work here: the cage of {monitor} is not tested"
    return ""


@pytest.fixture(params=["qemu", "spt", "firecracker", "hvt"])
def monitor(request: pytest.FixtureRequest) -> str:
    """Every monitor that is here."""
    name = str(request.param)
    if reason := available(name):
        pytest.skip(reason)
    return name


def test_a_cage_holds_what_its_golden_list_says(urunc: Runtime, guest: Make, monitor: str) -> None:
    """Credentials, environment, namespaces, descriptors, mounts, files and device nodes: nothing else is there."""
    text = cage.listing(up(urunc, guest(monitor), monitor))
    golden = CAGES / f"{monitor}.txt"
    if UPDATE:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)

    assert golden.read_text() == text


def test_the_prepared_tree_holds_the_monitor_and_what_it_loads(urunc: Runtime, guest: Make) -> None:
    """Told by ldd(1), an independent witness; no device, nothing set-user-id, nothing that others may write."""
    pid = up(urunc, guest("qemu"), "qemu")
    tree = Path(f"/proc/{pid}/root/{cage.TREE}")
    entry = monitors.load("qemu")
    binary = Path(str(shutil.which(entry.binaries[0]))).resolve()
    given = [binary, *(path for pattern in entry.modules for path in Path("/").glob(pattern[1:]))]
    data = {path.resolve() for pattern in entry.data for path in Path("/").glob(pattern[1:])}
    expected = {*given, *data, *(library for path in given for library in linked(path))}
    found = {path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()}
    odd = {path for path in tree.rglob("*") if stat.S_IFMT(path.lstat().st_mode) not in KINDS}

    assert {str(path) for path in expected} == {f"/{path.relative_to(tree)}" for path in found} - MADE
    assert set() == odd
    assert set() == {path for path in found if path.stat().st_mode & 0o6022}


KINDS = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
MADE = {"/.manifest", "/etc/ld.so.cache"}  # ours, and what the dynamic linker may look libraries up in


def linked(path: Path) -> set[Path]:
    """The libraries and the interpreter that a program or a module loads."""
    ended = subprocess.run(("ldd", path), capture_output=True, text=True, check=True)
    words = [word for line in ended.stdout.splitlines() for word in line.split() if word.startswith("/")]
    return {Path(word).resolve() for word in words}
