"""MirageOS on Solo5: OCaml code with its own stack.

Solo5 joins the words by blanks, mirage/parse-argv takes them apart: a backslash keeps the next character.
There is no environment.  Images whose stack is IPv4 only end at an option that they do not know (status 64), so IPv6
is told only to a guest that has nothing else.
"""

from . import MANY, Boot, Guest, check_length, refuse

COMMAND_LINE_MAX = 8191  # HVT_CMDLINE_SIZE less its NUL; QEMU's build cuts in silence
_SPECIAL = " \t\n\v\f\r'\"\\"


def quoted(word: str) -> str:
    """Return `word` so that parse-argv takes it for one argument."""
    if not word:
        raise refuse("MirageOS", "process.args", word, "it knows no empty argument")
    return "".join("\\" + c if c in _SPECIAL else c for c in word)


def words(boot: Boot) -> "tuple[str, ...]":
    """Return the options of the stack, then the container's arguments."""
    line = (*_addresses(boot), *[quoted(argument) for argument in boot.args])
    return check_length(line, COMMAND_LINE_MAX, "MirageOS")


def _addresses(boot: Boot) -> "list[str]":
    for interface in boot.interfaces[:1]:
        if interface.ipv4:
            return _options("ipv4", interface.ipv4[0], interface.gateway4)
        if interface.ipv6:
            return _options("ipv6", interface.ipv6[0], interface.gateway6)
    return []


def _options(family: str, address: "tuple[str, int]", gateway: str) -> "list[str]":
    return [f"--{family}={address[0]}/{address[1]}", *([f"--{family}-gateway={gateway}"] if gateway else [])]


GUEST = Guest(
    name="mirage",
    monitors=("hvt", "spt", "qemu"),
    words=words,
    kernels=("solo5-hvt", "solo5-spt", "solo5-virtio", "multiboot"),
    net=MANY,
    ipv6=True,
    disks=MANY,
    solo5_net="service",
    solo5_block="storage",
    machines=("pc",),
    cpu="Westmere",
    acpi=False,
    debug_exit=0x501,
    status=(("qemu", "solo5-virtio"),),
)
