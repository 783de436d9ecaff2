"""What storage adds to `create`, against all of runc's create, in turns, in one run; fails on a ratio.

The guest is the freestanding one, which is never started: what is measured is choosing and preparing.  Rows: the rootfs
shared with the guest, with few files and with many; a block image; and the rootfs itself as the disk, a thin volume in
a machine of User-Mode Linux (tests/devmapper), against runc in that machine.
`pytest -rs -s bench/test_storage.py`, as root, on a quiet machine.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.container import CONFIG, PROGRAM, UNIKERNEL, merged
from tests.devmapper import machine
from tests.guests import build

ROUNDS = 40 if "DEVMAPPER_POOL" not in os.environ else 15  # the machine is slow
TARGET = 0.1
FILES = 3000  # in the larger rootfs
IMAGE = 64 << 20  # bytes of the block image
SHARED = {"com.urunc.unikernel.kernel": "k"}
OWN_INIT = {"com.urunc.unikernel.mountRootfs": "9pfs"}
BLOCK = {"com.urunc.unikernel.block": "/disk.img"}
SNAPSHOT = {"com.urunc.unikernel.mountRootfs": "true"}
POOL = os.environ.get("DEVMAPPER_POOL", "")  # inside the machine
Case = tuple[list[str], Path]


def bundle(directory: Path, annotations: dict[str, str], files: int = 0) -> Path:
    rootfs = directory / "rootfs"
    (rootfs / "data").mkdir(parents=True)
    for number in range(files):
        (rootfs / "data" / str(number)).write_text("x" * 100)
    shutil.copy(build.hello(build.default_cache()), rootfs / "hello")
    shutil.copy(build.BUSYBOX, rootfs / "app")
    if annotations.get("com.urunc.unikernel.block"):
        with (rootfs / "disk.img").open("wb") as file:
            file.truncate(IMAGE)
    changes: dict[str, Any] = {"annotations": annotations, "process": {"args": ["/app", "true"]}}
    changes["mounts"] = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    changes["linux"] = {"cgroupsPath": f"/urunc-bench-{os.getpid()}-{directory.name}"}
    (directory / "config.json").write_text(json.dumps(merged(CONFIG, changes)))
    return directory


def created(command: list[str], where: Path) -> float:
    """Milliseconds of one create; the container is removed, unmeasured."""
    begin = time.perf_counter()
    subprocess.run([*command, "create", "--bundle", str(where), "c"], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    took = (time.perf_counter() - begin) * 1000
    subprocess.run([*command, "delete", "--force", "c"], check=True)
    return took


def measured(cases: dict[str, Case]) -> dict[str, float]:
    """The median of each case beside that of `plain` as a part of runc's; they are printed, too.

    `noise` is what the creates of `plain` differ by among themselves, as such a part.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(ROUNDS + 3):
        for name, (command, where) in cases.items():
            took = created(command, where)
            if number >= 3:  # the caches are warm by then
                times[name].append(took)
    medians = {name: statistics.median(values) for name, values in times.items()}
    runc, plain = medians["runc"], medians["plain"]
    ratios = {name: (value - plain) / runc for name, value in medians.items() if name not in {"runc", "plain"}}
    ratios["noise"] = statistics.median(abs(value - plain) for value in times["plain"]) / runc
    print("\n" + ", ".join(f"{name} {value:.1f} ms" for name, value in medians.items()))
    print("added to plain, of runc: " + ", ".join(f"{name} {value:.3f}" for name, value in ratios.items()))
    return ratios


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """The command lines of runc and of urunc."""
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if runc is None:
        pytest.skip("nothing to compare with: no runc")
    kernel = build.hello(build.default_cache())
    (tmp_path / "config.toml").write_text(f'[linux.kernels.k]\npath = "{kernel}"\nroot = "9pfs"\n')
    monkeypatch.setenv("URUNC_CONFIG_FILE", str(tmp_path / "config.toml"))
    return [runc, "--root", str(tmp_path / "r")], [str(PROGRAM), "--root", str(tmp_path / "u")]


def test_storage_costs_a_tenth_of_runc_s_create(tmp_path: Path, commands: tuple[list[str], list[str]]) -> None:
    """And no more for many files, of which none is looked at."""
    theirs, ours = commands
    ratios = measured({
        "runc": (theirs, bundle(tmp_path / "runc", {})),
        "plain": (ours, bundle(tmp_path / "plain", UNIKERNEL)),
        "shared": (ours, bundle(tmp_path / "shared", UNIKERNEL | SHARED)),
        "many files": (ours, bundle(tmp_path / "large", UNIKERNEL | SHARED, FILES)),
        "own init": (ours, bundle(tmp_path / "own", UNIKERNEL | OWN_INIT)),
        "block": (ours, bundle(tmp_path / "block", UNIKERNEL | BLOCK)),
    })  # fmt: skip

    bound = TARGET + ratios.pop("noise")
    assert {name: ratio for name, ratio in ratios.items() if ratio > bound} == {}
    assert ratios["many files"] - ratios["shared"] <= bound


def dmsetup(*words: str) -> None:
    subprocess.run(("dmsetup", *words), check=True)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A bundle whose rootfs is a thin volume with many files; its kernel is copied out of it at each create."""
    dmsetup("message", POOL, "0", "create_thin 1")
    dmsetup("create", "bench", "--table", f"0 262144 thin /dev/mapper/{POOL} 1")
    subprocess.run(("mkfs.ext4", "-q", "/dev/mapper/bench"), check=True)
    rootfs = tmp_path / "snapshot" / "rootfs"
    filled = bundle(tmp_path / "filled", UNIKERNEL | SNAPSHOT, FILES)
    rootfs.mkdir(parents=True)
    subprocess.run(("mount", "/dev/mapper/bench", str(rootfs)), check=True)
    shutil.copytree(filled / "rootfs", rootfs, dirs_exist_ok=True)
    shutil.copy(filled / "config.json", rootfs.parent)
    yield rootfs.parent
    subprocess.run(("umount", str(rootfs)), check=True)
    dmsetup("remove", "--retry", "bench")


@pytest.mark.skipif(not POOL, reason="there is no thin pool: it is run in a machine that has one")
def test_a_snapshot_in_the_machine(tmp_path: Path, commands: tuple[list[str], list[str]], volume: Path) -> None:
    theirs, ours = commands
    ratios = measured({
        "runc": (theirs, bundle(tmp_path / "runc", {})),
        "plain": (ours, bundle(tmp_path / "plain", UNIKERNEL)),
        "snapshot": (ours, volume),
    })  # fmt: skip

    assert ratios["snapshot"] <= TARGET + ratios["noise"]


@pytest.mark.skipif(bool(POOL), reason="this is the machine")
def test_a_snapshot_costs_a_tenth_of_runc_s_create() -> None:
    reason = machine.unusable()
    if reason:
        pytest.skip(f"no machine with a thin pool: {reason}")
    build.hello(build.default_cache())  # the machine has no network
    here = Path(__file__).resolve()
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-s", str(here), "-k", "in_the_machine")
    ended = machine.run(command, timeout_s=600, cwd=here.parents[1])
    print(ended.stdout)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
