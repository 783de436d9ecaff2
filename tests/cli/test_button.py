"""SIGTERM as the power button of a guest whose monitor has an API socket, with a program in Firecracker's place."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import Runtime, exit_status, read, until
from tests.guests import build, multiboot_build

from urunc import kvm

Bundle = Callable[..., Path]
PREFIX = "com.urunc.unikernel."

pytestmark = pytest.mark.skipif(kvm.level() == "none", reason="/dev/kvm does not work here, which Firecracker needs")


@pytest.fixture
def started(urunc: Runtime, bundle: Bundle, hello: Path) -> Callable[..., int]:
    """Starts a container whose monitor does what the words say; its pid."""

    def start(words: str, user: int = 0, **keys: str) -> int:
        monitor = multiboot_build.monitor(build.default_cache(), static=False)
        urunc.config.write_text(
            f'[monitors.firecracker]\npath = "{monitor}"\n[linux.kernels.k]\npath = "{hello}"\ncmdline = "{words}"\n'
        )
        named = {"hypervisor": "firecracker", "accelerator": "kvm", "kernel": "k", "init": "image", **keys}
        made = bundle(
            args=("/init",),
            annotations={PREFIX + key: value for key, value in named.items()},
            process={"user": {"uid": user, "gid": user}},
        )
        pid = urunc.create(made)
        urunc.good("start", "c")
        until(lambda: "ready" in read(urunc.directory / "out.1"), "the monitor listens")
        return pid

    return start


@pytest.mark.parametrize("user", [0, 1000])
def test_first_sigterm_presses_the_button(urunc: Runtime, started: Callable[..., int], user: int) -> None:
    pid = started("answer=204 status=7", user, stop="powerdown")

    urunc.good("kill", "c", "TERM")

    assert 7 == exit_status(pid)
    request = read(urunc.directory / "err.1")
    assert request.startswith("PUT /actions HTTP/1.1\r\n")
    assert '\r\n\r\n{"action_type":"SendCtrlAltDel"}\n' in request


def test_guest_that_cannot_be_asked_ends_at_once(urunc: Runtime, started: Callable[..., int]) -> None:
    """Its kernel has no keyboard: Firecracker says so."""
    pid = started("answer=400", stop="powerdown")

    urunc.good("kill", "c", "TERM")

    assert 143 == exit_status(pid)


def test_second_sigterm_ends_the_monitor(urunc: Runtime, started: Callable[..., int]) -> None:
    """A guest that was asked and does not listen."""
    pid = started("answer=200 sleep", stop="powerdown")
    urunc.good("kill", "c", "TERM")

    assert "running" == urunc.status()

    until(lambda: urunc("kill", "c", "TERM").returncode != 0, "the container has stopped")

    assert 143 == exit_status(pid)


def test_guest_of_urunc_s_init_is_asked_whatever_the_signal(urunc: Runtime, started: Callable[..., int]) -> None:
    """It passes the program's own stop signal on; here the monitor ends without the guest's status."""
    pid = started("answer=204", init="urunc")

    urunc.good("kill", "c", "QUIT")

    assert 125 == exit_status(pid)
    assert "SendCtrlAltDel" in read(urunc.directory / "err.1")


def test_without_the_annotation_there_is_no_socket(urunc: Runtime, started: Callable[..., int]) -> None:
    """The monitor is the container's process, and would not hear a SIGTERM."""
    pid = started("sleep")

    urunc.good("kill", "c", "TERM")

    assert 137 == exit_status(pid)
