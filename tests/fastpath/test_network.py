"""Discovery of a namespace and the choice of an interface, from a process that is in another one."""

import errno
import subprocess
from collections.abc import Callable

import pytest
from tests.fastpath.network_rig import (
    ADDRESS,
    NEEDS,
    TAP,
    Core,
    add_interface,
    batch,
    bytes_of_mac,
    descriptors,
    refused,
    set_up,
    witness,
)

pytestmark = NEEDS


def test_an_interface_is_described(core: Core, inside: str) -> None:
    """Whatever it is called: name, MAC, MTU, kind, both families of addresses without the link's own, both routes."""
    batch(
        inside,
        [
            "link set eth0 name net7",
            "addr add 10.9.0.2/20 dev net7",
            "addr add 10.9.0.3/20 dev net7",
            "addr add fd00:9::2/72 dev net7 nodad",
            "link set net7 up",
            "route add default via 10.9.0.1 metric 20",
            "route add default via 10.9.0.9 metric 10",
            "route add default via fd00:9::1",
            "route add 10.0.0.0/8 via 10.9.0.7",
        ],
    )
    with descriptors(inside) as (netlink, _):
        network = core.discover(netlink)
        found = core.interfaces(network)

    assert ["net7"] == list(found)
    assert 1 == network.links
    assert bytes_of_mac(inside, "net7") == bytes(found["net7"].mac)
    assert (1400, "veth", True, True) == (
        found["net7"].mtu,
        core.text(found["net7"].kind),
        found["net7"].up,
        found["net7"].ethernet,
    )
    assert ["10.9.0.2/20", "10.9.0.3/20", "fd00:9::2/72"] == core.addresses(found["net7"])
    assert (found["net7"].index, 10, "10.9.0.9") == (
        network.route4.index,
        network.route4.metric,
        core.address(network.route4.gateway),
    )
    assert (found["net7"].index, "fd00:9::1") == (network.route6.index, core.address(network.route6.gateway))
    assert ["net7"] == core.choose(network)


@pytest.mark.parametrize(
    ("lines", "gateway"),
    [
        (("route add 169.254.1.1 dev eth0", "route add default via 169.254.1.1 dev eth0"), "169.254.1.1"),
        (("route add default via 192.0.2.1 dev eth0 onlink",), "192.0.2.1"),
        (("route add default dev eth0",), ""),
        (("addr add fd00:9::2/64 dev eth0 nodad", "route add 0.0.0.0/0 via inet6 fd00:9::1 dev eth0"), "fd00:9::1"),
        (("route add default nexthop via 10.9.0.1 nexthop via 10.9.0.4",), "10.9.0.1"),
    ],
    ids=["outside the subnet", "on link", "none", "of the other family", "one of two"],
)
def test_gateways(core: Core, inside: str, lines: tuple[str, ...], gateway: str) -> None:
    batch(inside, [*ADDRESS, *lines])
    with descriptors(inside) as (netlink, _):
        network = core.discover(netlink)

    assert network.interfaces[0].index == network.route4.index
    assert gateway == core.address(network.route4.gateway)
    assert 0 == network.route6.index


def test_unreachable_and_foreign_tables_are_no_default_route(core: Core, inside: str) -> None:
    lines = ["route add unreachable default metric 1", "route add default via 10.9.0.1 table 77"]
    batch(inside, [*ADDRESS, *lines, "route add unreachable ::/0"])
    with descriptors(inside) as (netlink, _):
        network = core.discover(netlink)

    assert (0, 0) == (network.route4.index, network.route6.index)
    assert ["eth0"] == core.choose(network)


def test_ipv6_only(core: Core, inside: str) -> None:
    lines = ["addr add fd00:9::2/64 dev eth0 nodad", "link set eth0 up", "route add default via fe80::1 dev eth0"]
    batch(inside, lines)
    with descriptors(inside) as (netlink, _):
        network = core.discover(netlink)

    assert ["fd00:9::2/64"] == core.addresses(network.interfaces[0])
    assert "fe80::1" == core.address(network.route6.gateway)
    assert ["eth0"] == core.choose(network)


def test_without_ipv6(core: Core, inside: str) -> None:
    """Discovery and redirect of a device on which IPv6 is switched off."""
    command = "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$f; done"
    subprocess.run(["ip", "netns", "exec", inside, "sh", "-c", command], check=True)
    batch(inside, [*ADDRESS])
    set_up(core, inside)

    assert [] == witness(inside)[TAP.decode()]["addresses"]


def test_the_default_route_chooses(core: Core, inside: str, outside: str) -> None:
    """And the others that a guest could have follow."""
    add_interface(inside, outside, "aaa", "peer1")
    add_interface(inside, outside, "off0", "peer2")
    lines = ["addr add 10.8.0.2/24 dev aaa", "link set aaa up", "addr add 10.7.0.2/24 dev off0"]
    batch(inside, [*ADDRESS, *lines, "route add default via 10.9.0.1"])
    with descriptors(inside) as (netlink, _):
        network = core.discover(netlink)

    assert ["eth0", "aaa"] == core.choose(network)


def test_several_without_a_default_route_are_named(core: Core, inside: str, outside: str) -> None:
    add_interface(inside, outside, "eth1", "peer1")
    batch(inside, [*ADDRESS, "addr add 10.8.0.2/24 dev eth1", "link set eth1 up"])
    with descriptors(inside) as (netlink, _):
        network = core.discover(netlink)
    error = refused(core.choose, network)

    assert errno.ENOTUNIQ == error.errno
    assert "eth0, eth1" == error.thing


@pytest.mark.parametrize(
    ("lines", "number", "step"),
    [
        ((), errno.ENETDOWN, "the interface is down"),
        (("addr add 10.9.0.2/24 dev eth0",), errno.ENETDOWN, "the interface is down"),
        (("link set eth0 up",), errno.EADDRNOTAVAIL, "the interface has no address"),
    ],
)
def test_an_unusable_interface_is_named(
    core: Core, inside: str, lines: tuple[str, ...], number: int, step: str
) -> None:
    batch(inside, list(lines))
    with descriptors(inside) as (netlink, _):
        network = core.discover(netlink)
    error = refused(core.choose, network)

    assert (number, step, "eth0") == (error.errno, error.step, error.thing)


def test_a_device_without_ethernet_is_refused(core: Core, make_namespace: Callable[[], str]) -> None:
    name = make_namespace()
    lines = ["tuntap add tun9 mode tun", "addr add 10.9.0.2/24 dev tun9", "link set tun9 up"]
    subprocess.run(["ip", "netns", "exec", name, "ip", "-batch", "-"], input="\n".join(lines), check=True, text=True)
    with descriptors(name) as (netlink, _):
        network = core.discover(netlink)
    error = refused(core.choose, network)

    assert (errno.EPROTOTYPE, "tun9") == (error.errno, error.thing)


def test_an_empty_namespace_has_nothing_to_choose(core: Core, make_namespace: Callable[[], str]) -> None:
    with descriptors(make_namespace()) as (netlink, _):
        network = core.discover(netlink)

    assert (0, 0) == (network.count, network.links)
    assert [] == core.choose(network)


def test_500_interfaces_in_the_namespace(core: Core, inside: str) -> None:
    """Those with an address are found among them; more of these than fit is an error, not a guess."""
    batch(inside, [f"link add a{i} type veth peer name b{i}" for i in range(250)])
    batch(inside, [*ADDRESS, "addr add 10.8.0.2/24 dev b249", "link set b249 up", "route add default via 10.9.0.1"])
    with descriptors(inside) as (netlink, _):
        network = core.discover(netlink)

        assert 501 == network.links
        assert 16 == network.count
        assert ["eth0", "b249"] == core.choose(network)

        batch(inside, [f"addr add 10.7.{i}.2/24 dev a{i}" for i in range(15)])
        error = refused(core.discover, netlink)

        assert errno.E2BIG == error.errno

        batch(inside, [f"addr del 10.7.{i}.2/24 dev a{i}" for i in range(15)])

        assert 501 == core.discover(netlink).links  # the socket is as good as before


def test_more_addresses_than_fit(core: Core, inside: str) -> None:
    batch(inside, [f"addr add 10.7.{i}.2/24 dev eth0" for i in range(16)])
    with descriptors(inside) as (netlink, _):
        assert 16 == len(core.addresses(core.discover(netlink).interfaces[0]))

        batch(inside, ["addr add 10.9.0.2/24 dev eth0"])

        assert errno.E2BIG == refused(core.discover, netlink).errno


def test_interfaces_of_other_namespaces_are_not_seen(
    core: Core, inside: str, make_namespace: Callable[[], str]
) -> None:
    """500 of them; that they cost nothing, either, is a row of bench/test_network.py."""
    batch(inside, [*ADDRESS, "route add default via 10.9.0.1"])
    batch(make_namespace(), [f"link add a{i} type veth peer name b{i}" for i in range(250)])
    with descriptors(inside) as (netlink, _):
        network = core.discover(netlink)

        assert (1, 1, ["eth0"]) == (network.links, network.count, core.choose(network))
