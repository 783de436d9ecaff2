"""The rootfs of a container as the root of a guest, on real thin volumes: the tests of inside.py, in a machine."""

import sys
from pathlib import Path

import pytest
from tests.devmapper import machine
from tests.guests import build

pytestmark = pytest.mark.e2e
INSIDE = Path(__file__).resolve().parent / "inside.py"
BOUND_S = 2400  # an idle machine takes two minutes


def test_guests_whose_root_is_a_snapshot(uml: None) -> None:
    build.linux_root(build.default_cache())  # the machine has no network
    build.linux_uinit(build.default_cache())
    build.hello(build.default_cache())
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", str(INSIDE))

    ended = machine.run(command, timeout_s=BOUND_S, cwd=INSIDE.parents[2])

    assert 0 == ended.returncode, ended.stdout + ended.stderr
    assert " failed" not in ended.stdout
    assert " skipped" not in ended.stdout
