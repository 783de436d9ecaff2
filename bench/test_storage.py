"""What a shared rootfs adds to `create`, against all of runc's create, in turns, in one run; fails on a ratio.

The guest is the freestanding one, which is never started: what is measured is choosing and preparing.
`pytest -rs -s bench/test_storage.py`, as root, on a quiet machine.
"""

import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.container import CONFIG, PROGRAM, UNIKERNEL, merged
from tests.guests import build

ROUNDS = 40
TARGET = 0.1
FILES = 3000  # in the larger rootfs
SHARED = {"com.urunc.unikernel.kernel": "k"}


def bundle(directory: Path, annotations: dict[str, str], files: int) -> Path:
    rootfs = directory / "rootfs"
    (rootfs / "data").mkdir(parents=True)
    for number in range(files):
        (rootfs / "data" / str(number)).write_text("x" * 100)
    shutil.copy(build.hello(build.default_cache()), rootfs / "hello")
    shutil.copy(build.BUSYBOX, rootfs / "app")
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


def test_a_shared_rootfs_costs_a_tenth_of_runc_s_create(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if runc is None:
        pytest.skip("nothing to compare with: no runc")
    kernel = build.hello(build.default_cache())
    (tmp_path / "config.toml").write_text(f'[linux.kernels.k]\npath = "{kernel}"\nroot = "9pfs"\n')
    monkeypatch.setenv("URUNC_CONFIG_FILE", str(tmp_path / "config.toml"))
    ours, theirs = [str(PROGRAM), "--root", str(tmp_path / "u")], [runc, "--root", str(tmp_path / "r")]
    cases = {
        "runc": (theirs, bundle(tmp_path / "runc", {}, 0)),
        "plain": (ours, bundle(tmp_path / "plain", UNIKERNEL, 0)),
        "shared": (ours, bundle(tmp_path / "shared", UNIKERNEL | SHARED, 0)),
        "large": (ours, bundle(tmp_path / "large", UNIKERNEL | SHARED, FILES)),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(ROUNDS + 3):
        for name, (command, where) in cases.items():
            took = created(command, where)
            if number >= 3:  # the caches are warm by then
                times[name].append(took)
    medians = {name: statistics.median(values) for name, values in times.items()}
    noise = statistics.median(abs(value - medians["plain"]) for value in times["plain"])
    print("\n" + ", ".join(f"{name} {value:.1f} ms" for name, value in medians.items()) + f", noise {noise:.1f} ms")

    assert medians["shared"] - medians["plain"] <= TARGET * medians["runc"] + noise
    assert medians["large"] - medians["shared"] <= TARGET * medians["runc"] + noise
