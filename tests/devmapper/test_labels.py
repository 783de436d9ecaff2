"""Profiles of the spec on a kernel that has AppArmor, the machine's: the tests of inside_labels.py."""

import sys
from pathlib import Path

import pytest
from tests.devmapper import machine
from tests.guests import build

pytestmark = pytest.mark.e2e
INSIDE = Path(__file__).resolve().parent / "inside_labels.py"
BOUND_S = 600  # an idle machine takes 15 s


def test_monitors_under_profiles_of_apparmor(uml: None) -> None:
    build.hello(build.default_cache())  # the machine has no network
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", str(INSIDE))

    ended = machine.run(
        command, timeout_s=BOUND_S, fs_type="", cwd=INSIDE.parents[2], words=("security=apparmor", "apparmor=1")
    )

    assert 0 == ended.returncode, ended.stdout + ended.stderr
    assert " failed" not in ended.stdout
    assert " skipped" not in ended.stdout
