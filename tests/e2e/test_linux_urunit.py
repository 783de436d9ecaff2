"""Images of the kind whose first process is urunit: the configuration that it reads, read as it reads it.

What stands for it here is a reader of our own, a shell script.  $URUNIT names a real one, a static program, to take its
place: nothing of it is in this repository.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import Runtime
from tests.e2e.containerd import wait_until
from tests.guests import build
from tests.guests.build import Entry, cpio, initrd_entries

pytestmark = pytest.mark.e2e

BOOT_S = 300  # Debian's kernel takes 5 s on an idle machine
START = """\
#!/bin/busybox sh
# loads what is no module in kernels for urunit, and becomes it
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod "$module"; done
umount /proc
exec /reader "$@"
"""
READER = """\
#!/bin/busybox sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
while read -r line; do
    case $line in
    UES | UCS | UBS) section=$line ;;
    UEE | UCE | UBE) section= ;;
    UID:* | GID:* | WD:* | ID:* | MP:*)
        key=${line%%:*} value=${line#*:}
        case $key in UID) uid=$value ;; GID) gid=$value ;; WD) cd "$value" ;; ID) id=$value ;; MP)
            for disk in /sys/block/vd*; do
                [ "$(cat "$disk/serial")" = "$id" ] || continue
                mkdir -p "$value"
                mount -t ext4 "/dev/${disk##*/}" "$value"
            done ;;
        esac ;;
    *) [ "$section" != UES ] || export "$line" ;;
    esac
done <"$URUNIT_CONFIG"
"$@"
poweroff -f
"""
APP = """\
#!/bin/busybox sh
echo "$0 $*"
echo "colour $COLOUR"
echo "in $(pwd)"
cat /data/here /etc/resolv.conf
echo "from the guest" >/data/written
sync
"""


@pytest.fixture
def image(bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A kernel, an initrd with everything, and a disk that has its place by blkMntPoint."""
    real = os.environ.get("URUNIT", "")
    directory = build.kernel(build.default_cache()).parent
    modules = [(directory / f"{name}.ko").read_bytes() for name in build.ROOT_MODULES]
    executable = stat.S_IFREG | 0o755
    entries = [
        *initrd_entries(modules, START),
        Entry("urunit", executable, START.encode()),
        Entry("reader", executable, Path(real).read_bytes() if real else READER.encode()),
        Entry("app", executable, APP.encode()),
        *(Entry(place, stat.S_IFDIR | 0o755) for place in ("data", "work")),
    ]
    (tmp_path / "resolv.conf").write_text("nameserver 10.1.2.3\n")
    mount = {"destination": "/etc/resolv.conf", "type": "bind", "source": str(tmp_path / "resolv.conf")}
    keys = {"binary": "/vmlinuz", "initrd": "/initrd", "block": "/data.img", "blkMntPoint": "/data"}
    made = bundle(
        annotations={f"com.urunc.unikernel.{key}": value for key, value in keys.items()},
        process={"args": ["/urunit", "/app", "two words"], "env": ["PATH=/bin", "COLOUR=light blue"], "cwd": "/work"},
        mounts=[mount | {"options": ["rbind", "ro"]}],
    )
    shutil.copy(directory / "vmlinuz", made / "rootfs" / "vmlinuz")
    (made / "rootfs" / "initrd").write_bytes(cpio(entries))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "here").write_text("on the disk\n")
    with (made / "rootfs" / "data.img").open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(("/sbin/mkfs.ext4", "-q", "-d", str(tree), str(made / "rootfs" / "data.img")), check=True)
    return made


def test_urunit_finds_environment_directory_and_disks(urunc: Runtime, image: Path) -> None:
    created = urunc("create", "--bundle", image, "c")
    assert (0, "") == (created.returncode, created.stderr)
    output = urunc.output
    urunc.good("start", "c")
    wait_until(lambda: urunc.status() == "stopped", "the guest ends", BOOT_S)

    lines = [line for line in output.read_text().splitlines() if not line.startswith("[")]
    assert ["/app two words", "colour light blue", "in /work", "on the disk", "nameserver 10.1.2.3"] == lines
    command = ("/sbin/debugfs", "-R", "cat /written", str(image / "rootfs" / "data.img"))
    assert "from the guest\n" == subprocess.run(command, capture_output=True, text=True, check=True).stdout
