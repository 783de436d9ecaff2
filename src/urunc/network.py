"""The guest's network interfaces, as devices of the machine and as operations of a plan.  Pure.

The one rule: a guest has the container's network or an error; it never boots silently without one.
"""

from .errors import UnikernelError
from .monitors import Nic, order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .annotations import Unikernel
    from .facts import Host, Network
    from .monitors import Machine, Monitor
    from .unikernels import Guest

    Operation = tuple[object, ...]

TAPS = tuple(f"tap{number}_urunc" for number in range(64))
FIRST_FD = 3  # of the taps in a monitor that takes descriptors
VNET_HEADER = 12  # bytes of struct virtio_net_hdr_v1


def wanted(unikernel: "Unikernel", guest: "Guest", host: "Host") -> bool:
    """Whether the guest has a use for the container's network, which is not looked at otherwise."""
    if unikernel.network == "none":
        return False
    return bool(guest.net) if host.devices is None else any(kind == "net" for kind, _ in host.devices)


def refuse_host() -> None:
    """Raise UnikernelError for a guest that wants a network and is in the host's network namespace."""
    raise UnikernelError(
        "the container is in the host's network namespace (hostNetwork, --network host), which no guest can take over:"
        " give it a network of its own, or the annotation com.urunc.unikernel.network=none"
    )


def nics(guest: "Guest", chosen: "Monitor", host: "Host", net: "Network", name: str) -> "tuple[Nic, ...]":
    """Return the guest's interfaces, one for each of the container's that it can use, the main one first.

    `name` is what the annotation solo5NetDev calls the first.  UnikernelError if the guest declares a device for which
    the container has no interface, or cannot use the addresses it has.
    """
    names = _names(guest, host, net, name)
    free = [tap for tap in TAPS if tap not in net.taps]
    made = []
    for number, device in enumerate(names):
        interface = net.interfaces[number]
        if not interface.ipv4 and interface.ipv6 and not guest.ipv6:
            raise UnikernelError(
                f"interface {interface.name} has IPv6 addresses only, which a {guest.name} guest lacks"
            )
        by_fd = chosen.takes_tap == "fd"
        made.append(
            Nic(
                mac=interface.mac,
                device=device,
                order=order(host.devices, "net", device),
                mtu=interface.mtu,
                tap="" if by_fd else free[number],
                fd=FIRST_FD + number if by_fd else -1,
                offloads=guest.offloads,
            )
        )
    return tuple(made)


def operations(chosen: "Monitor", machine: "Machine", net: "Network", uid: int, slot: int) -> "list[Operation]":
    """Return how each interface is made: a tap and a redirect between it and the container's interface."""
    free = [tap for tap in TAPS if tap not in net.taps]
    by_fd = chosen.takes_tap == "fd"
    header = VNET_HEADER if chosen.virtio else 0
    if machine.private and machine.nics:
        interface = net.interfaces[0]
        place = (slot if by_fd else -1, free[0], interface.name, net.indexes[0], interface.mtu)
        return [("share", *place, uid, header, machine.private)]
    return [
        ("link", slot + number if by_fd else -1, free[number], interface.name, index, interface.mtu, uid, header, 0)
        for number, (_, interface, index) in enumerate(zip(machine.nics, net.interfaces, net.indexes, strict=False))
    ]


def kept(chosen: "Monitor", machine: "Machine", slot: int) -> "list[Operation]":
    """Return how the taps' descriptors get the numbers that the monitor's command line names."""
    if chosen.takes_tap != "fd":
        return []
    return [("keep", slot + number, nic.fd) for number, nic in enumerate(machine.nics)]


def _names(guest: "Guest", host: "Host", net: "Network", name: str) -> "list[str]":
    """Return a device name for each interface that the guest gets; names count with Solo5 only."""
    if net.may_come:
        return []
    if host.devices is None:
        count = min(len(net.interfaces), guest.net)
        return [(name or guest.solo5_net) if number == 0 else "" for number in range(count)]
    declared = [device for kind, device in host.devices if kind == "net"]
    if name and name not in declared:
        raise UnikernelError(
            f"solo5NetDev {name} is not declared by the guest, which has: {', '.join(declared) or 'none'}"
        )
    if len(declared) > len(net.interfaces):
        missing = declared[len(net.interfaces)]
        raise UnikernelError(
            f"the guest declares network device {missing}, the container has no interface for it: run it with a network"
        )
    return [name, *(device for device in declared if device != name)] if name else declared
