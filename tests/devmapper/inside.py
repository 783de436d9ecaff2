"""What test_snapshot.py runs in the machine: guests whose root is a snapshot of containerd's devmapper snapshotter.

Not collected on the host: there is no thin pool.  containerd's snapshots are ext4; volumes of our own are ext2, too,
which the containerd of Debian 12 does not make.
"""

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.container import CONFIG, UNIKERNEL, Runtime, exit_status, merged, until
from tests.guests import build

from urunc.pack import File, pack

ROOT = Path(__file__).resolve().parents[2]
URUNC = ROOT / "dist" / "urunc"
POOL = os.environ["DEVMAPPER_POOL"]
RUN = ("run", "--snapshotter", "devmapper", "--runtime", "io.containerd.runc.v2", "--runc-binary", str(URUNC))
KEYS = {"unikernelType": "linux", "hypervisor": "qemu", "binary": "/boot/vmlinuz", "initrd": "/boot/initrd"}
APP = """\
#!/bin/busybox sh
export PATH=/bin
busybox mkdir -p /proc
busybox mount -t proc proc /proc
echo "root: $(busybox awk '$2 == "/" { t = $3 } END { print t }' /proc/mounts)"
echo "boot: $(busybox ls /boot | busybox xargs)"
[ ! -e /written ] || echo "found: $(busybox cat /written | busybox xargs)"
echo "$1" >>/written && echo "wrote: $1"
case $2 in
stay) busybox sleep 1000 ;;
esac
busybox sync
busybox mount -o remount,ro /
busybox poweroff -f
"""
NUMBERS = itertools.count()
BOUND_S = 300


def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOUND_S, check=False
    )
    if check:
        assert 0 == ended.returncode, f"{words}: {ended.stdout}{ended.stderr}"
    return ended


def ctr(*words: str, check: bool = True) -> str:
    return run("ctr", *words, check=check).stdout


def mounted() -> list[str]:
    with open("/proc/self/mountinfo") as table:
        return [line for line in table if f"{POOL}-snap" in line]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program and the kernel that it boots with, which wants the rootfs mounted."""
    directory = tmp_path_factory.mktemp("image")
    (directory / "app").write_text(APP)
    (directory / "app").chmod(0o755)
    kernel, initrd = build.linux_root(build.default_cache())
    files = [
        File(source=str(kernel), path="/boot/vmlinuz"),
        File(source=str(initrd), path="/boot/initrd"),
        File(source=str(directory / "app"), path="/app"),
        File(source=str(build.BUSYBOX), path="/bin/busybox"),
    ]
    name = "docker.io/library/rooted:latest"
    pack(directory / "image.tar", name, files, {**KEYS, "mountRootfs": "true"})
    ctr("image", "import", "--snapshotter", "devmapper", str(directory / "image.tar"))
    return name


@pytest.fixture
def name() -> Iterator[str]:
    name = f"c{next(NUMBERS)}"
    yield name
    ctr("task", "delete", "--force", name, check=False)
    ctr("container", "delete", name, check=False)

    assert [] == mounted()


def device_of(name: str) -> str:
    """The name of the thin volume of a container's snapshot."""
    (line,) = [line for line in mounted() if f"/{name}/" in line]
    return line.split(" - ")[1].split()[1]


def test_guests_root_is_the_snapshot_and_keeps_what_is_written_over_a_restart(image: str, name: str) -> None:
    first = ctr(*RUN, image, name, "/app", "one")
    second = ctr("task", "start", name)

    assert "root: ext4" in first
    assert "boot: initrd vmlinuz" in first
    assert "wrote: one" in first
    assert "found" not in first
    assert "found: one" in second
    assert "boot: initrd vmlinuz" in second
    ctr("snapshots", "--snapshotter", "devmapper", "commit", f"{name}-kept", name)
    ctr("snapshots", "--snapshotter", "devmapper", "prepare", f"{name}-seen", f"{name}-kept")
    (line,) = ctr("snapshots", "--snapshotter", "devmapper", "mounts", "/mnt", f"{name}-seen").splitlines()
    run("mount", line.split()[3], "/mnt")
    try:
        assert "one\none\n" == Path("/mnt/written").read_text()
        assert {"vmlinuz", "initrd"} == set(os.listdir("/mnt/boot"))
        assert Path("/mnt/urunc.json").exists()
    finally:
        run("umount", "/mnt")


# --- by the command line, on a thin volume of our own


@pytest.fixture
def fs_type() -> str:
    return "ext2"


@pytest.fixture
def volume(fs_type: str) -> Iterator[Path]:
    """A thin volume with a file system; removing it proves that nobody has it any more."""
    number = 1000 + next(NUMBERS)
    name = f"test-{number}"
    run("dmsetup", "message", POOL, "0", f"create_thin {number}")
    run("dmsetup", "create", name, "--table", f"0 131072 thin /dev/mapper/{POOL} {number}")
    run(f"mkfs.{fs_type}", "-q", f"/dev/mapper/{name}")
    yield Path(f"/dev/mapper/{name}")
    run("dmsetup", "remove", "--retry", name)
    run("dmsetup", "message", POOL, "0", f"delete {number}")


@pytest.fixture
def bundle(volume: Path, fs_type: str, tmp_path: Path) -> Iterator[Path]:
    """A bundle whose rootfs is the volume, with options that are not the usual ones."""
    bundle = tmp_path / "a bundle"
    (bundle / "rootfs").mkdir(parents=True)
    run("mount", "-t", fs_type, "-o", "noatime,nosuid,errors=remount-ro", str(volume), str(bundle / "rootfs"))
    shutil.copy(build.hello(build.default_cache()), bundle / "rootfs" / "hello")
    config = merged(CONFIG, {"annotations": UNIKERNEL, "process": {"args": ["/app", "exit=halt"]}})
    (bundle / "config.json").write_text(json.dumps(config))
    yield bundle
    run("umount", str(bundle / "rootfs"), check=False)


def mount_of(bundle: Path) -> list[str]:
    """The words of mountinfo about the rootfs, but its numbers; [] if it is not mounted."""
    escaped = str(bundle / "rootfs").replace(" ", "\\040")
    with open("/proc/self/mountinfo") as table:
        lines = [line.split() for line in table if f" {escaped} " in line]
    return lines[-1][2:] if lines else []


def test_host_lets_go_of_the_rootfs_while_the_guest_runs(urunc: Runtime, bundle: Path, volume: Path) -> None:
    urunc.create(bundle)

    assert mount_of(bundle)
    urunc.good("start", "c")
    assert [] == mount_of(bundle)
    assert "busy" in run("mount", str(volume), "/mnt", check=False).stderr
    urunc.good("kill", "c", "KILL")
    urunc.await_status("stopped")
    urunc.good("delete", "c")
    assert [] == mount_of(bundle)
    run("mount", str(volume), "/mnt")
    assert ["hello"] == [name for name in os.listdir("/mnt") if name != "lost+found"]
    run("umount", "/mnt")


@pytest.mark.parametrize("fs_type", ["ext2", "ext4"])
def test_linux_guest_writes_to_its_root(urunc: Runtime, bundle: Path, volume: Path, fs_type: str) -> None:
    kernel, initrd = build.linux_root(build.default_cache())
    rootfs = bundle / "rootfs"
    (rootfs / "bin").mkdir()
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd"), (build.BUSYBOX, "bin/busybox")):
        shutil.copy(source, rootfs / name)
    (rootfs / "app").write_text(APP)
    (rootfs / "app").chmod(0o755)
    keys = {"binary": "/vmlinuz", "initrd": "/initrd", "mountRootfs": "true"}
    config = json.loads((bundle / "config.json").read_text())
    config["annotations"] |= {f"com.urunc.unikernel.{key}": value for key, value in keys.items()}
    config["process"]["args"] = ["/app", "from the guest"]
    (bundle / "config.json").write_text(json.dumps(config))
    urunc.good("create", "--bundle", bundle, "c")
    output = urunc.output
    urunc.good("start", "c")
    end = time.monotonic() + BOUND_S
    while urunc.status() != "stopped":
        assert time.monotonic() < end, output.read_text()
        time.sleep(0.5)
    urunc.good("delete", "c")

    assert "wrote: from the guest" in output.read_text()
    run("mount", "-t", fs_type, str(volume), "/mnt")
    written = Path("/mnt/written").read_text()
    run("umount", "/mnt")
    assert "from the guest\n" == written


@pytest.mark.parametrize("fs_type", ["ext3"])
def test_program_that_uinit_runs_has_the_volume_for_its_root(
    urunc: Runtime, bundle: Path, volume: Path, fs_type: str, tmp_path: Path
) -> None:
    """With a kernel of the host, a mount of the spec, and the program's status; nothing in the image knows of it."""
    kernel, initrd = build.linux_uinit(build.default_cache())
    urunc.config.write_text(f'accelerator = "tcg"\n[linux.kernels.k]\npath = "{kernel}"\ninitrd = "{initrd}"\n')
    rootfs = bundle / "rootfs"
    for place in ("bin", "etc"):
        (rootfs / place).mkdir()
    shutil.copy(build.BUSYBOX, rootfs / "bin" / "sh")
    (tmp_path / "resolv.conf").write_text("nameserver 10.1.2.3\n")
    config = json.loads((bundle / "config.json").read_text())
    config["annotations"] = {
        f"com.urunc.unikernel.{key}": value
        for key, value in {"unikernelType": "linux", "hypervisor": "qemu", "kernel": "k"}.items()
    }
    script = "while read -r line; do echo $line; done </etc/resolv.conf; echo from uinit >/written; exit 7"
    config["process"]["args"] = ["/bin/sh", "-c", script]
    bind = {"destination": "/etc/resolv.conf", "type": "bind", "options": ["rbind", "ro"]}
    config["mounts"] = [bind | {"source": str(tmp_path / "resolv.conf")}]
    (bundle / "config.json").write_text(json.dumps(config))
    pid = urunc.create(bundle)
    output = urunc.directory / "out.1"
    urunc.good("start", "c")
    end = time.monotonic() + BOUND_S
    while urunc.status() != "stopped":
        assert time.monotonic() < end, output.read_text()
        time.sleep(0.5)
    status = exit_status(pid)
    urunc.good("delete", "c")

    assert (7, "nameserver 10.1.2.3\n") == (status, output.read_text())
    run("mount", "-t", fs_type, str(volume), "/mnt")
    written = Path("/mnt/written").read_text()
    run("umount", "/mnt")
    assert "from uinit\n" == written


def test_container_that_was_not_started_leaves_the_mount_alone(urunc: Runtime, bundle: Path) -> None:
    before = mount_of(bundle)
    urunc.create(bundle)
    urunc.good("delete", "--force", "c")

    assert before == mount_of(bundle)


def test_rootfs_that_is_mounted_elsewhere_is_not_given_to_a_guest(urunc: Runtime, bundle: Path) -> None:
    """Of a mount namespace that got a copy of the mount, nothing is seen from here."""
    before = mount_of(bundle)
    urunc.create(bundle)
    script = "mount --make-rprivate / && echo ready && exec sleep 1000"
    with subprocess.Popen(("unshare", "--mount", "sh", "-c", script), stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            ended = urunc("start", "c")
        finally:
            holder.kill()

    assert 1 == ended.returncode
    assert "the rootfs is still mounted elsewhere test-" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert before == mount_of(bundle)
    urunc.await_status("stopped")
    urunc.good("delete", "c")
    assert before == mount_of(bundle)


def test_rootfs_that_is_in_use_is_not_unmounted(urunc: Runtime, bundle: Path) -> None:
    before = mount_of(bundle)
    urunc.create(bundle)
    with (bundle / "rootfs" / "hello").open("rb"):
        ended = urunc("start", "c")

    assert 1 == ended.returncode
    assert f"unmount the rootfs for the guest {bundle}/rootfs: device or resource busy" in ended.stderr
    assert before == mount_of(bundle)


def test_start_that_is_killed_with_the_rootfs_unmounted_is_undone_by_delete(urunc: Runtime, bundle: Path) -> None:
    before = mount_of(bundle)
    urunc.create(bundle)
    script = "mount --make-rprivate / && echo ready && exec sleep 1000"
    with subprocess.Popen(("unshare", "--mount", "sh", "-c", script), stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            start = urunc.begin(urunc.words("start", "c"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            until(lambda: not mount_of(bundle), "start unmounts the rootfs")
            start.kill()
            start.wait()
        finally:
            holder.kill()
    assert [] == mount_of(bundle)
    urunc.good("delete", "--force", "c")

    assert before == mount_of(bundle)


def test_delete_does_not_need_the_mount_point(urunc: Runtime, bundle: Path) -> None:
    """As containerd, which unmounts and removes what it has made, in whatever order."""
    urunc.create(bundle)
    urunc.good("start", "c")
    urunc.good("kill", "c", "KILL")
    urunc.await_status("stopped")
    (bundle / "rootfs").rmdir()
    urunc.good("delete", "c")


def test_loop_device_is_as_good_and_is_gone_with_the_guest(urunc: Runtime, tmp_path: Path) -> None:
    """containerd's blockfile snapshotter: the loop device clears itself when nobody has it open."""
    bundle = tmp_path / "b"
    (bundle / "rootfs").mkdir(parents=True)
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    run("mkfs.ext4", "-q", str(image))
    run("mount", "-t", "ext4", "-o", "loop", str(image), str(bundle / "rootfs"))
    shutil.copy(build.hello(build.default_cache()), bundle / "rootfs" / "hello")
    config = merged(CONFIG, {"annotations": UNIKERNEL, "process": {"args": ["/app", "exit=halt"]}})
    (bundle / "config.json").write_text(json.dumps(config))
    urunc.create(bundle)
    urunc.good("start", "c")

    assert [] == mount_of(bundle)
    assert str(image) in run("losetup", "--list", "--noheadings").stdout
    urunc.good("kill", "c", "KILL")
    urunc.await_status("stopped")
    urunc.good("delete", "c")
    until(lambda: str(image) not in run("losetup", "--list", "--noheadings").stdout, "the loop device is gone")
