"""Linux: a kernel with one application (admin-guide/kernel-parameters of the kernel's documentation).

The kernel configures one interface, the first, and with IPv4 only (ip=, admin-guide/nfs/nfsroot).
"""

from ..errors import SpecError
from . import (
    MANY,
    Boot,
    Guest,
    check_length,
    check_separator,
    check_variables,
    netmask,
    refuse,
    resolvers,
    root_of,
    tail,
)

COMMAND_LINE_MAX = 2048  # COMMAND_LINE_SIZE on x86, the terminating NUL included
INIT_LIMIT = 32  # CONFIG_INIT_ENV_ARG_LIMIT; the kernel panics beyond
_PRESET = ("HOME", "TERM")  # variables of every init
# what isspace() of the kernel (lib/ctype.c) is true for, as bytes: Latin-1's no-break space is one of them
_BLANKS = b" \t\v\f\xa0"
_LABEL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-."
_ROOTS = {
    "": (),
    "initrd": ("root=/dev/ram0", "rw"),
    "block": ("root=/dev/vda", "rw"),
    "9pfs": (
        *("root=fs0", "rw", "rootfstype=9p"),
        "rootflags=trans=virtio,version=9p2000.L,msize=5000000,cache=mmap,posixacl",
    ),
    "virtiofs": ("root=fs0", "rw", "rootfstype=virtiofs"),
}


def quoted(word: str, what: str = "process.args") -> str:
    """Return `word` so that the kernel's next_arg() (lib/cmdline.c) takes it for one argument.

    Only double quotes group; there is no escape, so a word with a blank and a double quote cannot be passed.
    """
    if "\n" in word or "\r" in word:
        raise refuse("Linux", what, word, "the kernel's command line has no line ends")
    if '"' in word:
        raise refuse("Linux", what, word, "the kernel's command line has no double quotes")
    raw = word.encode("utf-8", "surrogateescape")
    return f'"{word}"' if not raw or any(byte in _BLANKS for byte in raw) else word


def words(boot: Boot) -> "tuple[str, ...]":
    """Return the kernel's command line: its parameters, the environment, init, and after -- the arguments of init."""
    check_separator(boot, "Linux", boot.env, boot.args[:1])
    root = root_of(boot)
    line = ["panic=-1", "console=ttyS0", "quiet"]
    if boot.monitor == "firecracker":
        # a reset by the keyboard's controller is all that ends it; there is no ACPI register for one
        line.append("reboot=k")
    if boot.tsc_khz:
        # microvm under emulation has no timer that the kernel could calibrate by when the host is busy
        line.append(f"tsc_early_khz={boot.tsc_khz}")
    if boot.init == "uinit":
        return (" ".join([*line, "rdinit=/.urunc/init"]),)
    environment = _environment(boot) if boot.init != "urunit" else _urunit(boot)
    line += [*_ROOTS[root], *_address(boot), *environment]
    if boot.args:
        line.append(("rdinit=" if root == "initrd" else "init=") + quoted(boot.args[0]))
        line += tail(boot, _arguments(boot))
    text = " ".join(line)
    return check_length((text,), COMMAND_LINE_MAX - 1, "Linux")


def _address(boot: Boot) -> "tuple[str, ...]":
    if not boot.interfaces or not boot.interfaces[0].ipv4:
        return ()
    interface = boot.interfaces[0]
    address, prefix = interface.ipv4[0]
    hostname = boot.hostname if boot.hostname and all(c in _LABEL for c in boot.hostname) else "urunc"
    # client, server, gateway, mask, host name, device, protocol, two name servers
    fields = (address, "", interface.gateway4, netmask(prefix), hostname, "eth0", "off", *resolvers(interface)[:2])
    return ("ip=" + ":".join(fields),)


def _environment(boot: Boot) -> "list[str]":
    check_variables(boot, "Linux")
    for entry in boot.env:
        if "." in entry.partition("=")[0]:  # the kernel drops it in silence
            raise refuse("Linux", "process.env", entry, "a dot makes the name a module's parameter")
    names = {entry.partition("=")[0] for entry in boot.env}
    if len(names.difference(_PRESET)) > INIT_LIMIT - len(_PRESET) + 1:
        raise SpecError(
            f"process.env has {len(names)} variables: the Linux kernel hands {INIT_LIMIT - 1} over, remove some"
        )
    return [quoted(entry, "process.env") for entry in boot.env]


def _urunit(boot: Boot) -> "list[str]":
    """Return where urunit finds its configuration, and the environment for older ones if the kernel takes it."""
    initrd = root_of(boot) == "initrd"
    where = ["URUNIT_CONFIG=/urunit.conf"] if initrd else ["retain_initrd", "URUNIT_CONFIG=/sys/firmware/initrd"]
    try:
        environment = _environment(boot)
    except SpecError:
        return where
    size = len(" ".join(environment).encode("utf-8", "surrogateescape"))
    return [*environment, *where] if size < COMMAND_LINE_MAX // 2 else where


def _arguments(boot: Boot) -> "list[str]":
    if "--" in boot.args[1:]:  # parse_args() in kernel/params.c
        raise refuse("Linux", "process.args", "--", "the kernel drops what stands behind it, leave it out")
    if len(boot.args) - 1 > INIT_LIMIT:
        raise SpecError(
            f"process.args has {len(boot.args) - 1} arguments: the Linux kernel hands {INIT_LIMIT} over, remove some"
        )
    return [quoted(argument) for argument in boot.args[1:]]


GUEST = Guest(
    name="linux",
    monitors=("qemu", "firecracker", "cloud-hypervisor"),
    words=words,
    kernels=("bzimage", "elf64", "pvh"),
    net=MANY,
    queues=True,
    disks=MANY,
    roots=("initrd", "block", "9pfs", "virtiofs"),
    uinit=True,
    filesystems=("ext4", "ext3", "ext2"),
    images=("xfs", "btrfs", "f2fs", "squashfs", "erofs", "iso9660", "vfat"),  # a kernel of the image may have them
    machines=("q35", "microvm", "pc"),
    status=(("qemu", "poweroff"), ("firecracker", "poweroff"), ("cloud-hypervisor", "reboot")),
)
