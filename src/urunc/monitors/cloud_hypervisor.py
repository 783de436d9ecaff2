"""Cloud Hypervisor, from 51 (cloud-hypervisor --help, docs/device_model.md of its sources).

It starts a guest that reboots again, for ever; its events tell when, which is the end for the companion.
"""

from . import Disk, Machine, Monitor, Nic, http, plain, printable

_SPECIAL = ' \t\n\v\f\r,"[]'  # of its option parser, which quotes in some versions and trims in all


def argv(machine: Machine) -> "tuple[str, ...]":
    """Return the command line; several devices of a kind follow one option."""
    line = [machine.binary, "--memory", f"size={machine.memory_mib}M", "--cpus", f"boot={machine.vcpus}"]
    line += ["--kernel", machine.kernel, "--console", "off", "--serial", "tty", "--seccomp", "true"]
    line += ["--event-monitor", f"fd={machine.events_fd}"] if machine.events_fd >= 0 else []
    line += ["--api-socket", f"path={machine.button}"] if machine.button else []
    line += ["--net", *[_nic(nic) for nic in machine.nics]] if machine.nics else []
    line += ["--disk", *[_disk(disk, number) for number, disk in enumerate(machine.disks)]] if machine.disks else []
    line += ["--initramfs", machine.initrd] if machine.initrd else []
    return (*line, *(("--cmdline", printable(machine, "cloud-hypervisor")) if machine.words else ()))


def _nic(nic: Nic) -> str:
    tap = f"fd={nic.fd}" if nic.fd >= 0 else f"tap={plain(nic.tap, _SPECIAL, 'cloud-hypervisor')}"
    offloads = "" if nic.offloads else ",offload_tso=off,offload_ufo=off,offload_csum=off"
    # it asks the tap for its MTU; mtu= would have it set, which takes CAP_NET_ADMIN
    return f"{tap},mac={nic.mac}{offloads}"


def _disk(disk: Disk, number: int) -> str:
    name = plain(disk.id, _SPECIAL, "cloud-hypervisor") or f"disk{number}"
    read_only = ",readonly=on" if disk.read_only else ""
    # a format that is guessed is the guest's choice (CVE-2026-27211)
    return f"path={plain(disk.path, _SPECIAL, 'cloud-hypervisor')},id={name},image_type=raw{read_only}"


MONITOR = Monitor(
    name="cloud-hypervisor",
    binaries=("cloud-hypervisor",),
    argv=argv,
    nodes=(("dev/null", 1, 3), ("dev/urandom", 1, 9)),
    kernels=("bzimage", "pvh"),
    takes_tap="fd",
    powerdown=http("/api/v1/vm.power-button"),
    events=True,
    seccomp=True,
)
