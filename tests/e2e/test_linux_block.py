"""uinit on block devices: a program whose / is an image of the image, with a second disk and volumes of the spec."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import Runtime, exit_status
from tests.e2e.containerd import wait_until
from tests.guests import build, linux_build

pytestmark = pytest.mark.e2e

BOOT_S = 300  # Debian's kernel takes 5 s on an idle machine
SCRIPT = """\
awk '$2 == "/" || $2 == "/data" { print $1, $2, $3 }' /proc/mounts
cat /etc/resolv.conf /data/here
(echo x >/etc/resolv.conf) 2>/dev/null || echo refused
echo "from the guest" >/written; echo "and here" >/data/written
exit 9
"""


def image(path: Path, kind: str, tree: Path) -> None:
    with path.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run((f"/sbin/mkfs.{kind}", "-q", "-d", str(tree), str(path)), check=True)


def read(path: Path, name: str) -> str:
    """What a file of an image holds, by debugfs(8)."""
    command = ("/sbin/debugfs", "-R", f"cat {name}", str(path))
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def configured(urunc: Runtime) -> Runtime:
    kernel, initrd = linux_build.debian(build.default_cache())
    urunc.config.write_text(f'accelerator = "tcg"\n[linux.kernels.guest]\npath = "{kernel}"\ninitrd = "{initrd}"\n')
    return urunc


def test_the_root_is_an_image_and_a_second_one_has_its_place(
    configured: Runtime, bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """Status, a copied mount that is read-only, and what is written is in the images afterwards."""
    root, data = tmp_path / "root", tmp_path / "data"
    for place in ("bin", "etc", "proc", "sys", "dev", "data"):
        (root / place).mkdir(parents=True)
    for applet in ("sh", "cat", "awk"):
        shutil.copy(build.BUSYBOX, root / "bin" / applet)
    data.mkdir()
    (data / "here").write_text("on the second disk\n")
    (tmp_path / "resolv.conf").write_text("nameserver 10.1.2.3\n")
    keys = {"kernel": "guest", "block": "/root.img,/data.img", "blkMntPoint": "/,/data", "binary": ""}
    mount = {"destination": "/etc/resolv.conf", "type": "bind", "source": str(tmp_path / "resolv.conf")}
    directory = bundle(
        annotations={f"com.urunc.unikernel.{key}": value for key, value in keys.items()},
        process={"args": ["/bin/sh", "-c", SCRIPT], "env": ["PATH=/bin"]},
        mounts=[mount | {"options": ["rbind", "ro"]}],
    )
    rootfs = directory / "rootfs"
    image(rootfs / "root.img", "ext4", root)
    image(rootfs / "data.img", "ext2", data)
    created = configured("create", "--bundle", directory, "c")
    assert 0 == created.returncode, created.stderr
    output, errors = configured.output, configured.output.with_name(configured.output.name.replace("out", "err"))
    pid = json.loads(configured.good("state", "c"))["pid"]
    configured.good("start", "c")
    wait_until(lambda: configured.status() == "stopped", "the guest ends", BOOT_S)

    assert [
        *("/dev/vda / ext4", "/dev/vdb /data ext4", "nameserver 10.1.2.3", "on the second disk", "refused"),
    ] == output.read_text().splitlines(), errors.read_text()
    assert 9 == exit_status(pid)
    assert "from the guest\n" == read(rootfs / "root.img", "/written")
    assert "and here\n" == read(rootfs / "data.img", "/written")
