"""The table of monitors, and the records that they are made of.

The one rule: a monitor is one module here and one line in MODULES; it knows no framework but by name.
"""

from .._record import Record
from ..errors import HostError, SpecError, UnikernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..snapshot import Backing

# name of the monitor (annotation hypervisor) -> module with MONITOR
MODULES = {
    "cloud-hypervisor": "cloud_hypervisor",
    "firecracker": "firecracker",
    "hvt": "hvt",
    "qemu": "qemu",
    "spt": "spt",
}
# what a companion makes of an exit status (companion.h, enum fp_exit_code); with what is not here there is none
EXIT_CODES = {"isa-debug-exit": 1, "solo5-virtio": 2, "halt": 3, "sector": 4, "reboot": 5}


class Nic(Record):
    """One network interface of the guest; its tap has a name, or a descriptor in the monitor (Monitor.takes_tap)."""

    mac: str
    device: str = ""  # name in the manifest (Solo5)
    order: int = 0  # among its kind in the manifest: where devices have no names, they are told apart by it
    mtu: int = 0  # bytes, 0 = the monitor's default
    tap: str = ""
    fd: int = -1
    queues: int = 1  # of each kind; the first has `fd`, the others the next ones
    vhost_fd: int = -1  # of /dev/vhost-net for the first queue, the others as above; -1: the monitor serves them itself
    offloads: bool = True  # False: the guest must see no checksum and segmentation offloads
    linked: bool = True  # False: it has no tap, `fd` is of a socket that leads nowhere


class Disk(Record):
    """One block device of the guest; `path` is a file or a device in the monitor's root."""

    path: str
    device: str = ""  # name in the manifest (Solo5)
    order: int = 0  # as a network interface's
    read_only: bool = False
    id: str = ""  # serial number that the guest sees
    root: bool = False  # of Linux: Firecracker tells the kernel so


class Archive(Record):
    """What the guest's initrd is made of, behind the archives of host and image; names are those in it."""

    uinit: bool = False
    files: "tuple[tuple[str, int, bytes], ...]" = ()  # name, mode, content
    trees: "tuple[tuple[str, str], ...]" = ()  # name ("": the top), file or directory of the host
    cut: bool = False  # the guest's reader stops at the first trailer: there must be only one
    raw: bytes = b""  # instead of all: what the initrd is, no archive


class Share(Record):
    """A directory of the monitor's root that the guest mounts by its tag."""

    kind: str  # 9pfs, virtiofs
    path: str
    tag: str
    fd: int = -1  # of the monitor's connection to the process that serves it (virtiofs)
    # name in it, what of the host is there, whether it is read-only, whether it is a directory
    entries: "tuple[tuple[str, str, bool, bool], ...]" = ()

    @property
    def read_only(self) -> bool:
        return all(read_only for _, _, read_only, _ in self.entries)


class Helper(Record):
    """A process that serves the monitor, in the same root, and ends with it; the container ends when it dies."""

    path: str
    argv: "tuple[str, ...]"
    env: "tuple[str, ...]" = ()
    uid: int = 0
    gid: int = 0
    capabilities: "tuple[int, ...]" = ()  # CAP_*, include/uapi/linux/capability.h
    slot: int = -1  # of the plan: what it finds as descriptor 3
    quiet: bool = False  # its messages are for nobody: else they are among the guest's errors


class Machine(Record):
    """The virtual machine to be: what a monitor's command line is made of.  Paths are in the monitor's own root."""

    binary: str
    accelerator: str  # kvm or tcg
    memory_mib: int
    vcpus: int
    kernel: str
    words: "tuple[str, ...]"  # the guest's command line
    initrd: str = ""
    nics: "tuple[Nic, ...]" = ()
    disks: "tuple[Disk, ...]" = ()
    private: "tuple[int, ...]" = ()  # a shared network namespace: gateway, prefix, guest and its ports (subnet)
    archive: "Archive | None" = None  # None: the initrd is the image's own
    share: "Share | None" = None
    snapshot: "Backing | None" = None  # the first disk is the rootfs itself
    # what the framework asks of QEMU (unikernels.Guest)
    type: str = "q35"  # or pc, microvm
    cpu: str = ""  # model under emulation, "" = max
    host_cpu: str = "host"  # model under KVM
    acpi: bool = True
    virtio: str = "transitional"  # or modern
    debug_exit: int = 0  # I/O port of an isa-debug-exit device of two bytes, 0 = none
    exit_code: str = "as-is"  # what the monitor's exit status means (unikernels.Guest.status)
    qmp_fd: int = -1  # of a QMP connection on which somebody waits to start the guest
    events_fd: int = -1  # of a connection on which somebody waits for the guest to reboot
    control_fd: int = -1  # of a listening socket on which somebody presses the power button
    button: str = ""  # or the path of a socket for it that the monitor makes, in a directory that it may write to
    helpers: "tuple[Helper, ...]" = ()


def http(path: str, body: str = "") -> str:
    """Return a PUT request as it goes over a monitor's socket; `body` is JSON."""
    kind = "Content-Type: application/json\r\n" if body else ""
    return f"PUT {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}"


def no_files(_: Machine) -> "tuple[tuple[str, bytes], ...]":
    """Return what most monitors need beside their command line."""
    return ()


class Monitor(Record):
    """One monitor.  `binaries` are file names looked for in the host's directories for programs."""

    name: str
    binaries: "tuple[str, ...]"
    argv: "Callable[[Machine], tuple[str, ...]]"
    built_in: bool = False  # urunc carries one, used unless the host's configuration names another
    kvm: str = "needed"  # or "optional", "none"
    modules: "tuple[str, ...]" = ()  # globs of what it loads by itself, with what that needs
    data: "tuple[str, ...]" = ()  # globs of what it reads
    nodes: "tuple[tuple[str, int, int], ...]" = ()  # character devices: path, major, minor
    kernels: "tuple[str, ...]" = ()  # kinds of image that it loads (image.File.kinds)
    copies: "tuple[str, ...]" = ()  # of these the ones that it keeps, initrd included, beside the guest's memory
    files: "Callable[[Machine], tuple[tuple[str, bytes], ...]]" = no_files  # path, content; as `nodes` in its root
    takes_tap: str = "fd"  # or "name": then it opens `tap_nodes`, and needs a tap that nobody else holds open
    queues: bool = False  # whether it takes a descriptor for each queue of an interface, and /dev/vhost-net's beside it
    virtio: bool = True  # its interfaces are virtio-net, and want the header of that before each frame
    tap_nodes: "tuple[tuple[str, int, int], ...]" = ()
    capabilities: "tuple[str, ...]" = ()  # CAP_* that it cannot do without
    shares: "tuple[str, ...]" = ()  # ways of sharing a directory with the guest, the best first
    qmp: bool = False  # whether it speaks QEMU's machine protocol
    events: bool = False  # whether it starts a guest that reboots again, and says so on Machine.events_fd
    # power button of the guest: over QMP (Machine.control_fd), or by this HTTP request (Machine.button); "": none
    powerdown: str = ""
    seccomp: bool = False  # whether it brings a filter of its own


TUN = (("dev/net/tun", 10, 200),)


def load(name: str) -> Monitor:
    """Return the monitor called `name`; UnikernelError names those there are."""
    if name not in MODULES:
        raise UnikernelError(f'hypervisor "{name}" is not supported: use one of {", ".join(sorted(MODULES))}')
    monitor: Monitor = __import__(MODULES[name], globals(), None, ("MONITOR",), 1).MONITOR
    return monitor


def check_names(names: "list[str]", path: str) -> None:
    """Raise HostError for a name in [monitors] of the configuration file `path` that is no monitor's."""
    for name in names:
        if name not in MODULES:
            raise HostError(f"{path}: monitors.{name} is no monitor: use one of {', '.join(sorted(MODULES))}")


def order(devices: "tuple[tuple[str, str], ...] | None", kind: str, device: str) -> int:
    """Return where a manifest has a device among those of its kind; 0 without a manifest."""
    return [name for declared, name in devices if declared == kind].index(device) if devices else 0


def printable(machine: Machine, monitor: str) -> str:
    """Return the guest's command line; SpecError if it holds what rust-vmm's linux-loader refuses to start with."""
    line = " ".join(machine.words)
    found = next((c for c in line if not " " <= c <= "~"), "")
    if found:
        raise SpecError(f"process.args and process.env: {monitor} takes printable ASCII only, remove {found!a}")
    return line


def plain(path: str, special: str, monitor: str) -> str:
    """Return `path`; SpecError if it holds a character that `monitor` would take for more than a character."""
    found = next((c for c in path if c in special), "")
    if found:
        raise SpecError(f"{monitor} cannot be given the path {path!a}: rename it without {found!a}")
    return path
