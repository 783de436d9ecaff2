"""Builds the guests that the tests boot, into a cache outside the checkout.

The one rule: a file of the cache is complete and never changes.  Its directory is named by what it was made of, made
under another name and renamed, so readers need no lock.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.guests import spt_build

SOURCES = Path(__file__).resolve().parent / "hello"
BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static
KERNEL_PACKAGE = "linux-image-cloud-amd64"
# what virtio_net needs on PCI, or on microvm, in the order of loading
MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_mmio",
           "failover", "net_failover", "virtio_net")  # fmt: skip
ROOT_MODULES = (*MODULES[:5], "virtio_blk")  # what a root file system needs; ext4 is built in
APT_TIMEOUT_S = 300

COMPILER = (
    "gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-ffreestanding", "-nostdlib", "-fno-pic", "-no-pie",
    "-mgeneral-regs-only", "-mno-sse", "-fcf-protection=none", "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables", "-fno-toplevel-reorder",
)  # fmt: skip
HELLO_STEPS = (
    (*COMPILER, "-m64", "-mno-red-zone", "-DENTRY=hello64", "-c", "hello.c", "-o", "hello64.o"),
    (*COMPILER, "-m32", "-DENTRY=hello32", "-S", "hello.c", "-o", "hello32.s"),
    (*COMPILER, "-m64", "-c", "hello32.s", "-o", "hello32.o"),
    (*COMPILER, "-m64", "-c", "hello.S", "-o", "start.o"),
    (*COMPILER, "-static", "-T", "hello.ld", "-Wl,--nmagic,--build-id=none,--strip-all",
     "start.o", "hello64.o", "hello32.o", "-o", "hello"),
)  # fmt: skip

INIT = """\
#!/bin/busybox sh
# The guest's first process: `sleep N` sleeps that long, `serve WORDS` is a web server whose page they are, beside all
# its files, an absolute path is run as a command, all else is only printed.  The word ip= is obeyed as CONFIG_IP_PNP
# would; IP6=ADDRESS/PREFIX,GATEWAY,DEVICE is what that lacks, IP4= of the same form is for one more interface;
# what the servers of GET=ADDRESS:PORT,... answer is printed.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
configure() {
    local IFS=:
    set -- $1 # client, server, gateway, mask, host name, device
    ifconfig "$6" "$1" netmask "$4" up
    [ -z "$3" ] || route add default gw "$3"
    echo "$6: $1 $(cat "/sys/class/net/$6/address") $(cat "/sys/class/net/$6/mtu")"
}
add() {
    local IFS=,
    set -- $1
    ip link set "$3" up
    ip addr add "$1" dev "$3" && echo "$3: $1"
    [ -z "$2" ] || ip route add default via "$2" dev "$3"
}
for module in /modules/*.ko; do [ ! -e "$module" ] || insmod "$module"; done
for word in $(cat /proc/cmdline); do
    case $word in
    ip=*) configure "${word#ip=}" ;;
    IP4=* | IP6=*) add "${word#IP?=}" ;;
    GET=*)
        for server in $(echo "${word#GET=}" | tr , " "); do
            printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc "${server%:*}" "${server#*:}"
        done ;;
    esac
done
echo "linux guest says: $*"
case ${1-} in
sleep) sleep "${2-}" ;;
serve)
    shift
    echo "$*" >/index.html
    httpd -h /
    echo "serving"
    sleep 1000
    ;;
/*) "$@" ;;
esac
poweroff -f
"""

ROOT_INIT = """\
#!/bin/busybox sh
# As the initrds of distributions: loads what the root file system needs and runs init= on what root= names.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do insmod "$module"; done
for word in $(cat /proc/cmdline); do
    case $word in root=*) root=${word#root=} ;; init=*) init=${word#init=} ;; esac
done
mount -t ext4 -o rw "$root" /root || mount -t ext4 -o ro "$root" /root || poweroff -f
exec switch_root /root "$init" "$@"
"""

STATION = """\
#include "spt.h"

#define run echo /* takes "A.B.C.D COUNT" */
#include "net.c"
#undef run

static int run(const struct boot *boot)
{
    static char line[256];
    struct boot told = *boot;
    const char *at = boot->cmdline, *last = at;
    size_t used = 0;
    print("told ");
    print(boot->cmdline);
    print("\\n");
    while (*at && *at != '=')
        at++;
    for (at += *at != 0; *at && *at != '/' && used < 64; at++)
        line[used++] = *at;
    line[used++] = ' ';
    for (; *at; at++)
        if (*at == ' ')
            last = at + 1;
    for (; *last && used < sizeof(line) - 1; last++)
        line[used++] = *last;
    told.cmdline = line;
    return echo(&told);
}
"""


@dataclass(frozen=True)
class Entry:
    """One file of an initrd; `content` is the target of a symbolic link, `device` the numbers of a node."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def default_cache() -> Path:
    """The cache's directory: $URUNC_TEST_CACHE, else one for all of the machine."""
    return Path(os.environ.get("URUNC_TEST_CACHE") or "/var/cache/urunc-tests")


def hello(cache: Path) -> Path:
    """A freestanding guest of a few kB, which boots by PVH and by the 64-bit Linux protocol (see hello/hello.c)."""
    key = hashlib.sha256(repr(HELLO_STEPS).encode())
    for source in sorted(SOURCES.iterdir()):
        key.update(source.name.encode() + b"\0" + source.read_bytes())
    return cached(cache, f"hello-{key.hexdigest()[:16]}", compile_hello) / "hello"


def linux(cache: Path) -> tuple[Path, Path]:
    """Debian's kernel for virtual machines, as a bzImage, and an initrd with busybox."""
    return kernel(cache), initrd(cache)


def linux_net(cache: Path) -> tuple[Path, Path]:
    """As `linux`; the initrd has the modules of a network interface, too."""
    directory = kernel(cache).parent
    modules = [(directory / f"{name}.ko").read_bytes() for name in MODULES]
    return directory / "vmlinuz", initrd(cache, modules)


def linux_root(cache: Path) -> tuple[Path, Path]:
    """As `linux`; the initrd mounts the file system that root= names, by virtio_blk, and runs init= there."""
    directory = kernel(cache).parent
    modules = [(directory / f"{name}.ko").read_bytes() for name in ROOT_MODULES]
    return directory / "vmlinuz", initrd(cache, modules, ROOT_INIT)


def linux_uinit(cache: Path) -> tuple[Path, Path]:
    """As `linux`; the initrd has the modules for a root file system where uinit finds them, and nothing else."""
    directory = kernel(cache).parent
    entries = [Entry(path, stat.S_IFDIR | 0o755) for path in (".urunc", ".urunc/modules")]
    for number, name in enumerate(ROOT_MODULES):
        content = (directory / f"{name}.ko").read_bytes()
        entries.append(Entry(f".urunc/modules/{number:02}-{name}.ko", stat.S_IFREG | 0o644, content))
    archive = cpio(entries)

    def make(made: Path) -> None:
        (made / "initrd").write_bytes(archive)

    return directory / "vmlinuz", cached(cache, f"initrd-{hashlib.sha256(archive).hexdigest()[:16]}", make) / "initrd"


def station(cache: Path) -> Path:
    """The spt guest `net` for the command line of a MirageOS container, which it says first: `--ipv4=A/N ... COUNT`.

    It answers ARP and ping for its address and ends after COUNT pings.
    """
    key = hashlib.sha256(repr((STATION, spt_build.COMPILER)).encode())
    sources = [spt_build.SOURCES / name for name in ("net.c", "echo.h", "spt.h", "spt.ld")]
    for source in sources:
        key.update(source.name.encode() + b"\0" + source.read_bytes())

    def make(directory: Path) -> None:
        for source in sources:
            shutil.copyfile(source, directory / source.name)
        (directory / "station.c").write_text(STATION)
        run((*spt_build.COMPILER, "station.c", "-o", "station"), directory)

    return cached(cache, f"station-{key.hexdigest()[:16]}", make) / "station"


def kernel(cache: Path) -> Path:
    """The kernel that Debian's meta package stands for today, beside MODULES; downloaded, never installed."""
    try:
        package, digest = kernel_package()
    except subprocess.CalledProcessError:  # no package lists: a new machine
        run(("apt-get", "-qq", "update"))
        package, digest = kernel_package()

    def make(directory: Path) -> None:
        download(package, directory)

    key = hashlib.sha256(repr((digest, MODULES, ROOT_MODULES)).encode()).hexdigest()
    return cached(cache, f"{package}-{key[:16]}", make) / "vmlinuz"


def initrd(cache: Path, modules: Sequence[bytes] = (), init: str = INIT) -> Path:
    """An initrd with `modules` and `init`, whose /init loads them, prints its arguments and does what they say."""
    archive = cpio(initrd_entries(modules, init))

    def make(directory: Path) -> None:
        (directory / "initrd").write_bytes(archive)

    return cached(cache, f"initrd-{hashlib.sha256(archive).hexdigest()[:16]}", make) / "initrd"


def cached(cache: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The directory `name` of the cache, filled by `make` unless it is there; one maker at a time."""
    final = cache / name
    if final.is_dir():
        return final
    cache.mkdir(parents=True, exist_ok=True)
    with lock(cache / f".{name}.lock"):
        if not final.is_dir():
            temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache))
            try:
                make(temporary)
                temporary.chmod(0o755)
                temporary.rename(final)
            except BaseException:
                shutil.rmtree(temporary)
                raise
    return final


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive flock on `path`, which stays: whoever removed it would let two in."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(argv: tuple[str, ...], directory: Path | None = None) -> str:
    """The output of a command; what it said is in the notes of the CalledProcessError."""
    try:
        ended = subprocess.run(argv, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                               timeout=APT_TIMEOUT_S, check=True)  # fmt: skip
    except subprocess.CalledProcessError as error:
        error.add_note(f"{error.stdout}{error.stderr}".strip())
        raise
    return ended.stdout


def compile_hello(directory: Path) -> None:
    for source in SOURCES.iterdir():
        shutil.copyfile(source, directory / source.name)
    for step in HELLO_STEPS:
        run(step, directory)
    for file in directory.iterdir():
        if file.name != "hello":
            file.unlink()


def kernel_package() -> tuple[str, str]:
    """Name and SHA-256 of the package that the meta package depends on today."""
    depends = run(("apt-cache", "depends", "--important", KERNEL_PACKAGE))
    (package,) = (line.split()[-1] for line in depends.splitlines() if line.strip().startswith("Depends: linux-image-"))
    shown = run(("apt-cache", "show", "--no-all-versions", package))
    (digest,) = (line.split()[-1] for line in shown.splitlines() if line.startswith("SHA256:"))
    return package, digest


def download(package: str, directory: Path) -> None:
    """Put the kernel of `package` into `directory` as vmlinuz, and MODULES beside it."""
    # Debian keeps only the newest version: lists that are older than it lead nowhere.
    get = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package)
    try:
        run(get, directory)
    except subprocess.CalledProcessError:
        run(("apt-get", "-qq", "update"))
        run(get, directory)
    (archive,) = directory.glob("*.deb")
    run(("dpkg", "-x", archive.name, "unpacked"), directory)
    (image,) = directory.glob("unpacked/boot/vmlinuz-*")
    image.rename(directory / "vmlinuz")
    for name in {*MODULES, *ROOT_MODULES}:
        (module,) = directory.glob(f"unpacked/lib/modules/**/{name}.ko")
        module.rename(directory / module.name)
    shutil.rmtree(directory / "unpacked")
    archive.unlink()


def initrd_entries(modules: Sequence[bytes], init: str) -> list[Entry]:
    directories = ("bin", "dev", "etc", "modules", "proc", "root", "run", "sys", "tmp")
    applets = run((str(BUSYBOX), "--list")).split()
    links = sorted(set(applets) - {"busybox"})
    return [
        *(Entry(path, stat.S_IFDIR | 0o755) for path in directories),
        Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),  # the kernel opens it before /init can mount /dev
        Entry("bin/busybox", stat.S_IFREG | 0o755, BUSYBOX.read_bytes()),
        *(Entry(f"bin/{name}", stat.S_IFLNK | 0o777, b"busybox") for name in links),
        *(Entry(f"modules/{at:02}.ko", stat.S_IFREG | 0o644, module) for at, module in enumerate(modules)),
        Entry("init", stat.S_IFREG | 0o755, init.encode()),
    ]


def cpio(entries: list[Entry]) -> bytes:
    """A cpio archive as the kernel takes it: `newc` (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    archive = bytearray()
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.path.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        fields = (number, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
        archive += b"070701" + b"".join(b"%08x" % field for field in fields) + name
        archive += bytes(-len(archive) % 4)
        archive += entry.content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def main() -> None:
    cache = default_cache()
    print(hello(cache), *linux(cache), sep="\n")


if __name__ == "__main__":
    main()
