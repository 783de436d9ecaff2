r"""Rumprun: NetBSD's drivers and libc with one program (lib/librumprun_base/config.c of its sources).

Its configuration looks like JSON and is none: keys repeat, and strings are taken as they stand, escapes included.  Only
"cmdline" is taken apart again (rumprun_parseargs), by rules in which \" and \\ mean what they mean in JSON.
"""

from . import Boot, Guest, check_length, check_variables, refuse

COMMAND_LINE_MAX = {"qemu": 4080}  # BMK_MULTIBOOT_CMDLINE_SIZE less the name of the kernel; Solo5 takes 8191
_BLANKS = " \t\n"
_FILE = "_RUMPRUN_ROOTFSCFG="  # anywhere in the line: the configuration is in that file of the disk


def quoted(word: str) -> str:
    r"""Return `word` so that rumprun_parseargs() takes it for one argument; the parser of JSON before it refuses \'."""
    if "'" in word:
        raise refuse("Rumprun", "process.args", word, "its configuration has no single quotes")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f"'{escaped}'" if not word or any(c in _BLANKS for c in word) else escaped


def words(boot: Boot) -> "tuple[str, ...]":
    """Return the configuration as one word."""
    for what, values in (("process.args", boot.args), ("process.env", boot.env)):
        for value in values:
            if _FILE in value:
                raise refuse("Rumprun", what, value, f"{_FILE} has a meaning of its own")
    check_variables(boot, "Rumprun")
    entries = [("cmdline", " ".join(quoted(argument) for argument in boot.args or ("rumprun",)))]
    entries += [("env", _plain(entry, "process.env")) for entry in boot.env]
    text = ",".join([*[f'"{key}":"{value}"' for key, value in entries], *_network(boot), *_disk(boot)])
    return check_length(("{" + text + "}",), COMMAND_LINE_MAX.get(boot.monitor, 8191), "Rumprun")


def _plain(value: str, what: str) -> str:
    if '"' in value or "\\" in value:
        raise refuse("Rumprun", what, value, "its configuration has no double quotes and backslashes")
    return value


def _network(boot: Boot) -> "list[str]":
    if not boot.interfaces or not boot.interfaces[0].ipv4:
        return []
    address, prefix = boot.interfaces[0].ipv4[0]
    gateway = boot.interfaces[0].gateway4
    return [
        _object(
            "net",
            (
                *((("if", "vioif0"),) if boot.monitor == "qemu" else (("if", "ukvmif0"), ("cloner", "True"))),
                *(("type", "inet"), ("method", "static"), ("addr", address), ("mask", str(prefix))),
                *((("gw", gateway),) if gateway else ()),
            ),
        )
    ]


def _disk(boot: Boot) -> "list[str]":
    if not boot.disks and not boot.block:
        return []
    source = "dev" if boot.monitor == "qemu" else "etfs"
    mount_point = _plain(boot.mount_point or "/data", "blkMntPoint")
    entries = (("source", source), ("path", "/dev/ld0a"), ("fstype", "blk"), ("mountpoint", mount_point))
    return [_object("blk", entries)]


def _object(key: str, entries: "tuple[tuple[str, str], ...]") -> str:
    return f'"{key}":{{' + ",".join(f'"{name}":"{value}"' for name, value in entries) + "}"


GUEST = Guest(
    name="rumprun",
    monitors=("hvt", "spt", "qemu"),
    words=words,
    kernels=("solo5-hvt", "solo5-spt", "solo5-virtio", "multiboot"),
    net=1,
    disks=1,
    roots=("block",),
    filesystems=("ext2",),
    images=("ext3", "ufs", "iso9660"),
    solo5_net="tap",
    solo5_block="rootfs",
    machines=("pc",),
    status=(("qemu", "halt"),),
)
