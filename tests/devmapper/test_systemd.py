"""--systemd-cgroup with a systemd that is process 1 of a machine: the tests of inside_systemd.py, in both layouts."""

import sys
from pathlib import Path

import pytest
from tests.devmapper import machine
from tests.guests import build

pytestmark = pytest.mark.e2e
INSIDE = Path(__file__).resolve().parent / "inside_systemd.py"
BOUND_S = 600  # an idle machine takes 15 s
LAYOUTS = {"unified": (), "hybrid": ("systemd.unified_cgroup_hierarchy=0",)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_containers_in_scopes(uml: None, layout: str) -> None:
    build.hello(build.default_cache())  # the machine has no network
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", str(INSIDE))

    ended = machine.run(
        command, timeout_s=BOUND_S, fs_type="", cwd=INSIDE.parents[2], systemd=True, words=LAYOUTS[layout]
    )

    assert 0 == ended.returncode, ended.stdout + ended.stderr
    assert " failed" not in ended.stdout
    assert " skipped" not in ended.stdout
