"""What the container's image gives a guest: its files, open, and what is said of them in them.

The one rule: a path of the image never leads out of the rootfs; what is opened goes on as a descriptor.
"""

import errno
import os

from . import _fastpath
from ._record import Record
from .errors import HostError, SpecError, UnikernelError
from .jsontext import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .annotations import Unikernel
    from .config import Config, KernelConfig
    from .snapshot import Backing
    from .spec import Spec

URUNC_JSON_MAX = 1 << 20  # bytes
# by the target of the ABI note (elf_abi.h)
SOLO5_TARGETS = ("", "solo5-hvt", "solo5-spt", "solo5-virtio", "solo5-muen", "solo5-genode", "solo5-xen")


class File(Record):
    """A file of the guest, open for reading; the descriptor is whoever's asked for it."""

    role: str  # kernel, initrd, disk0, monitor
    fd: int
    name: str  # as it was named, for messages
    kinds: "tuple[str, ...]"  # of _fastpath.identify: bzimage, elf64, pvh ...
    size: int  # bytes
    extent: int = 0  # bytes of the guest's memory up to the end of a kernel, 0 = not known
    device: "tuple[int, int]" = (0, 0)  # major and minor of what the file is on
    # of disks
    node: "tuple[int, int] | None" = None  # major and minor of what is a block device itself
    read_only: bool = False  # whether it is one that the container may only read
    filesystem: str = ""  # superblock.name


def urunc_json(rootfs: str) -> "dict[str, object] | None":
    """Return the content of urunc.json in `rootfs`, None if there is none; UnikernelError if it is broken."""
    try:
        root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise SpecError(f"invalid rootfs: {rootfs}: {os.strerror(error.errno or 0).lower()}") from None
    try:
        fd = open_regular(root_fd, "urunc.json", "urunc.json")
    except FileNotFoundError:
        if _is_there(root_fd, "urunc.json"):
            raise UnikernelError(f"urunc.json in {rootfs} is a link that leads nowhere: correct or remove it") from None
        return None
    finally:
        os.close(root_fd)
    try:
        text = os.read(fd, URUNC_JSON_MAX + 1)
    finally:
        os.close(fd)
    if len(text) > URUNC_JSON_MAX:
        raise UnikernelError(f"urunc.json in {rootfs} is larger than {URUNC_JSON_MAX} bytes")
    content = decode(text, "urunc.json")
    if not isinstance(content, dict):
        raise UnikernelError("urunc.json: must be an object of annotations and their values")
    return content


def guest_files(spec: "Spec", unikernel: "Unikernel", config: "Config", opened: "list[File]") -> None:
    kernel = host_kernel(unikernel, config)
    wanted = [("kernel", kernel.path if kernel else unikernel.binary, kernel is None)]
    if kernel and kernel.initrd:
        wanted.append(("initrd", kernel.initrd, False))
    if unikernel.initrd:
        wanted.append(("initrd1" if len(wanted) > 1 else "initrd", unikernel.initrd, True))
    root_fd = os.open(spec.rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        for role, name, in_rootfs in wanted:
            opened.append(_file(root_fd if in_rootfs else -1, role, name, spec.rootfs))
        for number, name in enumerate(unikernel.block.split(",")):
            if name:
                opened.append(_disk(root_fd, f"disk{number}", name, spec))
    finally:
        os.close(root_fd)


def host_kernel(unikernel: "Unikernel", config: "Config") -> "KernelConfig | None":
    if not unikernel.kernel:
        return None
    for kernel in config.kernels:
        if kernel.name == unikernel.kernel:
            return kernel
    names = ", ".join(kernel.name for kernel in config.kernels) or "none"
    raise UnikernelError(f'kernel "{unikernel.kernel}" is not in the host\'s configuration, which has: {names}')


def _file(root_fd: int, role: str, name: str, rootfs: str) -> File:
    what = "binary" if role == "kernel" else role
    try:
        fd = open_regular(root_fd, name, what) if root_fd >= 0 else os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise _missing(what, name, rootfs if root_fd >= 0 else "the host", error) from None
    try:
        kind, size, _machine, _bits, pvh, multiboot, _protocol, solo5, _version, extent = _fastpath.identify(fd)
    except OSError as error:
        os.close(fd)
        raise UnikernelError(f"{what} {name}: {error.filename}") from None
    number = os.fstat(fd).st_dev
    device = (os.major(number), os.minor(number))
    if role != "kernel":
        return File(role=role, fd=fd, name=name, kinds=(kind,), size=size, device=device)
    flags = (
        ("pvh", pvh),
        ("multiboot", multiboot),
        (SOLO5_TARGETS[solo5] if solo5 < len(SOLO5_TARGETS) else "", solo5),
    )
    kinds = (kind, *(name for name, holds in flags if name and holds))
    return File(role=role, fd=fd, name=name, kinds=kinds, size=size, extent=extent, device=device)


def _disk(root_fd: int, role: str, name: str, spec: "Spec") -> File:
    from . import blocks

    found = blocks.given(spec, role, name)
    if found is None:
        try:
            fd = _fastpath.open_in_root(root_fd, name)
        except OSError as error:
            raise _missing(role, name, spec.rootfs, error) from None
        try:
            found = blocks.opened(spec, role, name, fd)
        except BaseException:
            os.close(fd)
            raise
    number = os.fstat(found.fd).st_dev
    return File(
        role=role,
        fd=found.fd,
        name=name,
        kinds=(),
        size=found.size,
        device=(os.major(number), os.minor(number)),
        node=found.node,
        read_only=found.read_only,
        filesystem=found.filesystem,
    )


def _missing(what: str, name: str, place: str, error: OSError) -> UnikernelError:
    reason = "it leaves the rootfs" if error.errno in (errno.EXDEV, errno.ELOOP) else os.strerror(error.errno or 0)
    advice = {
        errno.ENOSYS: ": urunc needs Linux 5.14 or later, without a filter around it",  # openat2(2)
        errno.EMFILE: "",
        errno.ENFILE: "",
        errno.ENOMEM: "",
    }.get(error.errno or 0, ": correct the name")
    return UnikernelError(f"{what} {name} in {place}: {reason[:1].lower() + reason[1:]}{advice}")


def open_regular(root_fd: int, name: str, what: str) -> int:
    """Open a regular file below `root_fd`, which symlinks and `..` cannot leave (openat2(2) RESOLVE_IN_ROOT)."""
    import stat

    fd = _fastpath.open_in_root(root_fd, name)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UnikernelError(f"{what} {name} is not a regular file")
    return fd


def _is_there(root_fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=root_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def devices(kernel: File) -> "tuple[tuple[str, str], ...] | None":
    target = next((SOLO5_TARGETS.index(kind) for kind in kernel.kinds if kind[:6] == "solo5-"), 0)
    if not target:
        return None
    try:
        return _fastpath.devices(kernel.fd, target)
    except OSError as error:
        raise UnikernelError(f"binary {kernel.name}: {error.filename}") from None


def directories(spec: "Spec") -> "tuple[str, ...]":
    """Return those sources of bind mounts that are directories; SpecError for one that is not there."""
    found = []
    for mount in spec.mounts:
        if mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options:
            try:
                if os.stat(mount.source).st_mode & 0o170000 == 0o040000:  # S_IFMT, S_IFDIR of inode(7)
                    found.append(mount.source)
            except OSError as error:
                reason = os.strerror(error.errno or 0).lower()
                raise SpecError(f"mounts: {mount.destination}: source {mount.source}: {reason}") from None
    return tuple(found)


def targets(spec: "Spec") -> "tuple[str, ...]":
    """Return those places of bind mounts that are there, of the kind of their source: in the rootfs, or in what is
    mounted on it before them.
    """
    found: list[str] = []
    tops = [("", spec.rootfs)]
    for mount in spec.mounts:
        target = "/" + mount.destination.strip("/")
        below, top = [(place, top) for place, top in tops if target.startswith(f"{place}/")][-1]
        try:
            is_directory = _is_directory(top, target[len(below) :])
            if is_directory == _is_directory(mount.source, ""):
                found.append(target)
                tops += [(target, mount.source)] if is_directory else []
        except OSError:
            continue  # there is none, or nothing to mount on it
    return tuple(found)


def _is_directory(top: str, path: str) -> bool:
    import stat

    if not path:
        return stat.S_ISDIR(os.stat(top).st_mode)
    top_fd = os.open(top, os.O_PATH | os.O_DIRECTORY)
    try:
        fd = _fastpath.open_in_root(top_fd, path)
    finally:
        os.close(top_fd)
    try:
        return stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def backing(spec: "Spec") -> "Backing | None":
    from .snapshot import Backing

    root_fd = os.open(spec.rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        found = _fastpath.backing(root_fd)
    except OSError as error:
        reason = f"{getattr(error, 'step', '')} {error.filename}: {os.strerror(error.errno or 0).lower()}"
        raise HostError(f"rootfs {spec.rootfs}: {reason}") from None
    finally:
        os.close(root_fd)
    if not found:
        return None
    major, minor, mount_point, source, filesystem, options, super_options, kind, name, size, read_only, thin = found
    return Backing(
        major=major,
        minor=minor,
        mount_point=mount_point,
        source=source,
        type=filesystem,
        options=options,
        super_options=super_options,
        kind=kind,
        name=name,
        size=size,
        read_only=read_only,
        thin=thin,
    )


def close(files: "tuple[File, ...] | list[File]") -> None:
    for file in files:
        os.close(file.fd)
