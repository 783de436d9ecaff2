"""Options of mounts, as numbers of mount(2) and mount_setattr(2), for containers of the process monitor.  Pure.

The one rule: what is no option of every mount is one of its file system, and is handed to that.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import Mount

# include/uapi/linux/mount.h
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 1, 32, 4096, 16384
_NEW = {  # of a mount that is made: flags to set, to clear
    "ro": (1, 0),
    "rw": (0, 1),
    "nosuid": (2, 0),
    "suid": (0, 2),
    "nodev": (4, 0),
    "dev": (0, 4),
    "noexec": (8, 0),
    "exec": (0, 8),
    "sync": (16, 0),
    "async": (0, 16),
    "remount": (32, 0),
    "mand": (64, 0),
    "nomand": (0, 64),
    "dirsync": (128, 0),
    "nosymfollow": (256, 0),
    "noatime": (1024, 0),
    "atime": (0, 1024),
    "nodiratime": (2048, 0),
    "diratime": (0, 2048),
    "relatime": (1 << 21, 0),
    "norelatime": (0, 1 << 21),
    "iversion": (1 << 23, 0),
    "noiversion": (0, 1 << 23),
    "strictatime": (1 << 24, 0),
    "nostrictatime": (0, 1 << 24),
    "silent": (1 << 15, 0),
    "loud": (0, 1 << 15),
    "defaults": (0, 0),
}
_BINDS = {"bind": MS_BIND, "rbind": MS_BIND | MS_REC}
PROPAGATION = {"unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}
PROPAGATION |= {f"r{name}": flag | MS_REC for name, flag in PROPAGATION.items()}
_ATIME = 0x70
_BOUND = {  # of what is bound, by mount_setattr(2): MOUNT_ATTR_* to set, to clear
    "ro": (1, 0),
    "rw": (0, 1),
    "nosuid": (2, 0),
    "suid": (0, 2),
    "nodev": (4, 0),
    "dev": (0, 4),
    "noexec": (8, 0),
    "exec": (0, 8),
    "noatime": (0x10, _ATIME),
    "atime": (0, _ATIME),
    "strictatime": (0x20, _ATIME),
    "relatime": (0, _ATIME),
    "nodiratime": (0x80, 0),
    "diratime": (0, 0x80),
    "nosymfollow": (0x200000, 0),
    "symfollow": (0, 0x200000),
}
_IGNORED = ("idmap", "ridmap", "x-systemd", "_netdev")
_COPY_UP = 1 << 32  # FP_COPY_UP


def is_bind(mount: "Mount") -> bool:
    """Whether it binds what is there, instead of making a new file system."""
    return mount.type == "bind" or any(option in _BINDS for option in mount.options)


def new_flags(mount: "Mount") -> "tuple[int, str]":
    """Return MS_* of a new file system, and what is left for it to read."""
    flags, data = 0, []
    for option in mount.options:
        setting = _NEW.get(option)
        if setting:
            flags = (flags | setting[0]) & ~setting[1]
        elif option == "tmpcopyup" and mount.type == "tmpfs":
            flags |= _COPY_UP
        elif option not in PROPAGATION and not option.startswith(_IGNORED):
            data.append(option)
    return flags, ",".join(data)


def bind_numbers(mount: "Mount") -> "tuple[int, ...]":
    """Return the numbers of an operation `mount` that binds (plan.h)."""
    flags = MS_BIND
    numbers = [0, 0, 0, 0]  # set and clear, of the mount itself and of all below
    for option in mount.options:
        recursive = 2 if option not in _BOUND and option[1:] in _BOUND and option[:1] == "r" else 0
        setting = _BOUND.get(option[1:] if recursive else option)
        flags |= _BINDS.get(option, 0)
        if setting:
            numbers[recursive] = (numbers[recursive] & ~setting[1]) | setting[0]
            numbers[recursive + 1] = (numbers[recursive + 1] & ~setting[0]) | setting[1]
    return (flags, *numbers, *propagations(mount))


def propagations(mount: "Mount") -> "tuple[int, ...]":
    """Return the changes of propagation, in their order."""
    return tuple(PROPAGATION[option] for option in mount.options if option in PROPAGATION)
