"""Unikraft: a library operating system (lib/ukargparse, lib/uklibparam, lib/uknetdev of its sources).

Its own parameters stand before --, what the application gets behind it.  How many words and variables it takes is
the image's configuration (60 and 8 unless it says otherwise): nothing here can know.
"""

from ..errors import UnikernelError
from . import MANY, Boot, Guest, check_separator, check_variables, netmask, refuse, resolvers, root_of, tail

_CURRENT = (0, 16, 1)  # from here on netdev.ip and vfs.fstab
_BLANKS = " \t\n\r\v"
# device, place, driver, flags, options, options of the table (lib/vfscore/automount.c); from 0.16.2 on what an initrd
# is extracted to has to be asked for, 0.16.1 takes no notice of options
_VOLUMES = {"initrd": "initrd0:/:extract::ramfs=2:", "9pfs": "fs0:/:9pfs:::"}


def quoted(word: str, what: str = "process.args") -> str:
    r"""Return `word` so that uk_argnparse() takes it for one argument.

    Single quotes keep everything but a single quote; in double quotes \" and \\ are escapes.
    """
    if not word:
        raise refuse("Unikraft", what, word, "it knows no empty argument")
    if not any(c in _BLANKS or c in "'\"\\" for c in word):
        return word
    if "'" not in word:
        return f"'{word}'"
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def words(boot: Boot) -> "tuple[str, ...]":
    """Return the program's name, Unikraft's parameters, and after -- the arguments of the program."""
    check_separator(boot, "Unikraft", boot.env, boot.args[:1])
    current = _version(boot.version) >= _CURRENT
    name, *arguments = boot.args or ("unikraft",)
    return (
        quoted(name),
        *_environment(boot),
        *(_addresses(boot) if current else _compatible_address(boot)),
        *(_volume(boot) if current else _compatible_volume(boot)),
        *tail(boot, [quoted(argument) for argument in arguments]),
    )


def _version(text: str) -> "tuple[int, ...]":
    """Return the numbers of a version, with or without a v, 0.17.0~1a2b or 0.16.1-rc1 too; of none the current ones."""
    if not text:
        return _CURRENT
    numbers = text.removeprefix("v").partition("-")[0].partition("~")[0].partition("+")[0].split(".")
    if len(numbers) > 4 or not all(number.isascii() and number.isdigit() and len(number) < 9 for number in numbers):
        raise UnikernelError(f"unikernelVersion {text[:64]!a} is no version of Unikraft: write it as 0.17.0")
    return (*map(int, numbers), 0, 0)[:3]


def _environment(boot: Boot) -> "list[str]":
    check_variables(boot, "Unikraft")
    # ] at the end of a word ends a list, quoted or not: such a word goes alone
    listed = [quoted(entry, "process.env") for entry in boot.env if entry[-1] != "]"]
    alone = [quoted(f"env.vars={entry}", "process.env") for entry in boot.env if entry[-1] == "]"]
    return [*(["env.vars=[", *listed, "]"] if listed else []), *alone]


def _addresses(boot: Boot) -> "list[str]":
    """Return cidr[:gw[:dns0[:dns1]]] for every interface, up to the last that has an address."""
    line: list[str] = []
    for interface in boot.interfaces:
        fields: tuple[str, ...] = ()
        if interface.ipv4:
            address, prefix = interface.ipv4[0]
            fields = (f"{address}/{prefix}", interface.gateway4, *resolvers(interface)[:2])
        line.append("netdev.ip=" + ":".join(fields).rstrip(":"))
    while line and line[-1] == "netdev.ip=":
        line.pop()
    return line


def _compatible_address(boot: Boot) -> "list[str]":
    if not boot.interfaces or not boot.interfaces[0].ipv4:
        return []
    (address, prefix), gateway = boot.interfaces[0].ipv4[0], boot.interfaces[0].gateway4
    line = [f"netdev.ipv4_addr={address}", *([f"netdev.ipv4_gw_addr={gateway}"] if gateway else [])]
    return [*line, f"netdev.ipv4_subnet_mask={netmask(prefix)}"]


def _volume(boot: Boot) -> "list[str]":
    volume = _VOLUMES.get(root_of(boot))
    return ["vfs.fstab=[", f'"{volume}"', "]"] if volume else []


def _compatible_volume(boot: Boot) -> "list[str]":
    rootfs = {"initrd": "initrd", "9pfs": "9pfs"}.get(root_of(boot))
    return [f"vfs.rootfs={rootfs}"] if rootfs else []


GUEST = Guest(
    name="unikraft",
    monitors=("qemu", "firecracker"),
    words=words,
    kernels=("multiboot", "elf64"),
    net=MANY,
    roots=("initrd", "9pfs"),
    machines=("q35", "pc"),
    status=(("qemu", "poweroff"), ("firecracker", "poweroff")),
)
