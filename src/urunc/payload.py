"""What a guest gets beside its kernel: the initrd that is made for it, and directories shared with it.  Pure.

The one rule: nothing is copied that can be shared, and what a guest would lose by a copy is refused.
"""

from ._record import Record
from .errors import SpecError, UnikernelError
from .monitors import Archive, Share
from .shared import SHARE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .annotations import Unikernel
    from .facts import Host
    from .monitors import Monitor
    from .mounts import Volume
    from .spec import Spec
    from .unikernels import Boot, Guest

TAG = "fs0"  # of a share that is the guest's /: what the guest's own parameters name
SHARED_MAX = 20  # each takes a slot of the plan, behind those of the interfaces
INTERFACES_MAX = 11


class Payload(Record):
    """`archive` is None if the guest takes the initrd of its image as it is, or has none."""

    archive: "Archive | None" = None
    share: "Share | None" = None
    notices: "tuple[str, ...]" = ()


def init_of(unikernel: "Unikernel", guest: "Guest", args: "tuple[str, ...]") -> str:
    """Return what runs the program: uinit, urunit (an init of existing images that we configure), or "" for the image.

    Images with a kernel of their own bring an init, unless they say otherwise by the annotation init.
    """
    wanted = unikernel.init or ("urunc" if unikernel.kernel and guest.uinit else "image")
    if wanted == "urunc":
        if not guest.uinit:
            raise UnikernelError(f"init urunc: a {guest.name} guest has none: leave it out")
        if not args:
            raise SpecError("process.args must not be empty: it is what the guest runs")
        return "uinit"
    return "urunit" if guest.uinit and args and "urunit" in args[0].rpartition("/")[2] else ""


def root_kind(unikernel: "Unikernel", guest: "Guest", chosen: "Monitor", host: "Host") -> str:
    """Return what / of a guest with urunc's init is on: initrd and block are the image's, the rest is the rootfs."""
    from .storage import places

    if places(unikernel, host)[:1] == ("/",):
        return "block"
    if unikernel.initrd:
        return "initrd"
    configured = next((kernel.root for kernel in host.config.kernels if kernel.name == unikernel.kernel), "")
    wanted = unikernel.share or configured
    possible = (*_kinds(guest, chosen, host), "rootfs")
    if not wanted:
        return possible[0]
    kind = "rootfs" if wanted == "initrd" else wanted
    if kind not in possible:
        what = "mountRootfs" if unikernel.share else f"linux.kernels.{unikernel.kernel}.root"
        raise UnikernelError(f"{what} {wanted}: {chosen.name} has none here: use initrd")
    return kind


def _kinds(guest: "Guest", chosen: "Monitor", host: "Host") -> "list[str]":
    """Return the ways of sharing a directory that guest, monitor and host have, the best first."""
    return [kind for kind in chosen.shares if kind in guest.roots and (kind != "virtiofs" or host.virtiofsd)]


def shared_root(unikernel: "Unikernel", guest: "Guest", chosen: "Monitor", host: "Host") -> str:
    """Return how the rootfs is shared with a guest that mounts it by itself, "" if it is not: mountRootfs asks for it.

    UnikernelError if it is asked for and there is no way; that it can be no disk has been found out before.
    """
    if not unikernel.mount_rootfs or not {"9pfs", "virtiofs"} & set(guest.roots):
        return ""
    if unikernel.initrd and not guest.filesystems:
        return ""  # Unikraft's / is the initrd then
    kinds = [kind for kind in _kinds(guest, chosen, host) if unikernel.share in ("", kind)]
    if not kinds and unikernel.share:
        raise UnikernelError(f"mountRootfs {unikernel.share}: {guest.name} on {chosen.name} has none here: remove it")
    if not kinds:
        from .snapshot import reason_against

        reason = reason_against(unikernel, guest, host.backing)
        missing = "this host has no virtiofsd: install it" if chosen.shares else ""
        missing = missing or f"{chosen.name} shares no directories: use hypervisor qemu"
        raise UnikernelError(f"mountRootfs: {reason}; and {missing}")
    return kinds[0]


def payload(  # noqa: PLR0913, PLR0917  all that it is made of
    spec: "Spec", guest: "Guest", chosen: "Monitor", host: "Host", boot: "Boot", status: str
) -> Payload:
    """Return what the guest gets; SpecError for a mount that it cannot be given."""
    from . import mounts, uinit

    if boot.init == "urunit" and boot.root and boot.initrd:
        raise UnikernelError("initrd: urunit finds its configuration there, as its root is elsewhere: remove it")
    if boot.init != "uinit" and boot.root in chosen.shares:
        return _on_shared_root(spec, guest, host, boot)
    if boot.init != "uinit":
        return _without_uinit(spec, guest, host, boot)
    volumes = mounts.volumes(spec, host.directories)
    kind = _share_kind(volumes, boot.root, chosen)
    bound = [uinit.bind(volume, number, shared=bool(kind)) for number, volume in enumerate(volumes)]
    binds = (*_disks(spec, host, boot), *bound)
    shared = kind == boot.root
    root = uinit.root_of("share" if shared else boot.root, "/dev/vda", read_only=spec.readonly)
    first = (*(uinit.share_of(kind) if kind else ()), *root)
    files = ((f"{uinit.DIRECTORY}/config", 0o600, uinit.configuration(spec, boot, first, binds, status)),)
    trees = [("", spec.rootfs)] if boot.root == "rootfs" else []
    if kind:
        return Payload(
            archive=Archive(uinit=True, files=files),
            share=_share(kind, _entries(volumes, spec, root=shared), len(boot.interfaces)),
        )
    copied = [(number, volume) for number, volume in enumerate(volumes) if volume.source]
    trees += [(f"{uinit.DIRECTORY}/volumes/{number}", volume.source) for number, volume in copied]
    return Payload(archive=Archive(uinit=True, files=files, trees=tuple(trees)))


def _disks(spec: "Spec", host: "Host", boot: "Boot") -> "list[tuple[str, ...]]":
    """Return the directives that mount the disks of the image, but the one that is /."""
    from . import uinit

    only_read = [file.read_only or spec.readonly for file in host.files if file.role.startswith("disk")]
    return [
        uinit.disk(number, place, read_only=read_only)
        for number, (place, read_only) in enumerate(zip(boot.places, only_read, strict=True))
        if place not in {"", "/"}
    ]


def _share_kind(volumes: "tuple[Volume, ...]", root: str, chosen: "Monitor") -> str:
    """Return how directories are shared, "" if they are copied: for a root that is shared, or what can be written."""
    if root in chosen.shares:
        return root
    written = [volume for volume in volumes if volume.source and volume.directory and not volume.read_only]
    if written and not chosen.shares:
        raise SpecError(
            f"mounts: {written[0].target}: {chosen.name} shares no directories, and what the guest writes would be"
            " lost: make it read-only, or use hypervisor qemu"
        )
    return chosen.shares[-1] if written else ""


def _entries(volumes: "tuple[Volume, ...]", spec: "Spec", *, root: bool) -> "list[tuple[str, str, bool, bool]]":
    """Return what uinit finds in its share, which it binds to its places."""
    entries = [("root", spec.rootfs, spec.readonly, True)] if root else []
    return entries + [
        (f"volumes/{number}", volume.source, volume.read_only, volume.directory)
        for number, volume in enumerate(volumes)
        if volume.source
    ]


def _share(kind: str, entries: "list[tuple[str, str, bool, bool]]", interfaces: int, *, tag: str = "urunc") -> Share:
    if len(entries) > SHARED_MAX:
        raise SpecError(f"mounts: {len(entries)} directories are shared with the guest: it takes {SHARED_MAX}")
    if interfaces > INTERFACES_MAX:
        raise SpecError(f"a guest with a shared directory takes {INTERFACES_MAX} interfaces: remove some")
    path = f"/{SHARE}/root" if tag == TAG else f"/{SHARE}"
    return Share(kind=kind, path=path, tag=tag, entries=tuple(entries))


def _on_shared_root(spec: "Spec", guest: "Guest", host: "Host", boot: "Boot") -> Payload:
    """The guest mounts the rootfs by itself and finds the mounts of the spec in it, where the rootfs has a place."""
    from . import mounts

    entries, notices = [("root", spec.rootfs, spec.readonly, True)], []
    for volume in mounts.volumes(spec, host.directories):
        has_place = volume.target in host.targets
        if volume.source and has_place:
            entries.append((f"root{volume.target}", volume.source, volume.read_only, volume.directory))
        elif volume.source and volume.target in mounts.ADDED:
            notices.append(f"{volume.target}: the rootfs has no such file: the guest does not get it")
        elif volume.source:
            kind = "directory" if volume.directory else "file"
            raise SpecError(f"mounts: {volume.target}: the rootfs has no such {kind}: make it in the image")
        elif volume.target not in mounts.SCRATCH:
            raise SpecError(f"mounts: {volume.target}: a {guest.name} guest with an init of its own mounts no tmpfs:"
                            " remove it")  # fmt: skip
    archive = Archive(raw=_urunit(spec, boot)) if boot.init == "urunit" else None
    share = _share(boot.root, entries, len(boot.interfaces), tag=TAG)
    return Payload(archive=archive, share=share, notices=tuple(notices))


def _without_uinit(spec: "Spec", guest: "Guest", host: "Host", boot: "Boot") -> Payload:
    """The image's own init, or a framework that has none: files can be put into an initrd."""
    from . import mounts

    initrds = [file for file in host.files if file.role.startswith("initrd")]
    # an initrd that is not / has been left by the time that anybody would look for a mount
    if guest.name not in {"linux", "unikraft"} or not initrds or boot.root:
        notices = mounts.refused(spec, guest.name)
        archive = Archive(raw=_urunit(spec, boot)) if boot.init == "urunit" else None
        return Payload(archive=archive, notices=notices)
    volumes = [volume for volume in mounts.volumes(spec, host.directories) if volume.source]
    for volume in volumes:
        if volume.directory and not volume.read_only:
            raise SpecError(
                f"mounts: {volume.target}: the guest gets a copy of it, and what it writes would be lost: make it"
                " read-only"
            )
    files = (("urunit.conf", 0o600, _urunit(spec, boot)),) if boot.init == "urunit" else ()
    if not volumes and not files and len(initrds) == 1:
        return Payload()
    trees = tuple((volume.target[1:], volume.source) for volume in volumes)
    return Payload(archive=Archive(files=files, trees=trees, cut=guest.name == "unikraft"))


def _urunit(spec: "Spec", boot: "Boot") -> bytes:
    """Return the configuration of urunit, an init of existing images: environment, then user and directory."""
    lines = ["UES", *boot.env, "UEE", "UCS", f"UID:{spec.uid}", f"GID:{spec.gid}", f"WD:{spec.cwd}", "UCE"]
    blocks = [(number, place) for number, place in enumerate(boot.places) if place not in {"", "/"}]
    if blocks:
        # the serial numbers of the disks (storage.disks); it mounts them as ext4
        lines += ["UBS", *[line for number, place in blocks for line in (f"ID:disk{number}", f"MP:{place}")], "UBE"]
    if any("\n" in line for line in lines):
        raise SpecError("process.env, process.cwd, blkMntPoint: urunit takes no line ends: remove them")
    return "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")
