"""config.json as `spec` writes it to start from: of a unikernel, or of an ordinary container as runc has it.

The one rule: what is written can be created as it stands, once there is a rootfs.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    Document = dict[str, object]

SPEC_VERSION_MAX = "1.3.0"  # what containerd 2.4 and nerdctl 2.3 write
NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "uts")  # of a unikernel
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_NONE = ("nosuid", "noexec", "nodev")
_MOUNTS = (  # destination, type, source, options
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/dev/shm", "tmpfs", "shm", (*_NONE, "mode=1777", "size=65536k")),  # noqa: S108  of the container
    ("/dev/mqueue", "mqueue", "mqueue", _NONE),
    ("/sys", "sysfs", "sysfs", (*_NONE, "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", (*_NONE, "relatime", "ro")),
)
_MASKED = "acpi asound kcore keys latency_stats timer_list timer_stats sched_debug scsi"
_MASKED_SYS = ("/sys/firmware", "/sys/devices/virtual/powercap")
_READ_ONLY = "bus fs irq sys sysrq-trigger"


def unikernel() -> "Document":
    """Return a config.json that boots rootfs/boot/vmlinuz under QEMU with the rootfs as its root."""
    return {
        "ociVersion": SPEC_VERSION_MAX,
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh"],
            "env": [PATH],
            "cwd": "/",
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "urunc",
        "annotations": {
            "com.urunc.unikernel.unikernelType": "linux",
            "com.urunc.unikernel.hypervisor": "qemu",
            "com.urunc.unikernel.binary": "/boot/vmlinuz",
            "com.urunc.unikernel.mountRootfs": "true",
        },
        "linux": {
            "resources": {"memory": {"limit": 256 * 1024 * 1024}},
            "namespaces": [{"type": kind} for kind in NAMESPACES],
        },
    }


def program(*, unified: bool, owner: "tuple[int, int] | None" = None) -> "Document":
    """Return a config.json of an ordinary container; `unified` = the machine has cgroups of version 2 alone.

    Only there it has a cgroup namespace: what reads the paths of version 1 expects them as the host has them.  With an
    `owner` (uid, gid) it is rootless: its root is that user, and nobody else is anybody in it.
    """
    mounts, linux = ([_mount(*row) for row in _MOUNTS], _own(unified=unified)) if not owner else _rootless(*owner)
    return {
        "ociVersion": SPEC_VERSION_MAX,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "urunc",
        "mounts": mounts,
        "linux": {
            **linux,
            "maskedPaths": [*(f"/proc/{name}" for name in _MASKED.split()), *_MASKED_SYS],
            "readonlyPaths": [f"/proc/{name}" for name in _READ_ONLY.split()],
        },
    }


def _own(*, unified: bool) -> "Document":
    kinds = ("pid", "network", "ipc", "uts", "mount", *(("cgroup",) if unified else ()))
    return {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in kinds],
    }


def _rootless(uid: int, gid: int) -> "tuple[list[Document], Document]":
    """Without a network namespace of its own it cannot mount sysfs: it has the host's.  Its groups are not mapped."""
    mounts = [
        _mount(target, kind, source, tuple([option for option in options if option[:4] != "gid="]))
        if target != "/sys"
        else _mount(target, "none", target, ("rbind", *_NONE, "ro"))
        for target, kind, source, options in _MOUNTS
    ]
    return mounts, {
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "user")],
        "uidMappings": [{"containerID": 0, "hostID": uid, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": gid, "size": 1}],
    }


def _mount(destination: str, kind: str, source: str, options: "tuple[str, ...]") -> "Document":
    made: Document = {"destination": destination, "type": kind, "source": source}
    return {**made, "options": options} if options else made
