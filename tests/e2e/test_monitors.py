"""solo5-hvt, Firecracker and Cloud Hypervisor for real, with guests of our own, wherever they and KVM work.

They are in no package registry: without them on PATH these tests are skipped, each with the reason.  With $SOLO5_TESTS,
a directory with Solo5's built test guests, those run too, under hvt and in containers.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.container import CONFIG, Runtime, alive, exit_status, merged, read, until, write_bundle
from tests.guests import build, hvt_build

from urunc import kvm, monitors

pytestmark = pytest.mark.e2e
Make = Callable[..., Path]
SECTOR = b"what the disk says".ljust(512, b"\0")


def version_of(monitor: str) -> str:
    """What the program of a monitor says of itself; the test is skipped without one, or without a KVM that works."""
    (name,) = monitors.load(monitor).binaries
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not on PATH: {monitor} is not tested for real")
    ended = subprocess.run((found, "--version"), capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"{found} --version ends with status {ended.returncode}: {monitor} is not tested for real")
    if kvm.level() == "none":
        pytest.skip(f"/dev/kvm does not work here: {monitor} is not tested for real")
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def hvt_guests() -> dict[str, Path]:
    (version,) = re.findall(r"ABI version (\d+)", version_of("hvt"))
    return hvt_build.guests(build.default_cache(), int(version))


def use(runtime: Runtime) -> None:
    """Have the runtime use the monitors that are on our PATH, which it has not."""
    for name in ("solo5-hvt", "firecracker", "cloud-hypervisor"):
        if found := shutil.which(name):
            section = name.removeprefix("solo5-")
            with runtime.config.open("a") as config:
                config.write(f'[monitors.{section}]\npath = "{found}"\n')


@pytest.fixture
def make(tmp_path: Path, urunc: Runtime) -> Make:
    """Makes bundles: an image, the monitor and framework by name, arguments; `keys` are more annotations."""
    use(urunc)

    def made(image: Path, monitor: str, framework: str, *args: str, **changes: Any) -> Path:
        files = changes.pop("files", {})
        keys = {"unikernelType": framework, "hypervisor": monitor, "binary": "/guest", **changes.pop("keys", {})}
        annotations = {f"com.urunc.unikernel.{key}": value for key, value in keys.items()}
        config = merged(CONFIG, {"annotations": annotations, "process": {"args": list(args)}})
        bundle = write_bundle(tmp_path / "b", {"guest": image}, merged(config, changes))
        for name, content in files.items():
            (bundle / "rootfs" / name).write_bytes(content)
        return bundle

    return made


@pytest.mark.parametrize("status", [0, 7, 254])
def test_hvt_guest_says_its_command_line_and_ends_with_its_status(
    urunc: Runtime, make: Make, hvt_guests: dict[str, Path], status: int
) -> None:
    ended = urunc("run", "--bundle", make(hvt_guests["hello"], "hvt", "mirage", "one two", str(status)), "c")

    assert (status, "") == (ended.returncode, ended.stderr)
    assert rf"hello: one\ two {status}" in ended.stdout.splitlines()


def test_hvt_guest_has_the_disks_of_its_manifest(urunc: Runtime, make: Make, hvt_guests: dict[str, Path]) -> None:
    """Two of them, in the manifest's order; what the annotation names comes first."""
    keys = {"block": "/source,/target", "solo5BlkDev": "source"}
    files = {"source": SECTOR + bytes(512), "target": bytes(1024)}
    bundle = make(hvt_guests["block"], "hvt", "mirage", "x", keys=keys, files=files)
    ended = urunc("run", "--bundle", bundle, "c")

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "read: what the disk says" in ended.stdout.splitlines()
    assert bytes(512) + SECTOR == (bundle / "rootfs" / "target").read_bytes()


def test_hvt_ends_by_a_signal(urunc: Runtime, make: Make, hvt_guests: dict[str, Path]) -> None:
    pid = urunc.create(make(hvt_guests["hello"], "hvt", "mirage", "stay"))
    output = urunc.directory / "out.1"
    urunc.good("start", "c")
    until(lambda: "hello: stay" in read(output), "the guest's word")

    urunc.good("kill", "c", "TERM")

    assert 1 == exit_status(pid)  # the tender catches it, and says so
    assert "stopped" == urunc.status()


def test_hvt_image_is_refused_by_the_others_by_name(urunc: Runtime, make: Make, hvt_guests: dict[str, Path]) -> None:
    ended = urunc("create", "--bundle", make(hvt_guests["hello"], "spt", "mirage", "x"), "c")

    assert 1 == ended.returncode
    assert "solo5-hvt: spt loads solo5-spt" in ended.stderr


@pytest.mark.parametrize(
    ("name", "argument", "status"),
    [("test_hello", "Hello_Solo5", 0), ("test_globals", "x", 0), ("test_exception", "x", 255)],
)
def test_solo5_guests_end_as_without_us(urunc: Runtime, make: Make, name: str, argument: str, status: int) -> None:
    version_of("hvt")
    if "SOLO5_TESTS" not in os.environ:
        pytest.skip("no $SOLO5_TESTS, a directory with Solo5's built test guests")
    image = Path(os.environ["SOLO5_TESTS"]) / name / f"{name}.hvt"
    alone = subprocess.run(
        ("solo5-hvt", "--mem=16", "--", image, argument), capture_output=True, text=True, check=False
    )
    ended = urunc("run", "--bundle", make(image, "hvt", "mirage", argument), "c")

    assert status == alone.returncode == ended.returncode
    assert without_sizes(alone.stdout) == without_sizes(ended.stdout)


def without_sizes(text: str) -> list[str]:
    """Memory and addresses differ."""
    return [re.sub(r"\b(0x)?[0-9a-f]*\d[0-9a-f]*\b", "N", line) for line in text.splitlines()]


@pytest.mark.parametrize("monitor", ["firecracker", "cloud-hypervisor"])
def test_guest_says_its_command_line(urunc: Runtime, make: Make, hello: Path, monitor: str) -> None:
    """It halts at its end: what a reset means differs from monitor to monitor."""
    version_of(monitor)
    pid = urunc.create(make(hello, monitor, "linux", "/app", "a b", "exit=halt"))
    output = urunc.directory / "out.1"
    urunc.good("start", "c")
    until(lambda: "exit=halt" in read(output), "the guest's command line")

    assert "init=/app " in read(output)
    assert ' "a b" exit=halt' in read(output)
    assert "running" == urunc.status()

    urunc.good("kill", "c", "KILL")

    assert 137 == exit_status(pid)
    assert not alive(pid)


def test_firecracker_ends_with_its_guest(urunc: Runtime, make: Make, hello: Path) -> None:
    """A reset by the keyboard controller; its memory and vCPUs are the container's."""
    version_of("firecracker")
    linux = {"resources": {"memory": {"limit": 64 << 20}, "cpu": {"quota": 150_000, "period": 100_000}}}
    ended = urunc("run", "--bundle", make(hello, "firecracker", "linux", "/app", "x", linux=linux), "c")

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "init=/app pci=off -- x" in ended.stdout


@pytest.mark.parametrize(
    ("monitor", "words"), [("firecracker", "KVM_EXIT_INTERNAL_ERROR"), ("cloud-hypervisor", "vcpu")]
)
def test_a_guest_that_its_monitor_cannot_run_says_why(
    urunc: Runtime, make: Make, hello: Path, monitor: str, words: str
) -> None:
    """In what the container has written: Firecracker among the guest's lines, Cloud Hypervisor on standard error."""
    version_of(monitor)
    ended = urunc("run", "--bundle", make(hello, monitor, "linux", "/app", "exit=wild"), "c")
    written = {"firecracker": ended.stdout, "cloud-hypervisor": ended.stderr}[monitor]

    assert words in written
    assert "hello from a unikernel" in ended.stdout


def test_firecracker_has_a_drive(urunc: Runtime, make: Make, hello: Path) -> None:
    version_of("firecracker")
    bundle = make(hello, "firecracker", "linux", "/app", "x", keys={"block": "/disk"}, files={"disk": bytes(1 << 20)})
    ended = urunc("run", "--bundle", bundle, "c")

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "root=/dev/vda" in ended.stdout


def test_notice_of_a_limited_kvm_is_in_the_log(urunc: Runtime, make: Make, hello: Path) -> None:
    version_of("firecracker")
    if kvm.level() != "limited":
        pytest.skip("KVM here is not limited")
    log = urunc.directory / "log"
    ended = urunc("--log", log, "run", "--bundle", make(hello, "firecracker", "linux", "/app", "x"), "c")

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "KVM runs simple guests only on this host" in read(log)


@pytest.mark.parametrize("monitor", ["firecracker", "cloud-hypervisor"])
def test_first_sigterm_presses_the_power_button(urunc: Runtime, make: Make, hello: Path, monitor: str) -> None:
    """The monitor takes the request; this guest does not listen, and ends at the second one."""
    version_of(monitor)
    pid = urunc.create(make(hello, monitor, "linux", "/app", "exit=halt", keys={"stop": "powerdown"}))
    output = urunc.directory / "out.1"
    urunc.good("start", "c")
    until(lambda: "exit=halt" in read(output), "the guest's command line")
    urunc.good("kill", "c", "TERM")

    assert alive(pid)

    until(lambda: urunc("kill", "c", "TERM").returncode != 0, "the container has stopped")

    assert {"firecracker": 143, "cloud-hypervisor": 0}[monitor] == exit_status(pid)


def test_cloud_hypervisor_ends_when_its_guest_reboots(urunc: Runtime, make: Make, hello: Path) -> None:
    """It would start it again: a kernel that panics would do so for ever."""
    version_of("cloud-hypervisor")
    ended = urunc("run", "--bundle", make(hello, "cloud-hypervisor", "linux", "/app", "x"), "c")

    assert 0 == ended.returncode
    assert 1 == ended.stdout.count("init=/app -- x")
