"""The guest's network interfaces, as devices of the machine and as operations of a plan.  Pure.

The one rule: a guest has the container's network or an error; it never boots silently without one.
"""

from .errors import UnikernelError
from .monitors import Nic, order
from .slots import NIC_SLOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .annotations import Unikernel
    from .facts import Host, Network
    from .monitors import Machine, Monitor
    from .unikernels import Guest

    Operation = tuple[object, ...]

TAPS = tuple(f"tap{number}_urunc" for number in range(64))
FIRST_FD = 3  # of the taps in a monitor that takes descriptors
NOWHERE = "02:00:00:00:00:01"  # of an interface that nobody sees
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


def nics(  # noqa: PLR0913, PLR0917  all that decides about them
    guest: "Guest", chosen: "Monitor", host: "Host", net: "Network", name: str, vcpus: int = 1, accelerator: str = ""
) -> "tuple[Nic, ...]":
    """Return the guest's interfaces, one for each of the container's that it can use, the main one first.

    `name` is what the annotation solo5NetDev calls the first.  A guest that needs one and has none gets one that leads
    nowhere.  UnikernelError if the guest declares a device for which the container has no interface, or cannot use the
    addresses it has.
    """
    names = _names(guest, host, net, name)
    free = [tap for tap in TAPS if tap not in net.taps]
    made = []
    queues, vhost = _queues(guest, chosen, len(names), 1 if net.private else vcpus)
    vhost = vhost and accelerator == "kvm" and host.has_vhost_net and guest.offloads
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
                fd=FIRST_FD + number * queues if by_fd else -1,
                queues=queues,
                vhost_fd=FIRST_FD + (len(names) + number) * queues if vhost else -1,
                offloads=guest.offloads,
            )
        )
    if guest.needs_net and not made:
        return (Nic(mac=NOWHERE, fd=FIRST_FD, offloads=guest.offloads, linked=False),)
    return tuple(made)


def operations(chosen: "Monitor", machine: "Machine", net: "Network", uid: int, slot: int) -> "list[Operation]":
    """Return how each interface is made: a tap and a redirect between it and the container's, if there is one."""
    free = [tap for tap in TAPS if tap not in net.taps]
    by_fd = chosen.takes_tap == "fd"
    header = VNET_HEADER if chosen.virtio else 0
    if machine.private and machine.nics:
        interface = net.interfaces[0]
        place = (slot if by_fd else -1, free[0], interface.name, net.indexes[0], interface.mtu)
        return [("share", *place, uid, header, machine.private)]
    made: list[Operation] = [("nowhere", slot + nic.fd - FIRST_FD) for nic in machine.nics if not nic.linked]
    for number, (nic, interface, index) in enumerate(zip(machine.nics, net.interfaces, net.indexes, strict=False)):
        first = slot + nic.fd - FIRST_FD if by_fd else -1
        made.append(("link", first, free[number], interface.name, index, interface.mtu, uid, header, nic.queues))
        if nic.vhost_fd >= 0:
            made += [("vhost_net", slot + nic.vhost_fd - FIRST_FD + queue) for queue in range(nic.queues)]
    return made


def kept(chosen: "Monitor", machine: "Machine", slot: int) -> "list[Operation]":
    """Return how the taps' descriptors get the numbers that the monitor's command line names."""
    if chosen.takes_tap != "fd":
        return []
    return [("keep", slot + number, FIRST_FD + number) for number in range(next_fd(machine.nics) - FIRST_FD)]


def next_fd(nics: "tuple[Nic, ...]") -> int:
    """Return the first number of a descriptor in the monitor that no interface has."""
    return FIRST_FD + sum([nic.queues * (1 if nic.vhost_fd < 0 else 2) for nic in nics])


def _queues(guest: "Guest", chosen: "Monitor", count: int, vcpus: int) -> "tuple[int, bool]":
    """Return how many queues each of `count` interfaces has, and whether there is room for /dev/vhost-net beside them.

    A queue for each processor, as far as the plan has slots.
    """
    if not count or not chosen.queues:
        return 1, False
    vhost = 2 * count <= NIC_SLOTS
    most = NIC_SLOTS // (2 * count if vhost else count)
    return max(1, min(vcpus, most)) if guest.queues else 1, vhost


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
