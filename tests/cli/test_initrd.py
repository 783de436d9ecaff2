"""Initrds that are made for guests, read as the guest would get them: out of the monitor's root."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import Runtime, until
from tests.guests.build import Entry, cpio

Make = Callable[..., Path]
BASE = cpio([
    Entry("etc", stat.S_IFDIR | 0o755),
    Entry("etc/app.conf", stat.S_IFREG | 0o644, b"application"),
])  # fmt: skip
KEYS = {"com.urunc.unikernel.initrd": "/initrd"}


def bind(destination: str, source: Path) -> dict[str, object]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", "ro"]}


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A directory with a file, a link that leaves it, and a file that is larger than a page."""
    directory = tmp_path / "volume"
    (directory / "deep").mkdir(parents=True)
    (directory / "deep" / "key").write_text("secret")
    (directory / "deep" / "key").chmod(0o440)
    (directory / "large").write_bytes(b"0123456789abcdef" * 5000)
    (directory / "out").symlink_to("/etc/shadow")
    os.mkfifo(directory / "pipe")
    (tmp_path / "resolv.conf").write_text("nameserver 10.1.1.1\n")
    return directory


def initrd_of(urunc: Runtime, bundle: Path) -> bytes:
    """What the monitor of a started container has loaded."""
    (bundle / "rootfs" / "initrd").write_bytes(BASE)
    pid = urunc.running(bundle)
    path = Path(f"/proc/{pid}/root/guest/initrd")
    until(path.exists, "the monitor's root")
    return path.read_bytes()


def unpacked(archive: bytes, directory: Path) -> Path:
    """What cpio(1) makes of one archive: it stops at the first trailer."""
    directory.mkdir()
    command = ("cpio", "--extract", "--quiet", "--no-absolute-filenames", "--make-directories")
    ended = subprocess.run(command, input=archive, cwd=directory, capture_output=True, check=False)
    assert (0, b"") == (ended.returncode, ended.stderr)
    return directory


def check(directory: Path, volume: Path) -> None:
    assert "nameserver 10.1.1.1\n" == (directory / "etc" / "resolv.conf").read_text()
    assert "secret" == (directory / "run" / "volume" / "deep" / "key").read_text()
    assert 0o440 == stat.S_IMODE((directory / "run" / "volume" / "deep" / "key").stat().st_mode)
    assert (volume / "large").read_bytes() == (directory / "run" / "volume" / "large").read_bytes()
    assert "/etc/shadow" == os.readlink(directory / "run" / "volume" / "out")
    assert stat.S_ISFIFO((directory / "run" / "volume" / "pipe").stat().st_mode)


def test_mounts_are_an_archive_of_their_own_behind_the_image_s(
    urunc: Runtime, bundle: Make, volume: Path, tmp_path: Path
) -> None:
    """The kernel unpacks one archive after the other, into one file system."""
    mounts = [bind("/etc/resolv.conf", tmp_path / "resolv.conf"), bind("/run/volume", volume)]
    archive = initrd_of(urunc, bundle(annotations=KEYS, mounts=mounts))

    assert archive.startswith(BASE)
    second = archive[len(BASE) :].lstrip(b"\0")
    assert 0 == (len(archive) - len(second)) % 4
    check(unpacked(second, tmp_path / "second"), volume)


def test_unikraft_s_archive_is_one(urunc: Runtime, bundle: Make, volume: Path, tmp_path: Path) -> None:
    """It stops at the first trailer."""
    mounts = [bind("/etc/resolv.conf", tmp_path / "resolv.conf"), bind("/run/volume", volume)]
    keys = KEYS | {"com.urunc.unikernel.unikernelType": "unikraft"}
    archive = initrd_of(urunc, bundle(annotations=keys, mounts=mounts))

    whole = unpacked(archive, tmp_path / "whole")
    assert "application" == (whole / "etc" / "app.conf").read_text()
    check(whole, volume)


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08compressed", b"", BASE[:-200], b"070701" + b"z" * 200])
def test_an_archive_that_cannot_be_gone_on_with_is_refused(
    urunc: Runtime, bundle: Make, volume: Path, content: bytes
) -> None:
    keys = KEYS | {"com.urunc.unikernel.unikernelType": "unikraft"}
    directory = bundle(annotations=keys, mounts=[bind("/v", volume)])
    (directory / "rootfs" / "initrd").write_bytes(content)

    ended = urunc("create", "--bundle", directory, "c")

    assert 1 == ended.returncode
    assert "initrd" in ended.stderr
    assert [] == urunc.remains()


def test_a_volume_that_does_not_fit_is_refused(urunc: Runtime, bundle: Make, volume: Path) -> None:
    """The archive may be as large as the guest's memory: what holds it is then full."""
    with (volume / "huge").open("wb") as file:
        file.truncate(64 << 20)
    memory = {"resources": {"memory": {"limit": 32 << 20}}}
    directory = bundle(annotations=KEYS, mounts=[bind("/v", volume)], linux=memory)
    (directory / "rootfs" / "initrd").write_bytes(BASE)

    ended = urunc("create", "--bundle", directory, "c")

    assert 1 == ended.returncode
    assert "write the guest's initrd v/huge: no space left on device" in ended.stderr
    assert [] == urunc.remains()


@pytest.mark.parametrize("kind", ["missing", "fifo", "socket"])
def test_a_source_that_cannot_be_copied_is_refused(urunc: Runtime, bundle: Make, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "fifo":
        os.mkfifo(source)
    elif kind == "socket":
        os.mknod(source, stat.S_IFSOCK | 0o600)
    directory = bundle(annotations=KEYS, mounts=[bind("/v", source)])
    (directory / "rootfs" / "initrd").write_bytes(BASE)

    ended = urunc("create", "--bundle", directory, "c")

    assert 1 == ended.returncode
    assert str(source) in ended.stderr
    assert [] == urunc.remains()
