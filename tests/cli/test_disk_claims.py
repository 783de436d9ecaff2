"""Several guests and one disk, an image or a device: who only reads shares it, who writes has it alone, to its end."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.test_block_devices import given, loop  # noqa: F401  fixtures
from tests.container import UNIKERNEL, Runtime

Make = Callable[..., Path]
KEYS = UNIKERNEL | {"com.urunc.unikernel.block": "/disk"}
OTHERS = {
    True: "block /disk: another guest has it, and this one may write to it: end that one",
    False: "block /disk: another guest may write to it: end that one",
}


@pytest.fixture
def image(bundle: Make, tmp_path: Path) -> Make:
    """Makes bundles of guests that have one image, as two names of one file; `writes` says what the container may."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))

    def make(name: str, *, writes: bool) -> Path:
        made = bundle(name=name, annotations=KEYS, root={"readonly": not writes})
        os.link(disk, made / "rootfs" / "disk")
        return made

    return make


@pytest.fixture
def device(given: Make, loop: Path) -> Make:  # noqa: F811
    """The same with a block device."""

    def make(name: str, *, writes: bool) -> Path:
        directory = given(name, "rw" if writes else "r", block="/disk")
        os.mknod(directory / "rootfs" / "disk", 0o060666, loop.stat().st_rdev)
        return directory

    return make


@pytest.fixture(params=["image", "device"])
def disk(request: pytest.FixtureRequest) -> Make:
    made: Make = request.getfixturevalue(request.param)
    return made


def refused(urunc: Runtime, directory: Path, words: str) -> None:
    """A container whose create or start says, in one line, who is in its way."""
    created = urunc("create", "--bundle", directory, "new")
    ended = created if created.returncode else urunc("start", "new")

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n"))
    assert words in ended.stderr or "is in use: unmount it, or end the guest that has it" in ended.stderr
    urunc.good("delete", "--force", "new")


def end(urunc: Runtime, name: str) -> None:
    """As a crash of the monitor: nothing of ours runs then."""
    os.kill(int(urunc.state(name)["pid"]), signal.SIGKILL)
    urunc.await_status("stopped", name)


def test_a_writer_has_a_disk_alone(urunc: Runtime, disk: Make) -> None:
    urunc.running(disk("one", writes=True), "one")
    refused(urunc, disk("two", writes=True), OTHERS[True])
    refused(urunc, disk("three", writes=False), OTHERS[False])
    end(urunc, "one")
    urunc.running(disk("four", writes=True), "four")


def test_readers_share_a_disk_and_keep_writers_from_it(urunc: Runtime, disk: Make) -> None:
    for name in ("one", "two"):
        urunc.running(disk(name, writes=False), name)
    writer = disk("writer", writes=True)
    refused(urunc, writer, OTHERS[True])
    end(urunc, "one")
    refused(urunc, writer, OTHERS[True])
    end(urunc, "two")
    urunc.running(writer, "writer")


def test_a_container_that_waits_has_no_disk_yet(urunc: Runtime, image: Make) -> None:
    """Which of several comes first is settled at start, by the locks of their monitors."""
    for name in ("one", "two"):
        urunc.create(image(name, writes=True), name)
    urunc.good("start", "two")
    ended = urunc("start", "one")

    assert 1 == ended.returncode
    assert OTHERS[True] in ended.stderr


def test_the_lock_of_a_device_is_held_by_its_monitor(urunc: Runtime, device: Make) -> None:
    """In a directory that is root's alone; the file stays, as nobody who removes it knows who locks it."""
    pid = urunc.running(device("one", writes=False), "one")
    number = os.stat(f"/proc/{pid}/root/guest/disk0").st_rdev
    lock = Path(f"/run/urunc/@locks/{os.major(number)}:{os.minor(number)}")

    assert (0o700, 0o600) == (lock.parent.stat().st_mode & 0o7777, lock.stat().st_mode & 0o7777)
    assert any(os.path.realpath(f"/proc/{pid}/fd/{fd}") == str(lock) for fd in os.listdir(f"/proc/{pid}/fd"))
