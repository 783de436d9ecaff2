"""The table of guest frameworks, and the records that they are made of.

The one rule: a framework is one module here and one line in MODULES; it knows no monitor but by name.
"""

from .._record import Record
from ..errors import SpecError, UnikernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# name of the framework (annotation unikernelType) -> module with GUEST
MODULES = {
    "linux": "linux",
    "mewz": "mewz",
    "mirage": "mirage",
    "osv": "osv",
    "rumprun": "rumprun",
    "unikraft": "unikraft",
}
MANY = 64  # devices: as many as a Solo5 manifest declares, more than a machine has slots for


class Interface(Record):
    """One interface of the container, as the guest is to have it.  Addresses are numeric; "" is none."""

    name: str
    mac: str
    mtu: int = 0  # bytes, 0 = not known
    ipv4: "tuple[tuple[str, int], ...]" = ()  # address, prefix length
    ipv6: "tuple[tuple[str, int], ...]" = ()
    gateway4: str = ""
    gateway6: str = ""
    dns: "tuple[str, ...]" = ()


class Boot(Record):
    """What a guest may be told when it boots."""

    monitor: str
    args: "tuple[str, ...]"
    env: "Sequence[str]" = ()
    initrd: bool = False
    block: bool = False
    interfaces: "tuple[Interface, ...]" = ()  # in the order of the guest's devices
    disks: int = 0  # block devices that are attached
    places: "tuple[str, ...]" = ()  # where each disk of the image is mounted (Linux), "" for nowhere
    root: str = ""  # what the root file system is on: initrd, block, 9pfs, virtiofs; "" = see initrd and block
    init: str = ""  # of Linux: uinit or urunit, which have a file to read; "" = one that knows the command line only
    version: str = ""  # of the framework (annotation unikernelVersion)
    mount_point: str = ""  # of the block device (annotation blkMntPoint)
    hostname: str = ""
    tsc_khz: int = 0  # of the host, where the guest cannot measure it itself; 0 = it can
    memory_mib: int = 0
    vcpus: int = 1


class Guest(Record):
    """One framework.

    `words` gives the guest's command line, quoted as the framework's own parser takes it apart: whoever hands it over
    may join the words by single blanks and must change nothing else.  SpecError names what cannot be said.
    """

    name: str
    monitors: "tuple[str, ...]"
    words: "Callable[[Boot], tuple[str, ...]]"
    stop: str = "signal"  # or "powerdown": whether every guest listens to a power button; some do by annotation
    kernels: "tuple[str, ...]" = ()  # kinds of image that the framework builds (image.File.kinds)
    # devices
    net: int = 0  # interfaces that it can use
    needs_net: bool = False  # whether it does not live without an interface: it has one that leads nowhere
    queues: bool = False  # whether it drives several queues of one interface
    ipv6: bool = False  # whether `words` says IPv6 addresses
    disks: int = 0  # block devices that it can use
    roots: "tuple[str, ...]" = ()  # of Boot.root
    uinit: bool = False  # whether urunc's own init can run the program
    filesystems: "tuple[str, ...]" = ()  # that it mounts from a block device, as the kernel names them
    images: "tuple[str, ...]" = ()  # that it may mount from a block image, too (superblock.name); () = any
    memory_min_mib: int = 0  # it is worth a warning below, and what a container without a limit has
    # Solo5: names of its devices in manifests of published images, for images whose manifest cannot be read
    solo5_net: str = ""
    solo5_block: str = ""
    # on QEMU
    machines: "tuple[str, ...]" = ("q35",)  # where it boots; the first unless more is known of the image
    cpu: str = ""  # model under emulation, "" = max
    acpi: bool = True
    virtio: str = "transitional"  # or "modern": no legacy interface beside it
    offloads: bool = True  # whether it survives checksum and segmentation offloads
    debug_exit: int = 0  # I/O port of an isa-debug-exit device of two bytes, 0 = none
    # what the monitor's exit status means, by monitor; not listed: "as-is".  All but poweroff need a companion.
    #   isa-debug-exit  2n + 1 is the guest's n
    #   solo5-virtio    83 is the end of the guest, good or bad
    #   poweroff        0 is the end of the guest, good or bad
    #   reboot          the same, and a reboot is an end, too, which the monitor's events tell
    #   halt            the guest halts its processor and the monitor goes on: QMP tells
    status: "tuple[tuple[str, str], ...]" = ()


def load(name: str) -> Guest:
    """Return the framework called `name`; UnikernelError names those there are."""
    if name not in MODULES:
        raise UnikernelError(f'unikernelType "{name}" is not supported: use one of {", ".join(sorted(MODULES))}')
    guest: Guest = __import__(MODULES[name], globals(), None, ("GUEST",), 1).GUEST
    return guest


def root_of(boot: Boot) -> str:
    """Return what the root file system is on, "" for none."""
    return boot.root or ("initrd" if boot.initrd else "block" if boot.block else "")


def netmask(prefix: int) -> str:
    """Return an IPv4 prefix length as a dotted mask."""
    mask = (1 << 32) - (1 << (32 - prefix))
    return ".".join(str(mask >> shift & 255) for shift in (24, 16, 8, 0))


def resolvers(interface: Interface) -> "tuple[str, ...]":
    """Return the name servers that have an IPv4 address."""
    return tuple(address for address in interface.dns if ":" not in address)


def refuse(guest: str, what: str, value: str, reason: str) -> SpecError:
    """Return the error for a `what` (process.args, process.env) that `guest` cannot be given."""
    shown = value if len(value) <= 64 else value[:64] + "..."
    return SpecError(f"{what}: a {guest} guest cannot be given {shown!a}: {reason}")


def check_variables(boot: Boot, guest: str) -> None:
    """Raise SpecError for an entry of the environment that is no NAME=VALUE."""
    for entry in boot.env:
        if "=" not in entry[1:]:
            raise refuse(guest, "process.env", entry, "it must be NAME=VALUE")


def check_separator(boot: Boot, guest: str, env: "Sequence[str]", args: "tuple[str, ...]") -> None:
    """Raise SpecError for a value that Firecracker would put its devices into: before the line's first " -- "."""
    if boot.monitor != "firecracker":
        return
    for what, values in (("process.env", env), ("process.args", args)):
        for value in values:
            if " -- " in f"{value} ":  # a blank follows every word
                raise refuse(guest, what, value, "Firecracker takes -- between blanks for the end of the parameters")


def tail(boot: Boot, arguments: "list[str]") -> "list[str]":
    """Return -- and `arguments`; without a blank on either side Firecracker would put its devices behind it."""
    return ["--", *(arguments or ([""] if boot.monitor == "firecracker" else []))]


def check_length(words: "tuple[str, ...]", most: int, guest: str) -> "tuple[str, ...]":
    """Return `words`; SpecError if they do not fit into a command line of `most` bytes."""
    size = sum(len(word.encode("utf-8", "surrogateescape")) + 1 for word in words) - 1
    if size > most:
        raise SpecError(
            f"process.args and process.env make a command line of {size} bytes:"
            f" a {guest} guest takes {most}, shorten them"
        )
    return words
