"""SIGTERM as the power button of guests that listen to it: QEMU, with guests that do and that do not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import Runtime, exit_status, read, until
from tests.guests import build, multiboot_build

Bundle = Callable[..., Path]
PREFIX = "com.urunc.unikernel."


def started(urunc: Runtime, bundle: Bundle, action: str, **keys: str) -> int:
    named = {"unikernelType": "unikraft", **keys}
    made = bundle(args=("app",), annotations={PREFIX + key: value for key, value in named.items()})
    (made / "rootfs" / "hello").write_bytes(multiboot_build.image(build.default_cache(), action).read_bytes())
    pid = urunc.create(made)
    urunc.good("start", "c")
    until(lambda: "ready" in read(urunc.directory / "out.1"), "the guest's word")
    return pid


@pytest.mark.parametrize(
    "keys", [{"unikernelType": "osv"}, {"stop": "powerdown"}, {"stop": "powerdown", "machine": "pc"}]
)
def test_guest_that_listens_stops_by_itself(urunc: Runtime, bundle: Bundle, keys: dict[str, str]) -> None:
    """OSv does; of others the annotation says so."""
    pid = started(urunc, bundle, "button", **keys)

    urunc.good("kill", "c", "TERM")

    assert 0 == exit_status(pid)
    assert "stopped" == urunc.status()


@pytest.mark.parametrize("second", ["TERM", "KILL"])
def test_guest_that_does_not_listen_stops_at_the_second_time(urunc: Runtime, bundle: Bundle, second: str) -> None:
    pid = started(urunc, bundle, "halt", stop="powerdown")
    urunc.good("kill", "c", "TERM")

    assert "running" == urunc.status()

    urunc.good("kill", "c", second)

    assert {"TERM": 0, "KILL": 137}[second] == exit_status(pid)


def test_waiting_container_dies_of_a_signal(urunc: Runtime, bundle: Bundle) -> None:
    pid = urunc.create(bundle(annotations={f"{PREFIX}stop": "powerdown"}))

    urunc.good("kill", "c", "TERM")

    assert 143 == exit_status(pid)


def test_guest_without_a_button_gets_the_signal(urunc: Runtime, bundle: Bundle) -> None:
    pid = started(urunc, bundle, "halt", unikernelType="osv", stop="signal")

    assert not (urunc.root / "c" / "control.sock").exists()

    urunc.good("kill", "c", "TERM")

    assert 0 == exit_status(pid)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"stop": "nicely"}, "stop 'nicely' must be powerdown or signal"),
        ({"stop": "powerdown", "unikernelType": "mirage", "hypervisor": "spt"}, "spt"),
    ],
)
def test_button_that_is_not_there_is_refused(urunc: Runtime, bundle: Bundle, keys: dict[str, str], words: str) -> None:
    made = bundle(annotations={PREFIX + key: value for key, value in keys.items()})
    ended = urunc("create", "--bundle", made, "c")

    assert 1 == ended.returncode
    assert words in ended.stderr
