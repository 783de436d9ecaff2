"""Containers one after the other: nothing grows, neither in an embedding process nor on the machine."""

import os
from pathlib import Path

import pytest
from tests import cgroups
from tests.container import CONFIG, Runtime, merged, write_bundle
from tests.e2e.lan import SPT
from tests.guests import build, spt_build
from tests.torture.rounds import ROUNDS

import urunc as api

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]

# 10,000 on demand: URUNC_LONG_RUN=10000
CONTAINERS = int(os.environ.get("URUNC_LONG_RUN", str(ROUNDS * 3)))
GROWTH_KB = 2048


def measure(urunc: Runtime) -> dict[str, int]:
    """What could grow: memory and descriptors of this process; files of the state directory, cgroups, mounts."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    cache = Path("/run/urunc")
    return {
        "memory in kB": int(status["VmRSS"].split()[0]),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "files": sum(1 for top in (urunc.root, cache) if top.exists() for _ in top.rglob("*")),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "cgroups": len(cgroups.left()),
        "log": (urunc.directory / "log").stat().st_size if (urunc.directory / "log").exists() else 0,
    }


def test_nothing_grows(urunc: Runtime, tmp_path: Path) -> None:
    """Half by the embedding API, half by the command line, which is the dearer one and gets fewer."""
    annotations = {f"com.urunc.unikernel.{key}": value for key, value in SPT.items()}
    config = merged(CONFIG, {"annotations": annotations, "process": {"args": ["hello"]}})
    path = write_bundle(tmp_path / "b", {"guest": spt_build.build(build.default_cache())["hello"]}, config)
    runtime = api.Runtime(str(urunc.root), str(urunc.config))

    def one(number: int) -> None:
        if number % 10:
            with runtime.create("c", str(path)) as container:
                container.start()
                assert container.wait() == 0
        else:
            process = urunc.begin(urunc.words("--log", urunc.directory / "log", "run", "--bundle", path, "c"))
            assert process.wait(60) == 0

    for number in range(50):  # caches fill, allocators find their size
        one(number)
    before = measure(urunc)
    for number in range(CONTAINERS):
        one(number)
    after = measure(urunc)

    assert after.pop("memory in kB") - before.pop("memory in kB") < GROWTH_KB
    assert before == after
