"""Every question to the machine: early ones in `host`, those about the network when it exists in `network`.

The one rule: facts are asked here and decided nowhere here; what was opened goes on as a descriptor.
"""

import errno
import os

from . import _fastpath
from ._record import Record
from .errors import HostError, SpecError, UnikernelError
from .jsontext import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .annotations import Unikernel
    from .bundle import Spec
    from .closure import Dependencies
    from .config import Config, KernelConfig, MonitorConfig
    from .monitors import Monitor

# '@' is in no container id: the directory may lie beside the containers of the default --root
CACHE = "/run/urunc/@cache"
PROGRAM_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/urunc/bin")
URUNC_JSON_MAX = 1 << 20  # bytes


class File(Record):
    """A file of the guest, open for reading; the descriptor is whoever's asked for it."""

    role: str  # kernel, initrd
    fd: int
    name: str  # as it was named, for messages
    kinds: "tuple[str, ...]"  # of _fastpath.identify: bzimage, elf64, pvh ...
    size: int  # bytes


class Host(Record):
    """What `host` found."""

    files: "tuple[File, ...]"
    binary: str  # of the monitor
    tree: str  # its prepared tree
    entries: "tuple[str, ...]"  # names at the top of that tree
    kvm: str  # full, limited, none; "unasked"
    cpus: int
    config: "Config"


class Network(Record):
    """What `network` found: the interfaces of the container's network namespace but for lo."""

    interfaces: "tuple[str, ...]" = ()


def urunc_json(rootfs: str) -> "dict[str, object] | None":
    """Return the content of urunc.json in `rootfs`, None if there is none; UnikernelError if it is broken."""
    try:
        root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise SpecError(f"invalid rootfs: {rootfs}: {os.strerror(error.errno or 0).lower()}") from None
    try:
        fd = _open_regular(root_fd, "urunc.json", "urunc.json")
    except FileNotFoundError:
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
        tree = _tree(monitor, binary)
        return Host(
            files=tuple(opened),
            binary=binary,
            tree=tree,
            entries=tuple(sorted(name for name in os.listdir(tree) if name[0] != ".")),
            kvm=_kvm_if_asked(unikernel, monitor, config),
            cpus=os.cpu_count() or 1,
            config=config,
        )
    except BaseException:
        _close(opened)
        raise


def close(facts: Host) -> None:
    """Close the descriptors that `host` has opened."""
    _close(facts.files)


def network(pid: int) -> Network:
    """Return what the network namespace of the process `pid` has (proc_pid_net(5))."""
    with open(f"/proc/{pid}/net/dev", "rb", buffering=0) as table:
        lines = table.read(1 << 20).decode().splitlines()[2:]
    names = (line.partition(":")[0].strip() for line in lines)
    return Network(interfaces=tuple(name for name in names if name != "lo" and not _is_template(name)))


def kvm(cache: str = CACHE) -> str:
    """Return what KVM is good for: full, limited or none; asked once per boot (DESIGN section 4)."""
    with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
        boot = file.read(64).decode().strip()
    path = f"{cache}/kvm"
    try:
        with open(path, "rb", buffering=0) as file:
            known = decode(file.read(4096), path)
        if isinstance(known, dict) and known.get("boot") == boot and known.get("kvm") in ("full", "limited", "none"):
            return str(known["kvm"])
    except (OSError, SpecError):
        pass  # not asked since the machine came up
    answer = ("none", "limited", "full")[_probe()]
    replace(cache, "kvm", encode({"boot": boot, "kvm": answer}).encode())
    return answer


def replace(directory: str, name: str, content: bytes) -> None:
    """Write a file of the cache, atomically; that it cannot be written is no error."""
    temporary = f"{directory}/.{name}.{os.getpid()}"
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
        os.rename(temporary, f"{directory}/{name}")
    except OSError:
        pass  # a read-only /run costs the probing time again, nothing else


def _is_template(name: str) -> bool:
    # made by the kernel in every new namespace while their modules are loaded (net.core.fb_tunnels_only_for_init_net)
    return name in ("tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0")


def _guest_files(spec: "Spec", unikernel: "Unikernel", config: "Config", opened: "list[File]") -> None:
    kernel = _host_kernel(unikernel, config)
    wanted = [("kernel", kernel.path if kernel else unikernel.binary, kernel is None)]
    if kernel and kernel.initrd:
        wanted.append(("initrd", kernel.initrd, False))
    elif unikernel.initrd:
        wanted.append(("initrd", unikernel.initrd, True))
    root_fd = os.open(spec.rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        for role, name, in_rootfs in wanted:
            opened.append(_file(root_fd if in_rootfs else -1, role, name, spec.rootfs))
    finally:
        os.close(root_fd)


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
    place = rootfs if root_fd >= 0 else "the host"
    try:
        fd = _open_regular(root_fd, name, what) if root_fd >= 0 else os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        reason = "it leaves the rootfs" if error.errno in (errno.EXDEV, errno.ELOOP) else os.strerror(error.errno or 0)
        raise UnikernelError(f"{what} {name} in {place}: {reason[:1].lower() + reason[1:]}: correct the name") from None
    try:
        kind, size, _machine, _bits, pvh, multiboot, *_ = _fastpath.identify(fd)
    except OSError as error:
        os.close(fd)
        raise UnikernelError(f"{what} {name}: {error.filename}") from None
    kinds = (kind, *(("pvh",) if pvh else ()), *(("multiboot",) if multiboot else ()))
    return File(role=role, fd=fd, name=name, kinds=kinds, size=size)


def _open_regular(root_fd: int, name: str, what: str) -> int:
    """Open a regular file below `root_fd`, which symlinks and `..` cannot leave (openat2(2) RESOLVE_IN_ROOT)."""
    import stat

    fd = _fastpath.open_in_root(root_fd, name)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UnikernelError(f"{what} {name} is not a regular file")
    return fd


def _monitor_config(monitor: "Monitor", config: "Config") -> "MonitorConfig | None":
    return next((entry for entry in config.monitors if entry.name == monitor.name), None)


def _binary(monitor: "Monitor", config: "Config") -> str:
    configured = _monitor_config(monitor, config)
    if configured and configured.path:
        if not os.access(configured.path, os.X_OK):
            raise HostError(f"monitors.{monitor.name}.path: {configured.path} is not an executable file")
        return configured.path
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
    return "unasked" if wanted == "tcg" or monitor.kvm == "none" else kvm()


def _probe() -> int:
    image = _fastpath.init_image()
    try:
        # a process of its own, which ends by its own alarm: a vCPU that hangs must not take a server along
        pid = os.posix_spawn(f"/proc/self/fd/{image}", ["urunc-init", "--probe-kvm"], {})
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(image)
    code = os.waitstatus_to_exitcode(status)
    return code if 0 <= code <= 2 else 0  # the three answers of the probe


def _close(files: "tuple[File, ...] | list[File]") -> None:
    for file in files:
        os.close(file.fd)
