"""A guest of Rumprun's kind whose disk is the rootfs itself, an ext2 file system on a loop device as the blockfile
snapshotter makes it: on a device of device-mapper's it is the same, see tests/devmapper."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.container import CONFIG, Runtime, merged
from tests.guests import build, spt_build

KEYS = {"unikernelType": "rumprun", "hypervisor": "spt", "binary": "/label"}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A bundle whose rootfs is an ext2 file system with a label."""
    image, bundle = tmp_path / "image", tmp_path / "b"
    (bundle / "rootfs").mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(8 << 20)
    run("/sbin/mkfs.ext2", "-q", "-L", "label of it", str(image))
    ended = run("mount", "-t", "ext2", "-o", "loop", str(image), str(bundle / "rootfs"))
    if ended.returncode:
        pytest.skip(f"no file system on a loop device here: {ended.stderr}")
    shutil.copy(spt_build.build(build.default_cache())["label"], bundle / "rootfs" / "label")
    annotations = {f"com.urunc.unikernel.{key}": value for key, value in KEYS.items()}
    config = merged(CONFIG, {"annotations": annotations, "process": {"args": ["rump", "two words"], "env": []}})
    (bundle / "config.json").write_text(json.dumps(config))
    yield bundle
    run("umount", str(bundle / "rootfs"))


def test_the_guest_reads_and_writes_the_file_system_that_it_was_booted_from(
    urunc: Runtime, mounted: Path, tmp_path: Path
) -> None:
    urunc.good("create", "--bundle", mounted, "c")
    output = urunc.output
    urunc.good("start", "c")
    urunc.await_status("stopped")
    urunc.good("delete", "c")

    line, label = output.read_text().splitlines()
    assert json.loads(line)["blk"]["mountpoint"] == "/data"
    assert "label label of it" == label
    shown = run("/sbin/e2label", str(tmp_path / "image")).stdout.strip()
    assert "Wabel of it" == shown


def test_a_file_system_that_it_cannot_mount_is_not_given_to_it(urunc: Runtime, mounted: Path, tmp_path: Path) -> None:
    """An image whose manifest wants a disk is refused then, by the device's name."""
    run("umount", str(mounted / "rootfs"))
    run("/sbin/mkfs.ext4", "-q", "-F", str(tmp_path / "image"))
    run("mount", "-t", "ext4", "-o", "loop", str(tmp_path / "image"), str(mounted / "rootfs"))
    shutil.copy(spt_build.build(build.default_cache())["label"], mounted / "rootfs" / "label")
    ended = urunc("create", "--bundle", mounted, "c")

    assert 1 == ended.returncode
    assert "the guest declares block device rootfs, which the container does not have" in ended.stderr
