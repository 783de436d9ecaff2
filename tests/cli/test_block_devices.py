"""Block devices of the host as the guest's disks: those that the container was given, and no others."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.container import UNIKERNEL, Runtime

Make = Callable[..., Path]
LOOP_MAJOR = 7


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A device with an ext2 file system; releasing it proves that nobody has it any more."""
    image = tmp_path / "device.img"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    made = run("mkfs.ext2", "-q", str(image))
    attached = run("losetup", "--find", "--show", str(image))
    if made.returncode or attached.returncode:
        pytest.skip(f"no loop device here: {made.stderr}{attached.stderr}")
    device = Path(attached.stdout.strip())
    yield device
    run("losetup", "--detach", str(device))


@pytest.fixture
def given(bundle: Make, loop: Path) -> Make:
    """Makes bundles whose container has the device as /dev/data, with `access`, and names it as its disk."""

    def make(name: str = "b", access: str = "rwm", *, block: str = "/dev/data", **changes: Any) -> Path:
        number = loop.stat().st_rdev
        numbers = {"major": os.major(number), "minor": os.minor(number)}
        linux = {
            "devices": [{"path": "/dev/data", "type": "b", **numbers}],
            "resources": {
                "devices": [
                    {"allow": False, "access": "rwm"},
                    {"allow": True, "type": "b", "access": access, **numbers},
                ]
            },
        }
        keys = UNIKERNEL | {"com.urunc.unikernel.block": block}
        return bundle(name=name, annotations=keys, linux=linux, **changes)

    return make


def disk(pid: int) -> os.stat_result:
    return os.stat(f"/proc/{pid}/root/guest/disk0")


def command_line(pid: int) -> str:
    """Of the container's process and its children: Linux guests have a companion."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return "".join(Path(f"/proc/{one}/cmdline").read_text() for one in (str(pid), *children))


def mount(device: Path, where: Path) -> subprocess.CompletedProcess[str]:
    where.mkdir(exist_ok=True)
    return run("mount", "-t", "ext2", str(device), str(where))


def test_a_device_that_was_given_is_the_guest_s_disk(urunc: Runtime, given: Make, loop: Path, tmp_path: Path) -> None:
    """As a node of its own, and nobody can mount it from start to the guest's end."""
    urunc.create(given())
    urunc.good("start", "c")
    pid = urunc.state()["pid"]

    assert stat.S_ISBLK(disk(pid).st_mode)
    assert loop.stat().st_rdev == disk(pid).st_rdev
    assert "read-only=on" not in command_line(pid)
    assert "busy" in mount(loop, tmp_path / "m").stderr
    urunc.good("kill", "c", "KILL")
    urunc.await_status("stopped")
    ended = mount(loop, tmp_path / "m")
    run("umount", str(tmp_path / "m"))
    assert 0 == ended.returncode, ended.stderr


def test_no_two_guests_have_a_device_that_they_write_to(urunc: Runtime, given: Make) -> None:
    urunc.running(given("one"))
    ended = urunc("create", "--bundle", given("two"), "d")

    assert 1 == ended.returncode
    assert "is in use: unmount it, or end the guest that has it" in ended.stderr
    assert 1 == ended.stderr.count("\n")
    assert "gone" == urunc.status("d")


def test_a_device_that_is_mounted_after_create_is_not_given_to_a_guest(
    urunc: Runtime, given: Make, loop: Path, tmp_path: Path
) -> None:
    urunc.create(given())
    mounted = mount(loop, tmp_path / "m")
    try:
        ended = urunc("start", "c")
    finally:
        run("umount", str(tmp_path / "m"))

    assert 0 == mounted.returncode, mounted.stderr
    assert 1 == ended.returncode
    assert "have the block device for the guest alone guest/disk0: device or resource busy" in ended.stderr


@pytest.mark.parametrize(("access", "root"), [("r", {}), ("rw", {"readonly": True})])
def test_a_device_that_is_only_read_is_read_only(
    urunc: Runtime, given: Make, access: str, root: dict[str, Any]
) -> None:
    """And may be had by several guests."""
    pids = [urunc.running(given(name, access, root=root), name) for name in ("one", "two")]

    assert all("read-only=on" in command_line(pid) for pid in pids)


def test_a_device_that_is_mounted_is_refused(urunc: Runtime, given: Make, loop: Path, tmp_path: Path) -> None:
    mounted = mount(loop, tmp_path / "m")
    try:
        ended = urunc("create", "--bundle", given(), "c")
    finally:
        run("umount", str(tmp_path / "m"))

    assert 0 == mounted.returncode, mounted.stderr
    assert 1 == ended.returncode
    assert "is in use: unmount it" in ended.stderr


def test_a_node_of_the_image_is_the_device_if_that_was_given(urunc: Runtime, given: Make, loop: Path) -> None:
    directory = given(block="/disk")
    os.mknod(directory / "rootfs" / "disk", 0o060666, loop.stat().st_rdev)
    pid = urunc.running(directory)

    assert loop.stat().st_rdev == disk(pid).st_rdev


@pytest.mark.parametrize(
    ("access", "node", "says"),
    [
        ("w", None, "linux.resources.devices does not let the container read it: allow it"),
        ("rw", (LOOP_MAJOR, 255), "block device 7:255, which the container was not given"),
    ],
)
def test_a_device_that_was_not_given_is_refused(
    urunc: Runtime, given: Make, access: str, node: tuple[int, int] | None, says: str
) -> None:
    directory = given(access=access, block="/disk" if node else "/dev/data")
    if node:
        os.mknod(directory / "rootfs" / "disk", 0o060666, os.makedev(*node))
    ended = urunc("create", "--bundle", directory, "c")

    assert 1 == ended.returncode
    assert says in ended.stderr
    assert "gone" == urunc.status()
