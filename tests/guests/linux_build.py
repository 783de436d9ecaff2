"""Kernels for ordinary images: the one of ci/kernel where that was run, and Debian's, with an initrd of its modules.

The one rule: as in build.py, a file of the cache is complete and never changes.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.guests.build import cached, cpio, initrd_entries, run

from urunc import modules

ROOT = Path(__file__).resolve().parents[2]
# an image's own initrd, as those of distributions: mounts what the kernel's command line names, and runs init= there
SHARE_INIT = """\
#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /.urunc/modules/*; do insmod "$module"; done
for word in $(cat /proc/cmdline); do
    case $word in
    root=*) root=${word#root=} ;; rootfstype=*) type=${word#rootfstype=} ;;
    rootflags=*) flags=${word#rootflags=} ;; init=*) init=${word#init=} ;;
    esac
done
mount -t "$type" ${flags:+-o "$flags"} "$root" /root || poweroff -f
exec switch_root /root "$init" "$@"
"""
KERNEL_PACKAGE = "linux-image-amd64"  # the cloud kernel has no 9p
# of the package's 400 MB: where modules.WANTED and what they need are
KEPT = tuple(
    f"./{place}"
    for place in (
        *("boot/vmlinuz-*", "lib/modules/*/kernel/fs/*", "lib/modules/*/kernel/net/9p/*"),
        *("lib/modules/*/kernel/net/core/*", "lib/modules/*/kernel/lib/*", "lib/modules/*/kernel/crypto/*"),
        *("lib/modules/*/kernel/arch/*", "lib/modules/*/kernel/drivers/virtio/*"),
        *("lib/modules/*/kernel/drivers/block/*", "lib/modules/*/kernel/drivers/net/virtio_net*"),
        *("lib/modules/*/kernel/drivers/net/net_failover*", "lib/modules/*/kernel/drivers/acpi/*"),
        "lib/modules/*/kernel/drivers/input/*",
    )
)


def tailored() -> Path | None:
    """The kernel that ci/kernel has built from the configuration as it is now; None if it was not run."""
    directory = run((str(ROOT / "ci" / "kernel"), "--where")).strip()
    kernel = Path(directory) / "bzImage"
    return kernel if kernel.exists() else None


def debian(cache: Path) -> tuple[Path, Path]:
    """Debian's general kernel and an initrd of its modules; downloaded, never installed."""
    try:
        package = _package()
    except (subprocess.CalledProcessError, ValueError):  # no package lists: a new machine
        run(("apt-get", "-qq", "update"))
        package = _package()
    key = hashlib.sha256(repr((modules.WANTED, KEPT, Path(modules.__file__).read_bytes())).encode()).hexdigest()
    directory = cached(cache, f"{package}-{key[:16]}", lambda made: _make(package, made))
    return directory / "vmlinuz", directory / "initrd"


def debian_shared(cache: Path) -> tuple[Path, Path]:
    """The same kernel, and an initrd of an image with an init of its own that takes a shared directory for /."""
    kernel, modules_of = debian(cache)
    archive = modules_of.read_bytes() + cpio(initrd_entries((), SHARE_INIT))

    def make(directory: Path) -> None:
        (directory / "initrd").write_bytes(archive)

    return kernel, cached(cache, f"initrd-{hashlib.sha256(archive).hexdigest()[:16]}", make) / "initrd"


def _package() -> str:
    depends = run(("apt-cache", "depends", "--important", KERNEL_PACKAGE))
    (package,) = (line.split()[-1] for line in depends.splitlines() if line.strip().startswith("Depends: linux-image-"))
    return package


def _make(package: str, directory: Path) -> None:
    # Debian keeps only the newest version: lists that are older than it lead nowhere.
    get = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package)
    try:
        run(get, directory)
    except subprocess.CalledProcessError:
        run(("apt-get", "-qq", "update"))
        run(get, directory)
    (archive,) = directory.glob("*.deb")
    tree = directory / "tree"
    tree.mkdir()
    with subprocess.Popen(("dpkg-deb", "--fsys-tarfile", archive), stdout=subprocess.PIPE) as unpacking:
        command = ("tar", "-x", "-C", str(tree), "--wildcards", *KEPT)
        subprocess.run(command, stdin=unpacking.stdout, check=True, timeout=300)
    (image,) = tree.glob("boot/vmlinuz-*")
    image.rename(directory / "vmlinuz")
    (release,) = tree.glob("lib/modules/*")
    (directory / "initrd").write_bytes(modules.archive(release, modules.WANTED))
    shutil.rmtree(tree)
    archive.unlink()


def main() -> None:
    from tests.guests.build import default_cache

    print(tailored(), *debian(default_cache()))


if __name__ == "__main__":
    main()
