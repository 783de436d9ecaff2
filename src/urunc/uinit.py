"""The configuration of uinit, the init of Linux guests (src/_fastpath/uinit.h).  Pure.

The one rule: it says everything; uinit decides nothing, and finds out only what exists in the guest alone.
"""

from .errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .mounts import Volume
    from .spec import Spec
    from .unikernels import Boot

MAGIC = "uinit 1"
DIRECTORY = ".urunc"  # in the initrd
INIT = f"/{DIRECTORY}/init"
_SIZE_MAX = 4 << 20  # bytes, UINIT_CONFIG_MAX
RLIMITS = (
    *("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC"),
    *("RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE"),
    *("RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"),
)
_9P = "trans=virtio,version=9p2000.L,msize=512000,cache=mmap"


def configuration(
    spec: "Spec", boot: "Boot", root: "tuple[str, ...]", binds: "tuple[tuple[str, ...], ...]", status: str
) -> bytes:
    """Return the file.

    `root` and `binds` are what `root_of` and `bind` have made; `status` is the device that takes the program's status.
    """
    words = [MAGIC, *root]
    for one in binds:
        words += one
    words += ["hostname", spec.hostname] if spec.hostname else []
    words += ["domainname", spec.domainname] if spec.domainname else []
    for key, value in spec.sysctl:
        words += ["sysctl", _sysctl(key), value]
    words += [*_network(boot), *_process(spec, boot)]
    words += ["status", status] if status else []
    words += ["reboot"] if boot.monitor == "firecracker" else []
    content = b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
    if len(content) > _SIZE_MAX:
        raise SpecError(f"process.args and process.env are {len(content)} bytes: a Linux guest takes {_SIZE_MAX}")
    return content


def share_of(kind: str) -> "tuple[str, ...]":
    """Return the directive that mounts the shared directory: 9pfs or virtiofs."""
    if kind == "virtiofs":
        return ("share", "virtiofs", "urunc", "0", "")
    return ("share", "9p", "urunc", "0", _9P)


def root_of(kind: str, device: str, *, read_only: bool) -> "tuple[str, ...]":
    """Return the directive that makes the root file system: share, block or initrd."""
    flags = "1" if read_only else "0"
    if kind == "share":
        return ("root", "share", "/root", flags, "")
    return ("root", "ext4", device, flags, "") if kind == "block" else ()  # ext4 mounts ext2 and ext3 too


def disk(number: int, place: str, *, read_only: bool) -> "tuple[str, ...]":
    """Return the directive that mounts a disk, by its number among all, at `place`."""
    return ("mount", "ext4", device(number), place, "1" if read_only else "0", "")


def device(number: int) -> str:
    """Return the name of a virtio disk in the guest, which has fewer than 26."""
    return "/dev/vd" + "abcdefghijklmnopqrstuvwxyz"[number]


def bind(volume: "Volume", number: int, *, shared: bool) -> "tuple[str, ...]":
    """Return the directive for the mount of the spec that has this number in the share or in the initrd."""
    if not volume.source:
        return ("mount", "tmpfs", "tmpfs", volume.target, str(volume.flags), volume.data)
    kind, source = ("from_share", f"/volumes/{number}") if shared else ("bind", f"/{DIRECTORY}/volumes/{number}")
    return (kind, source, volume.target, str(volume.flags), "1" if volume.directory else "0")


def _network(boot: "Boot") -> "list[str]":
    words = []
    for interface in boot.interfaces:
        words += ["link", interface.mac, interface.name, str(interface.mtu)]
        for address, prefix in (*interface.ipv4, *interface.ipv6):
            words += ["address", interface.mac, address, str(prefix)]
    for interface in boot.interfaces:
        for gateway in (interface.gateway4, interface.gateway6):
            words += ["gateway", interface.mac, gateway] if gateway else []
    return words


def _process(spec: "Spec", boot: "Boot") -> "list[str]":
    words = []
    for limit in spec.rlimits:
        words += ["rlimit", str(RLIMITS.index(limit.type)), str(limit.soft), str(limit.hard)]
    words += ["umask", str(spec.umask)] if spec.umask >= 0 else []
    for group in spec.groups:
        words += ["group", str(group)]
    words += ["user", str(spec.uid), str(spec.gid), "cwd", spec.cwd]
    words += ["no_new_privileges"] if spec.no_new_privileges else []
    words += ["terminal", *map(str, spec.console_size)] if spec.terminal else []
    for variable in boot.env:
        words += ["env", variable]
    for argument in boot.args:
        words += ["arg", argument]
    return words


def _sysctl(key: str) -> str:
    """Return the file below /proc/sys: a name has dots, or slashes where a component has a dot (sysctl(8))."""
    path = key if "/" in key else key.replace(".", "/")
    if not path or ".." in path.split("/") or path[0] == "/":
        raise SpecError(f"linux.sysctl: {key!a} is no name of a kernel parameter")
    return path
