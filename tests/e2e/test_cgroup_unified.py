"""cgroup2 with its controllers, in a virtual machine: what this machine's own kernel keeps for version 1."""

import sys
from pathlib import Path

import pytest
from tests.devmapper import machine

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
INSIDE = Path(__file__).with_name("cgroup_unified.py")
TIME_LIMIT_S = 900  # an idle machine takes half a minute


def test_everything_of_cgroup2_holds_where_there_is_nothing_else(hello: Path) -> None:
    """The tests of cgroup_unified.py, all of them, with the guest that has been built here."""
    missing = machine.unusable()
    if missing:
        pytest.skip(f"no virtual machine with cgroup2 can be made here: {missing}")
    wanted = INSIDE.read_text().count("\ndef test_")
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(INSIDE))
    ended = machine.run(command, timeout_s=TIME_LIMIT_S, fs_type="", cwd=ROOT)

    assert 0 == ended.returncode, ended.stdout[-8000:] + ended.stderr
    assert f"{wanted} passed" in ended.stdout
    assert hello.exists()
