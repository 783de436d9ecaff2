"""What test_labels.py runs in a machine whose kernel has AppArmor: monitors under profiles.

Not collected on the host, whose kernel may have no security module.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.container import Runtime, exit_status, read

Make = Callable[..., Path]
SECURITY = Path("/sys/kernel/security")
PROFILES = """
profile urunc-wide flags=(attach_disconnected) { file, signal, }
profile urunc-narrow flags=(attach_disconnected) { file, signal, deny /guest/kernel r, }
"""


@pytest.fixture(scope="module", autouse=True)
def profiles() -> Iterator[None]:
    if not (SECURITY / "apparmor").exists():
        subprocess.run(("mount", "-t", "securityfs", "securityfs", SECURITY), check=True)
    subprocess.run(("apparmor_parser", "--replace", "--skip-cache"), input=PROFILES, text=True, check=True)
    yield
    subprocess.run(("apparmor_parser", "--remove"), input=PROFILES, text=True, check=True)


def labelled(bundle: Make, profile: str, *args: str) -> Path:
    return bundle(args=args or ("/app", "exit=halt"), process={"apparmorProfile": profile})


def label(pid: int) -> str:
    return read(Path(f"/proc/{pid}/attr/apparmor/current")).strip()


def test_a_monitor_runs_under_the_profile_of_the_spec(urunc: Runtime, bundle: Make) -> None:
    """Its init does not: it is the runtime's still."""
    pid = urunc.create(labelled(bundle, "urunc-wide"))
    before = label(pid)
    urunc.good("start", "c")

    assert ("unconfined", "urunc-wide (enforce)") == (before, label(pid))


def test_a_profile_is_in_force(urunc: Runtime, bundle: Make) -> None:
    """QEMU may not read its kernel."""
    urunc.good("create", "--bundle", labelled(bundle, "urunc-narrow", "/app"), "c")
    output = urunc.output
    pid = int(urunc.state()["pid"])
    urunc.good("start", "c")

    assert 1 == exit_status(pid)
    assert "hello from a unikernel" not in read(output)


@pytest.mark.parametrize("profile", ["", "unconfined"])
def test_a_monitor_without_a_profile_has_none(urunc: Runtime, bundle: Make, profile: str) -> None:
    assert "unconfined" == label(urunc.running(labelled(bundle, profile)))


def test_a_profile_that_is_not_loaded_is_an_error(urunc: Runtime, bundle: Make) -> None:
    urunc.create(labelled(bundle, "urunc-absent"))
    ended = urunc("start", "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert "set the label for exec exec urunc-absent" in ended.stderr
    assert "stopped" == urunc.status()


def test_a_label_of_another_module_is_an_error(urunc: Runtime, bundle: Make) -> None:
    ended = urunc("create", "--bundle", bundle(linux={"mountLabel": "system_u:object_r:container_file_t:s0"}), "c")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
