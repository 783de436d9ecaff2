r"""OSv: runs one Linux program in the kernel's own address space (loader.cc, core/commands.cc of its sources).

Options of its loader come first, with a backslash before blanks and backslashes; then the program and its arguments,
in double quotes with C's escapes.  This is from the sources and scripts/{run,firecracker}.py; no image was booted:
that its machine, its disk's partition and its exit status are right is not verified.
"""

from . import MANY, Boot, Guest, check_separator, check_variables, netmask, refuse, resolvers

_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:=,@%+-"
_MMIO = "virtio_mmio.device="  # anywhere in the line: a device, which is cut out


def option(key: str, value: str) -> str:
    """Return an option of the loader (stresep() with a backslash)."""
    return f"--{key}=" + "".join("\\" + c if c in " \t\n\\" else c for c in value)


def quoted(word: str) -> str:
    """Return `word` so that osv::parse_command_line() takes it for one argument of the one program."""
    if not word.isascii():
        raise refuse("OSv", "process.args", word, "its command line is ASCII")
    if "$" in word:
        raise refuse("OSv", "process.args", word, "it would put a variable in place of what stands behind $")
    if word not in {"", "--"} and all(c in _PLAIN for c in word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def words(boot: Boot) -> "tuple[str, ...]":
    """Return the loader's options, then the program and its arguments."""
    check_variables(boot, "OSv")
    check_separator(boot, "OSv", boot.env, boot.args)
    for what, values in (("process.args", boot.args), ("process.env", boot.env)):
        for value in values:
            if _MMIO in value:
                raise refuse("OSv", what, value, f"{_MMIO} has a meaning of its own")
    line = [*(["--nopci"] if boot.monitor == "firecracker" else []), *_network(boot)]
    line += [option("env", entry) for entry in boot.env]
    if not boot.args:
        return tuple(line)
    name, *arguments = boot.args
    # a name that began with a dash would be one more option
    first = f'"{name}"' if name[:1] == "-" and quoted(name) == name else quoted(name)
    return (*line, first, *[quoted(argument) for argument in arguments])


def _network(boot: Boot) -> "list[str]":
    line: list[str] = []
    for number, interface in enumerate(boot.interfaces):
        if interface.ipv4:
            address, prefix = interface.ipv4[0]
            line.append(option("ip", f"eth{number},{address},{netmask(prefix)}"))
    for interface in boot.interfaces[:1]:
        line += [option("defaultgw", interface.gateway4)] if interface.ipv4 and interface.gateway4 else []
        line += [option("nameserver", address) for address in resolvers(interface)[:1] if interface.ipv4]
    return line


GUEST = Guest(
    name="osv",
    monitors=("qemu", "firecracker"),
    words=words,
    stop="powerdown",
    kernels=("multiboot", "pvh", "elf64"),
    net=MANY,
    disks=MANY,
    roots=("block",),
    machines=("pc", "q35"),
    status=(("qemu", "poweroff"), ("firecracker", "poweroff")),
)
