"""The private subnet of a guest that shares its namespace: which addresses it has, and which ports are its."""

import pytest

from urunc import subnet
from urunc.errors import UnikernelError
from urunc.facts import Network
from urunc.unikernels import Interface

ETH0 = Interface(
    name="eth0",
    mac="02:00:00:00:09:02",
    mtu=1400,
    ipv4=(("10.9.0.2", 24), ("10.9.7.2", 24)),
    ipv6=(("fd00:9::2", 64),),
    gateway4="10.9.0.1",
    gateway6="fd00:9::1",
    dns=("10.9.0.53",),
)
ETH1 = Interface(name="eth1", mac="02:00:00:00:09:03", ipv4=(("10.8.0.2", 24),))


def placed(*interfaces: Interface, static: bool = False, ports: str = "", taps: tuple[str, ...] = ()) -> Network:
    net = Network(interfaces=interfaces, indexes=tuple(range(2, 2 + len(interfaces))), taps=taps)
    return subnet.placed(ports, net, static=static)


@pytest.mark.parametrize(
    ("taps", "gateway", "guest"),
    [
        ((), "172.16.2.1", "172.16.2.2"),
        (("tap0_urunc",), "172.16.2.5", "172.16.2.6"),
        (("tap1_urunc",), "172.16.2.1", "172.16.2.2"),
        (tuple(f"tap{number}_urunc" for number in range(63)), "172.16.2.253", "172.16.2.254"),
    ],
)
def test_each_guest_has_a_subnet(taps: tuple[str, ...], gateway: str, guest: str) -> None:
    """By the number of its tap; it keeps MAC, MTU and name servers of the interface, and has no other one."""
    net = placed(ETH0, ETH1, taps=taps)
    (inside,) = net.interfaces

    assert (((guest, 30),), (), gateway, "") == (inside.ipv4, inside.ipv6, inside.gateway4, inside.gateway6)
    assert (ETH0.mac, ETH0.mtu, ETH0.dns) == (inside.mac, inside.mtu, inside.dns)
    assert (2,) == net.indexes


def test_a_namespace_is_full_of_guests() -> None:
    with pytest.raises(UnikernelError, match="64 guests"):
        placed(ETH0, taps=tuple(f"tap{number}_urunc" for number in range(64)))


def test_the_address_that_knative_knows() -> None:
    net = placed(ETH0, static=True)

    assert ((("172.16.1.2", 24),), "172.16.1.1") == (net.interfaces[0].ipv4, net.interfaces[0].gateway4)
    assert (0xAC100101, 24, 0xAC100102) == net.private[:3]


@pytest.mark.parametrize(
    ("address", "prefix", "guest"),
    [
        ("172.16.2.77", 32, "192.168.217.2"),
        ("172.16.0.1", 12, "192.168.217.2"),
        ("172.16.3.1", 24, "172.16.2.2"),
        ("0.0.0.1", 1, "172.16.2.2"),
    ],
)
def test_a_subnet_that_overlaps_is_not_taken(address: str, prefix: int, guest: str) -> None:
    other = Interface(name="eth1", mac="", ipv4=((address, prefix),))

    assert ((guest, 30),) == placed(ETH0, other).interfaces[0].ipv4


def test_no_subnet_is_left() -> None:
    everywhere = Interface(name="eth0", mac="", ipv4=(("1.2.3.4", 0),))
    with pytest.raises(UnikernelError, match="leave no subnet"):
        placed(everywhere)


def test_ports() -> None:
    assert (6 << 16 | 80, 6 << 16 | 443, 17 << 16 | 53) == placed(ETH0, ports="443, 80/tcp,53/udp,80").private[3:]


def test_without_ports_the_first_guest_has_those_that_nobody_has() -> None:
    assert (subnet.ALL_PORTS,) == placed(ETH0).private[3:]
    assert () == placed(ETH0, taps=("tap0_urunc",)).private[3:]


def test_the_port_that_knative_tells() -> None:
    assert "8080" == subnet.knative_port(("A=1", "PORT=8080", "PORT=9"))
    for env in ((), ("PORT=",), ("PORT=x",), ("PORT=0",), ("PORT=65536",), ("PORTS=1",)):
        assert "" == subnet.knative_port(env)


@pytest.mark.parametrize("text", ["x", "80,", "-1", "80/icmp", "65536", "0", "\u0661", "8 0x"])
def test_what_are_no_ports(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        subnet.ports(text)
