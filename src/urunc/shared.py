"""The initrd that is made for a guest, and the directory that is shared with it, as operations of a plan.  Pure.

The one rule: what is shared read-only cannot be written by the monitor either.
"""

from .monitors import Helper
from .slots import CONNECTED_SLOT, LISTENING_SLOT, SHARE_SLOT
from .storage import IDMAP, NODEV, NOSUID, RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .facts import Host
    from .monitors import Archive, Machine, Share

    Operation = tuple[object, ...]

INITRD = "guest/initrd"
SHARE = "guest/share"
STATUS = "guest/status"
VHOST = "guest/vhost"
PROCESSES = "guest/processes"
# linux/capability.h: a server of files gives them owners, and reads what is not its own
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID = 0, 1, 2, 3, 4
CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_SYS_CHROOT = 6, 7, 8, 18
# it takes on the guest's user for each request, enters the directory, and drops the last two and its bounding set
VIRTIOFSD_CAPABILITIES = (
    *(CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_SYS_CHROOT),
)


def initrd_bytes(machine: "Machine") -> int:
    """Return how large the initrd may become: what the guest could unpack into all of its memory."""
    return machine.memory_mib << 20 if machine.archive else 0


def operations(host: "Host", machine: "Machine", slots: "dict[str, int]") -> "list[Operation]":
    """Return how initrd and shared directory come into the monitor's root."""
    made: list[Operation] = _initrd(machine.archive, host, slots) if machine.archive else []
    made += [("directory", STATUS, 0o755)] if machine.exit_code == "sector" else []
    if machine.share:
        made += [("directory", VHOST, 0o755)] if machine.share.kind == "virtiofs" else []
        made += [("directory", path, 0o555) for path in ("proc", "proc/sys", "proc/sys/fs", PROCESSES)]
        # the processes alone, and of the kernel's parameters the one that virtiofsd asks for
        made += [("symlink", f"/{PROCESSES}/self", "proc/self"), ("file", "proc/sys/fs/file-max", 0o444, b"65536\n")]
        made += [("directory", SHARE, 0o755), ("directory", f"{SHARE}/volumes", 0o755)]
        for number, (name, source, read_only, directory) in enumerate(machine.share.entries):
            if not _is_below(name):
                place = f"{SHARE}/{name}"
                made.append(("directory", place, 0o755) if directory else ("file", place, 0o644, b""))
            attributes = (RDONLY if read_only else 0) | (IDMAP if source in host.idmapped else 0)
            made.append(("clone_tree", SHARE_SLOT + number, source, attributes | NOSUID | NODEV))
    return made


def attached(machine: "Machine") -> "list[Operation]":
    """Return how what is shared gets to its place, in the monitor's mount namespace."""
    made: list[Operation] = [("sector", STATUS)] if machine.exit_code == "sector" else []
    if not machine.share:
        return made
    if machine.share.kind == "virtiofs":
        made.append(("vhost", VHOST, LISTENING_SLOT, CONNECTED_SLOT))
    for number, (name, *_) in enumerate(machine.share.entries):
        if _is_below(name):
            made.append(("attach_below", SHARE_SLOT + number, f"{SHARE}/root", name.removeprefix("root/")))
        else:
            made.append(("attach", SHARE_SLOT + number, f"{SHARE}/{name}"))
    return [*made, ("proc", PROCESSES)]  # whoever serves files changes modes through /proc/self/fd


def _is_below(name: str) -> bool:
    """Whether this is mounted on the shared rootfs itself, where the image has the place for it."""
    return name.startswith("root/")


def kept(machine: "Machine") -> "list[Operation]":
    """Return how the monitor gets its connection to virtiofsd."""
    is_virtiofs = machine.share is not None and machine.share.kind == "virtiofs"
    return [("keep", CONNECTED_SLOT, machine.share.fd)] if machine.share and is_virtiofs else []


def helpers(share: "Share | None", path: str) -> "tuple[Helper, ...]":
    """Return what has to run beside the monitor; `path` is virtiofsd's."""
    return (_virtiofsd(path, share.path),) if share and share.kind == "virtiofs" else ()


def _virtiofsd(path: str, directory: str) -> Helper:
    """Return the server of `directory`: root with what it takes to give files their owners, in a root of its own.

    The words are those that Debian 12's has in common with the newer one.
    """
    words = (f"/.monitor{path}", "--fd=3", "-f", "--rlimit-nofile=0", "-o", f"source={directory}")
    options = "sandbox=chroot,cache=auto,xattr,modcaps=-mknod:-setfcap"
    return Helper(
        path=words[0],
        argv=(*words, "-o", options),
        capabilities=VIRTIOFSD_CAPABILITIES,
        slot=LISTENING_SLOT,
        quiet=True,  # Debian 12's calls it an error when the monitor goes
    )


def capabilities(machine: "Machine") -> int:
    """Return what the monitor needs for the guest's files, as a mask."""
    if not machine.share or machine.share.kind != "9pfs":
        return 0
    if machine.share.read_only:
        return 1 << CAP_DAC_READ_SEARCH
    return 1 << CAP_CHOWN | 1 << CAP_DAC_OVERRIDE | 1 << CAP_FOWNER | 1 << CAP_FSETID


def _initrd(archive: "Archive", host: "Host", slots: "dict[str, int]") -> "list[Operation]":
    if archive.raw:
        return [("file", INITRD, 0o444, archive.raw)]
    first = tuple(slots[file.role] for file in host.files if file.role in ("initrd", "initrd1"))
    return [
        ("initrd", INITRD, first, int(archive.cut)),
        *(("initrd_tree", INITRD, name, source) for name, source in archive.trees),
        *([("initrd_uinit", INITRD, ".urunc/init")] if archive.uinit else []),
        *(("initrd_file", INITRD, name, mode, content) for name, mode, content in archive.files),
        ("initrd_end", INITRD),
    ]
