"""Every question to the machine: early ones in `host`, those about the network when it exists in `network`.

The one rule: facts are asked here and decided nowhere here; what was opened goes on as a descriptor.
"""

import os

from . import _fastpath, image, kvm
from ._record import Record
from .config import CACHE
from .errors import HostError, UnikernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .annotations import Unikernel
    from .closure import Dependencies
    from .config import Config, MonitorConfig
    from .monitors import Monitor
    from .snapshot import Backing
    from .spec import Spec
    from .unikernels import Interface

PROGRAM_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/urunc/bin")
VIRTIOFSD = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")  # newer one first; Debian 12 has the other
AF_INET, AF_INET6 = 2, 10  # of Linux; the socket module takes 5 ms to import


class Host(Record):
    """What `host` found."""

    files: "tuple[image.File, ...]"
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


def host(spec: "Spec", unikernel: "Unikernel", monitor: "Monitor", config: "Config") -> Host:
    """Open the guest's files and find out what the host has; the caller closes the files by `close`."""
    opened: list[image.File] = []
    try:
        image.guest_files(spec, unikernel, config, opened)
        binary = _binary(monitor, config)
        if not binary:
            binary = f"urunc-{monitor.name}"
            program = _fastpath.program(binary)
            opened.append(image.File(role="monitor", fd=program, name=binary, kinds=(), size=0))
        tree = _tree(monitor, binary) if binary[0] == "/" else ""
        return Host(
            files=tuple(opened),
            binary=binary,
            program=os.path.realpath(binary) if tree else "",
            tree=tree,
            entries=tuple(sorted(name for name in os.listdir(tree) if name[0] != ".")) if tree else (),
            devices=image.devices(opened[0]),
            kvm=_kvm_if_asked(unikernel, monitor, config),
            cpus=os.cpu_count() or 1,
            config=config,
            cgroups=_fastpath.cgroup_layout(),
            has_vhost_net=monitor.queues and os.access("/dev/vhost-net", os.R_OK | os.W_OK),
            tsc_khz=_tsc_khz_if_asked(unikernel, config),
            virtiofsd=next((path for path in VIRTIOFSD if tree and os.path.exists(tree + path)), ""),
            directories=image.directories(spec),
            targets=image.targets(spec) if unikernel.mount_rootfs else (),
            backing=image.backing(spec) if unikernel.mount_rootfs is not False else None,
        )
    except BaseException:
        image.close(opened)
        raise


def close(facts: Host) -> None:
    """Close the descriptors that `host` has opened."""
    image.close(facts.files)


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
                fd = image.open_regular(root_fd, "etc/resolv.conf", "resolv.conf")
            finally:
                os.close(root_fd)
    except (OSError, UnikernelError):
        return ()  # none, as in many images
    with open(fd, "rb", buffering=0) as file:
        lines = (line.split() for line in file.read(1 << 16).decode("utf-8", "replace").splitlines())
        return tuple([words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"][:3])


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


def _kvm_if_asked(unikernel: "Unikernel", monitor: "Monitor", config: "Config") -> str:
    wanted = unikernel.accelerator or config.accelerator
    return "unasked" if wanted == "tcg" or monitor.kvm == "none" else kvm.level()


def _tsc_khz_if_asked(unikernel: "Unikernel", config: "Config") -> int:
    kernel = image.host_kernel(unikernel, config)
    if "microvm" not in (unikernel.machine, kernel.machine if kernel else ""):
        return 0
    from . import tsc

    return tsc.khz()
