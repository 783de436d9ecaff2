"""The private subnet of a guest that shares its network namespace with others, and which guests do.  Pure.

The one rule: a guest that is alone keeps the container's own address; one that is not never hides it from the others.
"""

from ._record import replace
from .errors import UnikernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .facts import Network
    from .unikernels import Interface

STATIC_GATEWAY, STATIC_GUEST, STATIC_PREFIX = 0xAC100101, 0xAC100102, 24  # 172.16.1.1,
STATIC_ADDRESS = "172.16.1.2"
BASES = (0xAC100200, 0xC0A8D900, 0x0AD7D900)  # 172.16.2.0, 192.168.217.0, 10.215.217.0: /24, of which a guest has a /30
PREFIX = 30
PROTOCOLS = {"tcp": 6, "udp": 17}
PORTS_MAX = 64
ALL_PORTS = 0  # instead of ports: whatever nobody else listens at


def placed(wanted: str, net: "Network", *, static: bool) -> "Network":
    """Return the network as the guest is to have it: one private interface instead of the container's.

    `static`: the subnet that Knative's queue-proxy knows.  `wanted` (the annotation `ports`) has those ports of the
    container's addresses that reach the guest; the first guest that has none gets what nobody else listens at.
    """
    main = net.interfaces[0]
    if not main.ipv4:
        raise UnikernelError(f"interface {main.name} has no IPv4 address, which a shared network needs: add one")
    number = min(set(range(64)) - {int(tap[3:].partition("_")[0]) for tap in net.taps}, default=-1)
    if number < 0:
        raise UnikernelError(f"the network namespace of {main.name} has 64 guests: no more fit into it")
    gateway, guest, prefix = STATIC_GATEWAY, STATIC_GUEST, STATIC_PREFIX
    if not static:
        gateway = _base(net.interfaces) + 4 * number + 1
        guest, prefix = gateway + 1, PREFIX
    inside = replace(main, ipv4=((_text(guest), prefix),), ipv6=(), gateway4=_text(gateway), gateway6="")
    numbers = (gateway, prefix, guest, *(ports(wanted) or (() if net.taps else (ALL_PORTS,))))
    return replace(net, interfaces=(inside,), indexes=net.indexes[:1], private=numbers)


def ports(text: str) -> "tuple[int, ...]":
    """Return the numbers of "80,443,53/udp" as the executor takes them: protocol << 16 | port; ValueError if wrong."""
    found = []
    for word in text.replace(" ", "").split(",") if text else ():
        number, _, protocol = word.partition("/")
        if not (number.isascii() and number.isdecimal() and 0 < int(number) < 1 << 16):
            raise ValueError(word)
        if (protocol or "tcp") not in PROTOCOLS:
            raise ValueError(word)
        found.append(PROTOCOLS[protocol or "tcp"] << 16 | int(number))
    if len(set(found)) > PORTS_MAX:
        raise ValueError(text)
    return tuple(sorted(set(found)))


def knative_port(env: "Sequence[str]") -> str:
    """Return the port that Knative has told user-container to listen at, "" if it has not."""
    value = next((entry[5:] for entry in env if entry.startswith("PORT=")), "")
    return value if value.isascii() and value.isdecimal() and 0 < int(value) < 1 << 16 else ""


def _base(interfaces: "tuple[Interface, ...]") -> int:
    """Return the first of BASES that no network of the container overlaps."""
    networks = [(_number(text), prefix) for interface in interfaces for text, prefix in interface.ipv4]
    for base in BASES:
        if not any((base ^ address) >> (32 - min(prefix, 24)) == 0 for address, prefix in networks):
            return base
    raise UnikernelError(f"the networks of {interfaces[0].name} leave no subnet for a guest that shares them")


def _number(text: str) -> int:
    number = 0
    for part in text.split("."):
        number = number << 8 | int(part)
    return number


def _text(number: int) -> str:
    return ".".join([str(number >> shift & 255) for shift in (24, 16, 8, 0)])
