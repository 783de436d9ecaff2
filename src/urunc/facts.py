"""Every question to the machine: early ones in `host`, those about the network when it exists in `network`.

The one rule: facts are asked here and decided nowhere here; what was opened goes on as a descriptor.
"""

import errno
import os

from . import _fastpath, kvm
from ._record import Record
from .config import CACHE
from .errors import HostError, SpecError, UnikernelError
from .jsontext import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .annotations import Unikernel
    from .bundle import Spec
    from .closure import Dependencies
    from .config import Config, KernelConfig, MonitorConfig
    from .monitors import Monitor
    from .snapshot import Backing
    from .unikernels import Interface

PROGRAM_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/urunc/bin")
VIRTIOFSD = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")  # newer one first; Debian 12 has the other
URUNC_JSON_MAX = 1 << 20  # bytes
AF_INET, AF_INET6 = 2, 10  # of Linux; the socket module takes 5 ms to import
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


class Host(Record):
    """What `host` found."""

    files: "tuple[File, ...]"
    binary: str  # of the monitor; one that is built in is among the files
    program: str  # the same without symbolic links: where it is in its tree
    tree: str  # its prepared tree; "" if it needs none
    entries: "tuple[str, ...]"  # names at the top of that tree
    devices: "tuple[tuple[str, str], ...] | None"  # net or block, name: of a Solo5 guest's manifest; None if unknown
    kvm: str  # full, limited, none; "unasked"
    cpus: int
    config: "Config"
    cgroups: "tuple[tuple[str, str, str, str], ...]" = ()  # of _fastpath.cgroup_layout
    has_vhost_net: bool = False  # not asked where nobody could use it
    tsc_khz: int = 0  # where a guest may need it: on the machine microvm
    virtiofsd: str = ""  # path in the tree; "" if the host has none
    directories: "tuple[str, ...]" = ()  # those sources of mounts that are directories
    targets: "tuple[str, ...]" = ()  # places of mounts that the rootfs has; asked for where it may be shared as /
    filters: "tuple[tuple[int, bytes], ...]" = ()  # of seccomp: flags, struct sock_filter[]
    idmapped: "tuple[str, ...]" = ()  # roles and sources that are the container's users' with mapped ids
    owner: "tuple[int, int] | None" = None  # uid and gid of the container's user out here; None: those of the spec
    backing: "Backing | None" = None  # of the rootfs; not asked for where it is not wanted


class Network(Record):
    """What `network` found in the container's network namespace; no interface if that is the host's."""

    interfaces: "tuple[Interface, ...]" = ()  # for the guest, the main one first
    indexes: "tuple[int, ...]" = ()  # theirs
    taps: "tuple[str, ...]" = ()  # names that other guests use
    may_come: bool = False  # there is none yet: start looks again
    is_host: bool = False  # the namespace is the one that we are in
    private: "tuple[int, ...]" = ()  # a shared namespace: gateway, prefix, guest and its ports (subnet.placed)


def urunc_json(rootfs: str) -> "dict[str, object] | None":
    """Return the content of urunc.json in `rootfs`, None if there is none; UnikernelError if it is broken."""
    try:
        root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise SpecError(f"invalid rootfs: {rootfs}: {os.strerror(error.errno or 0).lower()}") from None
    try:
        fd = _open_regular(root_fd, "urunc.json", "urunc.json")
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


def host(spec: "Spec", unikernel: "Unikernel", monitor: "Monitor", config: "Config") -> Host:
    """Open the guest's files and find out what the host has; the caller closes the files by `close`."""
    opened: list[File] = []
    try:
        _guest_files(spec, unikernel, config, opened)
        binary = _binary(monitor, config)
        if not binary:
            binary = f"urunc-{monitor.name}"
            program = _fastpath.program(binary)
            opened.append(File(role="monitor", fd=program, name=binary, kinds=(), size=0))
        tree = _tree(monitor, binary) if binary[0] == "/" else ""
        return Host(
            files=tuple(opened),
            binary=binary,
            program=os.path.realpath(binary) if tree else "",
            tree=tree,
            entries=tuple(sorted(name for name in os.listdir(tree) if name[0] != ".")) if tree else (),
            devices=_devices(opened[0]),
            kvm=_kvm_if_asked(unikernel, monitor, config),
            cpus=os.cpu_count() or 1,
            config=config,
            cgroups=_fastpath.cgroup_layout(),
            has_vhost_net=monitor.queues and os.access("/dev/vhost-net", os.R_OK | os.W_OK),
            tsc_khz=_tsc_khz_if_asked(unikernel, config),
            virtiofsd=next((path for path in VIRTIOFSD if tree and os.path.exists(tree + path)), ""),
            directories=_directories(spec),
            targets=_targets(spec) if unikernel.mount_rootfs else (),
            backing=_backing(spec) if unikernel.mount_rootfs is not False else None,
        )
    except BaseException:
        _close(opened)
        raise


def close(facts: Host) -> None:
    """Close the descriptors that `host` has opened."""
    _close(facts.files)


def network(spec: "Spec", pid: int, *, again: bool = False) -> Network:
    """Return what the network namespace of the process `pid` has for a guest (_fastpath.discover)."""
    from .unikernels import Interface

    found = _fastpath.discover(pid, again)
    if found is None:
        return Network(is_host=True)
    links, (index4, gateway4, index6, gateway6), taps = found
    dns = _name_servers(spec) if links else ()
    interfaces = tuple(
        Interface(
            name=name,
            mac=mac,
            mtu=mtu,
            ipv4=tuple((text, prefix) for family, text, prefix in addresses if family == AF_INET),
            ipv6=tuple((text, prefix) for family, text, prefix in addresses if family == AF_INET6),
            gateway4=gateway4 if index == index4 else "",
            gateway6=gateway6 if index == index6 else "",
            dns=dns,
        )
        for name, index, mac, mtu, addresses in links
    )
    return Network(interfaces=interfaces, indexes=tuple(link[1] for link in links), taps=taps)


def is_new_network(spec: "Spec") -> bool:
    """Whether the namespace has just been made, and nobody has been called who could have put anything into it."""
    own = any(namespace.type == "network" and not namespace.path for namespace in spec.namespaces)
    return own and not spec.prestart and not spec.create_runtime


def _name_servers(spec: "Spec") -> "tuple[str, ...]":
    """Return the first three name servers of the container's resolv.conf (resolv.conf(5), MAXNS)."""
    mounted = [mount.source for mount in spec.mounts if mount.destination == "/etc/resolv.conf" and mount.source]
    try:
        if mounted:
            fd = os.open(mounted[-1], os.O_RDONLY | os.O_NONBLOCK)
        else:
            root_fd = os.open(spec.rootfs, os.O_PATH | os.O_DIRECTORY)
            try:
                fd = _open_regular(root_fd, "etc/resolv.conf", "resolv.conf")
            finally:
                os.close(root_fd)
    except (OSError, UnikernelError):
        return ()  # none, as in many images
    with open(fd, "rb", buffering=0) as file:
        lines = (line.split() for line in file.read(1 << 16).decode("utf-8", "replace").splitlines())
        return tuple([words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"][:3])


def _guest_files(spec: "Spec", unikernel: "Unikernel", config: "Config", opened: "list[File]") -> None:
    kernel = _host_kernel(unikernel, config)
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


def _directories(spec: "Spec") -> "tuple[str, ...]":
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


def _targets(spec: "Spec") -> "tuple[str, ...]":
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


def _host_kernel(unikernel: "Unikernel", config: "Config") -> "KernelConfig | None":
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
        fd = _open_regular(root_fd, name, what) if root_fd >= 0 else os.open(name, os.O_RDONLY | os.O_NONBLOCK)
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
    return UnikernelError(f"{what} {name} in {place}: {reason[:1].lower() + reason[1:]}: correct the name")


def _open_regular(root_fd: int, name: str, what: str) -> int:
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


def _backing(spec: "Spec") -> "Backing | None":
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


def _monitor_config(monitor: "Monitor", config: "Config") -> "MonitorConfig | None":
    return next((entry for entry in config.monitors if entry.name == monitor.name), None)


def _binary(monitor: "Monitor", config: "Config") -> str:
    configured = _monitor_config(monitor, config)
    if configured and configured.path:
        if not os.access(configured.path, os.X_OK):
            raise HostError(f"monitors.{monitor.name}.path: {configured.path} is not an executable file")
        return configured.path
    if monitor.built_in:
        return ""
    # a client's environment may have no PATH
    directories = (*PROGRAM_DIRECTORIES, *os.environ.get("PATH", "").split(":"))
    for name in monitor.binaries:
        for directory in directories:
            if directory[:1] == "/" and os.access(f"{directory}/{name}", os.X_OK):
                return f"{directory}/{name}"
    raise HostError(
        f"monitor {monitor.name} not found: install {monitor.binaries[0]},"
        f" or set monitors.{monitor.name}.path in the configuration"
    )


def _tree(monitor: "Monitor", binary: str) -> str:
    from . import tree

    return tree.prepare(f"{CACHE}/trees", monitor.name, binary, monitor.modules, monitor.data, _dependencies)


def _dependencies(fd: int) -> "Dependencies":
    from .closure import Dependencies

    interpreter, needed, rpath, runpath, machine, bits = _fastpath.dependencies(fd)
    return Dependencies(
        bits=bits,
        machine=machine,
        interpreter=interpreter or "",
        needed=needed,
        search=tuple((runpath or rpath or "").split(":")) if runpath or rpath else (),
        inherited=bool(rpath and not runpath),
    )


def _devices(kernel: File) -> "tuple[tuple[str, str], ...] | None":
    target = next((SOLO5_TARGETS.index(kind) for kind in kernel.kinds if kind[:6] == "solo5-"), 0)
    if not target:
        return None
    try:
        return _fastpath.devices(kernel.fd, target)
    except OSError as error:
        raise UnikernelError(f"binary {kernel.name}: {error.filename}") from None


def _kvm_if_asked(unikernel: "Unikernel", monitor: "Monitor", config: "Config") -> str:
    wanted = unikernel.accelerator or config.accelerator
    return "unasked" if wanted == "tcg" or monitor.kvm == "none" else kvm.level()


def _tsc_khz_if_asked(unikernel: "Unikernel", config: "Config") -> int:
    kernel = _host_kernel(unikernel, config)
    if "microvm" not in (unikernel.machine, kernel.machine if kernel else ""):
        return 0
    from . import tsc

    return tsc.khz()


def _close(files: "tuple[File, ...] | list[File]") -> None:
    for file in files:
        os.close(file.fd)
