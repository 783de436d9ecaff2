"""solo5-hvt: the hardware virtualized tender of Solo5, from 0.6 (docs/building.md and tenders/hvt of its sources).

It has a seccomp filter of its own since 0.11.  A tap goes by its name: --net:NAME=@FD fails in tenders that ask for the
MTU (October 2025), which they do not do for a descriptor.
"""

from . import TUN, Machine, Monitor, plain

_BLANKS = " \t\n\v\f\r"  # sscanf("%s") stops there


def argv(machine: Machine) -> "tuple[str, ...]":
    """Return the command line of a tender: its options, and after -- the kernel and the guest's words."""
    line = [machine.binary, f"--mem={machine.memory_mib}"]
    for nic in machine.nics:
        line += [f"--net:{nic.device}={nic.tap or f'@{nic.fd}'}", f"--net-mac:{nic.device}={nic.mac}"]
    line += [f"--block:{disk.device}={plain(disk.path, _BLANKS, 'solo5')}" for disk in machine.disks]
    return (*line, "--", machine.kernel, *machine.words)


MONITOR = Monitor(
    name="hvt",
    binaries=("solo5-hvt",),
    argv=argv,
    nodes=(("dev/null", 1, 3),),
    kernels=("solo5-hvt",),
    takes_tap="name",
    virtio=False,
    tap_nodes=TUN,
    seccomp=True,
)
