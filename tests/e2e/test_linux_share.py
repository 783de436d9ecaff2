"""A Linux image with an init of its own whose / is the container's rootfs, shared with it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import Runtime
from tests.e2e.containerd import wait_until
from tests.guests import build, linux_build

from urunc import facts

pytestmark = pytest.mark.e2e

BOOT_S = 300  # Debian's kernel takes 5 s on an idle machine
SHIFT = 100000  # of the ids in a user namespace
HAS_VIRTIOFSD = any(map(os.path.exists, facts.VIRTIOFSD))
KEYS = {"binary": "/boot/vmlinuz", "initrd": "/boot/initrd"}
APP = """\
#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
busybox awk '$2 == "/" { print "root", $1, $3 }' /proc/mounts
busybox cat /etc/resolv.conf /etc/secret/key /data/inner/key
(echo x >/etc/secret/no) 2>/dev/null || echo "secret refused"
(echo "from the guest" >/written) 2>/dev/null || echo "root refused"
echo "data" >/data/written
busybox cat /out 2>/dev/null || echo "out leads nowhere"
echo "$1" "$COLOUR"
busybox poweroff -f
"""


def bind(destination: str, source: Path, *options: str) -> dict[str, object]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", *options]}


@pytest.fixture
def image(bundle: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Makes a bundle; in the rootfs a link leads out of it, and /etc is one that leads to where the files are."""
    (tmp_path / "resolv.conf").write_text("nameserver 10.1.2.3\n")
    for name in ("secret", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret" / "key").write_text("hidden\n")
    (tmp_path / "data" / "inner").mkdir()
    (tmp_path / "outside").write_text("of the host\n")
    volumes = [
        bind("/etc/resolv.conf", tmp_path / "resolv.conf", "ro"),
        bind("/etc/secret", tmp_path / "secret", "ro"),
        bind("/data", tmp_path / "data"),
        bind("/data/inner", tmp_path / "secret", "ro"),
        bind("/etc/hostname", tmp_path / "resolv.conf"),
    ]

    def make(how: str, **changes: object) -> Path:
        keys = {f"com.urunc.unikernel.{key}": value for key, value in {**KEYS, "mountRootfs": how}.items()}
        process = {"args": ["/app", "two words"], "env": ["COLOUR=light blue"]}
        directory = bundle(annotations=keys, process=process, mounts=volumes, **changes)
        rootfs = directory / "rootfs"
        kernel, initrd = linux_build.debian_shared(build.default_cache())
        for place in ("boot", "bin", "proc", "dev", "data", "real/secret"):
            (rootfs / place).mkdir(parents=True, exist_ok=True)
        for source, name in ((kernel, "vmlinuz"), (initrd, "initrd")):
            shutil.copy(source, rootfs / "boot" / name)
        (rootfs / "bin" / "busybox").write_bytes(build.BUSYBOX.read_bytes())
        (rootfs / "app").write_text(APP)
        for program in ("app", "bin/busybox"):
            (rootfs / program).chmod(0o755)
        (rootfs / "real" / "resolv.conf").write_text("")
        (rootfs / "etc").symlink_to("/real")
        (rootfs / "out").symlink_to(tmp_path / "outside")
        return directory

    return make


def said(urunc: Runtime, directory: Path) -> list[str]:
    """What a guest that ends by itself says."""
    ended = urunc("create", "--bundle", directory, "c")
    assert 0 == ended.returncode, ended.stderr
    assert "/etc/hostname: the rootfs has no such file: the guest does not get it" in ended.stderr
    output = urunc.output
    urunc.good("start", "c")
    wait_until(lambda: urunc.status() == "stopped", "the guest ends", BOOT_S)
    return [line for line in output.read_text().splitlines() if not line.startswith("[")]  # what the kernel says


@pytest.mark.skipif(not HAS_VIRTIOFSD, reason="virtiofsd is missing")
def test_the_rootfs_is_shared_by_virtiofs(urunc: Runtime, image: Callable[..., Path], tmp_path: Path) -> None:
    """Volumes are found in it, through the links of the image; what is written is in the rootfs and the volume."""
    directory = image("true")
    lines = said(urunc, directory)

    assert [
        *("root fs0 virtiofs", "nameserver 10.1.2.3", "hidden", "hidden", "secret refused"),
        *("out leads nowhere", "two words light blue"),
    ] == lines
    assert "from the guest\n" == (directory / "rootfs" / "written").read_text()
    assert "data\n" == (tmp_path / "data" / "written").read_text()
    assert [] == os.listdir(directory / "rootfs" / "real" / "secret")


def test_a_read_only_rootfs_is_shared_by_9p(urunc: Runtime, image: Callable[..., Path], tmp_path: Path) -> None:
    """The root is read-only on the host's side; a volume that may be written is not."""
    directory = image("9pfs", root={"readonly": True})
    lines = said(urunc, directory)

    assert [
        *("root fs0 9p", "nameserver 10.1.2.3", "hidden", "hidden", "secret refused", "root refused"),
        *("out leads nowhere", "two words light blue"),
    ] == lines
    assert not (directory / "rootfs" / "written").exists()
    assert "data\n" == (tmp_path / "data" / "written").read_text()


def test_in_a_user_namespace_files_belong_to_the_container_s_users(
    urunc: Runtime, image: Callable[..., Path], tmp_path: Path
) -> None:
    """The guest's root is the container's, and so are the files that it makes."""
    mapping = [{"containerID": 0, "hostID": SHIFT, "size": 65536}]
    namespaces = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user")]
    directory = image("true", linux={"namespaces": namespaces, "uidMappings": mapping, "gidMappings": mapping})
    for top in (directory / "rootfs", tmp_path / "data", tmp_path / "secret"):
        for path in (top, *top.rglob("*")):
            os.chown(path, SHIFT, SHIFT, follow_symlinks=False)
    lines = said(urunc, directory)

    kind = "virtiofs" if HAS_VIRTIOFSD else "9p"
    assert [f"root fs0 {kind}", "nameserver 10.1.2.3", "hidden", "hidden", "secret refused"] == lines[:5]
    for written in (directory / "rootfs" / "written", tmp_path / "data" / "written"):
        assert (SHIFT, SHIFT) == (written.stat().st_uid, written.stat().st_gid)
