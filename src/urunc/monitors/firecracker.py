"""Firecracker, from 1.7 (docs/getting-started.md, docs/rootfs-and-kernel-setup.md of its sources).

It is configured by a file in its own root; its serial port is its standard input and output.  It has an API socket only
where somebody is to press Ctrl-Alt-Del on it, which is all the power button that it has.
"""

from . import TUN, Machine, Monitor, http, printable

_CONFIG = "firecracker.json"


def argv(machine: Machine) -> "tuple[str, ...]":
    """Return the command line.

    Its errors are lines on its standard output, among the guest's, as it logs there or to a path: its root has none
    that leads to the container's standard error.  What keeps it from starting is on standard error.
    """
    api = ("--api-sock", machine.button) if machine.button else ("--no-api",)
    return (machine.binary, *api, "--level", "Error", "--config-file", f"/{_CONFIG}")


def files(machine: Machine) -> "tuple[tuple[str, bytes], ...]":
    """Return the configuration."""
    source = {"kernel_image_path": machine.kernel, "boot_args": printable(machine, "firecracker")}
    config = {
        "boot-source": source | ({"initrd_path": machine.initrd} if machine.initrd else {}),
        "machine-config": {
            "vcpu_count": machine.vcpus,
            "mem_size_mib": machine.memory_mib,
            "smt": False,
            "track_dirty_pages": False,
        },
        "drives": [
            {
                "drive_id": "rootfs" if disk.root else f"disk{number}",
                "is_read_only": disk.read_only,
                "is_root_device": disk.root,
                "path_on_host": disk.path,
            }
            for number, disk in enumerate(machine.disks)
        ],
        "network-interfaces": [
            {"iface_id": f"net{number}", "guest_mac": nic.mac, "host_dev_name": nic.tap}
            for number, nic in enumerate(machine.nics, 1)
        ],
    }
    return ((_CONFIG, _json(config).encode("utf-8", "surrogateescape")),)


def _json(value: object) -> str:
    """Return the JSON text of what a configuration is made of."""
    if isinstance(value, str):
        return '"' + "".join(_character(c) for c in value) + '"'
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json(key)}:{_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_json(item) for item in value) + "]"
    return str(value).lower()  # a whole number, or True and False


def _character(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    return c if c >= " " else f"\\u{ord(c):04x}"


MONITOR = Monitor(
    name="firecracker",
    binaries=("firecracker",),
    argv=argv,
    files=files,
    nodes=(("dev/null", 1, 3), ("dev/urandom", 1, 9)),
    kernels=("elf64",),
    takes_tap="name",
    powerdown=http("/actions", '{"action_type":"SendCtrlAltDel"}'),
    tap_nodes=TUN,
    seccomp=True,
)
