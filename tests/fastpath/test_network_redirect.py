"""Taps and redirects in namespaces that the test makes, from a process that is in none of them."""

import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.fastpath.network_rig import (
    ADDRESS,
    NEEDS,
    TAP,
    UNUSED_NUMBER,
    Core,
    batch,
    bytes_of_mac,
    descriptors,
    raw_socket,
    refused,
    run_inside,
    without_link_addresses,
    witness,
)

pytestmark = NEEDS
ETHERTYPE = b"\x88\xb5"  # IEEE: local experiments
BROADCAST = b"\xff" * 6


def test_redirect_as_a_witness_sees_it(core: Core, inside: str) -> None:
    """One filter each way, the interface's MTU, up, and no address that was not there before."""
    batch(inside, [*ADDRESS])
    before = witness(inside)
    with descriptors(inside) as (netlink, tun):
        interface = core.discover(netlink).interfaces[0]
        core.tap(tun)
        core.redirect(netlink, interface.index, mtu=interface.mtu)
        after = witness(inside)
    eth0, tap = after["eth0"], after[TAP.decode()]

    assert (1400, True, []) == (tap["mtu"], tap["up"], tap["addresses"])
    assert [tap["index"]] == eth0["redirects"]
    assert [eth0["index"]] == tap["redirects"]
    assert ["ingress", *before["eth0"]["qdiscs"]] == eth0["qdiscs"]
    assert "ingress" in tap["qdiscs"]
    assert without_link_addresses(before)["eth0"]["addresses"] == without_link_addresses(after)["eth0"]["addresses"]


def test_an_mtu_that_ipv6_cannot_have(core: Core, inside: str) -> None:
    """The kernel takes IPv6 from the tap then."""
    with descriptors(inside) as (netlink, tun):
        core.tap(tun)
        core.redirect(netlink, core.index(netlink, b"eth0"), mtu=1200)

        assert (1200, True) == (witness(inside)[TAP.decode()]["mtu"], witness(inside)[TAP.decode()]["up"])


@pytest.mark.parametrize("vnet_header", [0, 12])
def test_frames_go_both_ways(core: Core, inside: str, outside: str, vnet_header: int) -> None:
    batch(inside, [*ADDRESS])
    mac = bytes_of_mac(inside, "eth0")
    with descriptors(inside) as (netlink, tun), raw_socket(outside, "peer0") as peer:
        core.tap(tun, vnet_header=vnet_header, offload=1 if vnet_header else 0)
        core.redirect(netlink, core.index(netlink, b"eth0"))
        incoming, outgoing = (to + b"\x02urtst" + ETHERTYPE + os.urandom(1000) for to in (mac, BROADCAST))
        peer.send(incoming)

        assert any(frame[vnet_header:] == incoming for frame in read_frames(tun))

        os.write(tun, bytes(vnet_header) + outgoing)

        assert any(frame == outgoing for frame in (peer.recv(2048) for _ in range(50)))


def read_frames(tun: int) -> Iterator[bytes]:
    """Until two seconds pass without one."""
    while select.select([tun], [], [], 2)[0]:
        yield os.read(tun, 65536)


def test_properties_of_the_tap(core: Core, inside: str) -> None:
    """Owner, group, header, persistence, queues: what the kernel says of the descriptor and in sysfs."""
    with descriptors(inside, 2) as (_, tun, second):
        options: dict[str, Any] = {"vnet_header": 12, "multi_queue": True}
        core.tap(tun, uid=1234, gid=2345, persist=True, offload=7, **options)
        core.attach(second, **options)
        size = struct.unpack("i", fcntl.ioctl(tun, 0x800454D7, bytes(4)))[0]  # TUNGETVNETHDRSZ
        shown = show_link(inside, TAP.decode())

    assert 12 == size
    for word in ("tun type tap pi off vnet_hdr on multi_queue", "numqueues 2", "persist on", "user 1234", "group 2345"):
        assert word in shown
    assert "NO-CARRIER" not in shown
    assert TAP.decode() in witness(inside)


def show_link(namespace: str, device: str) -> str:
    command = ["ip", "-n", namespace, "-d", "link", "show", device]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def test_a_tap_that_does_not_persist_goes_with_its_descriptor(core: Core, inside: str) -> None:
    with descriptors(inside) as (_, tun):
        core.tap(tun)

        assert TAP.decode() in witness(inside)

    assert TAP.decode() not in witness(inside)


def test_the_lowest_free_number(core: Core, inside: str) -> None:
    with descriptors(inside, 3) as (_, *tuns):
        assert ["tap0_urunc", "tap1_urunc", "tap2_urunc"] == [core.tap(tun, b"tap%d_urunc") for tun in tuns]


def test_an_existing_tap_is_not_taken_over(core: Core, inside: str) -> None:
    """Not even one that nobody has open."""
    with descriptors(inside) as (_, tun):
        core.tap(tun, persist=True)
    with descriptors(inside) as (_, tun):
        error = refused(core.tap, tun)

    assert (errno.EBUSY, "the tap exists already", TAP.decode()) == (error.errno, error.step, error.thing)


@pytest.mark.parametrize("name", [b"", b"a" * 16, b"a/b", b"a b"])
def test_bad_tap_names(core: Core, inside: str, name: bytes) -> None:
    with descriptors(inside) as (_, tun):
        assert errno.EINVAL == refused(core.tap, tun, name).errno


def test_the_callers_own_namespace_is_never_changed(core: Core, inside: str) -> None:
    """Nothing is made there, not even tried."""
    own = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with own, open("/dev/net/tun", "rb+", buffering=0) as tun, descriptors(inside) as (netlink, other_tun):
        assert 1 == core.call("fp_network_is_own", own.fileno())
        assert 1 == core.call("fp_network_is_own", tun.fileno())
        assert 0 == core.call("fp_network_is_own", netlink)
        assert 0 == core.call("fp_network_is_own", other_tun)
        assert errno.EPERM == refused(core.tap, tun.fileno()).errno
        assert errno.EPERM == refused(core.attach, tun.fileno()).errno
        assert errno.EPERM == refused(core.redirect, own.fileno(), 1).errno
        assert errno.EPERM == refused(core.undo, own.fileno()).errno
        assert errno.EPERM == refused(core.clean, own.fileno()).errno
    assert TAP.decode() not in (name for _, name in socket.if_nameindex())


def test_a_step_that_fails_leaves_nothing(core: Core, inside: str) -> None:
    """A header size the kernel refuses, an MTU it refuses, an interface and a tap that are gone."""
    before = witness(inside)
    with descriptors(inside) as (netlink, tun):
        assert "TUNSETVNETHDRSZ" == refused(core.tap, tun, persist=True, vnet_header=3).step
    assert before == witness(inside)
    with descriptors(inside) as (netlink, tun):
        index = core.index(netlink, b"eth0")
        core.tap(tun)
        with_tap = witness(inside)
        error = refused(core.redirect, netlink, index, mtu=UNUSED_NUMBER)

        assert ("set mtu", TAP.decode()) == (error.step, error.thing.split(":")[0])
        assert with_tap == witness(inside)
        assert errno.ENODEV == refused(core.redirect, netlink, UNUSED_NUMBER).errno
        assert errno.ENODEV == refused(core.redirect, netlink, index, b"tap7_urunc").errno
        assert with_tap == witness(inside)
    assert before == witness(inside)


def test_wrong_descriptors(core: Core, inside: str) -> None:
    """Closed, a pipe, another socket, tun and netlink exchanged: an error, and nothing is made."""
    before = witness(inside)
    reading, writing = os.pipe()
    with socket.socket() as stream, descriptors(inside) as (netlink, tun):
        index = core.index(netlink, b"eth0")
        for bad in (UNUSED_NUMBER, -1, reading, stream.fileno(), tun):
            refused(core.discover, bad)
            refused(core.redirect, bad, index)
            refused(core.undo, bad)
        for bad in (UNUSED_NUMBER, -1, reading, stream.fileno(), netlink):
            refused(core.tap, bad)
    os.close(reading)
    os.close(writing)

    assert before == witness(inside)


def test_without_cap_net_admin(core: Core, inside: str) -> None:
    """Each step says what it was; nothing is made."""
    before = witness(inside)
    with descriptors(inside) as (netlink, tun):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setuid(65534)
                calls = (lambda: core.tap(tun), lambda: core.redirect(netlink, 2), lambda: core.undo(netlink))
                status = 0 if all(refused(call).errno == errno.EPERM for call in calls) else 2
            finally:
                os._exit(status)

        assert 0 == os.waitpid(child, 0)[1]
    assert before == witness(inside)


def test_answers_that_were_not_asked_for(core: Core, inside: str) -> None:
    """Of the kernel, to an earlier request, and of another process."""
    batch(inside, [*ADDRESS])
    dump = struct.pack("=IHHIIB15x", 32, 18, 0x301, 7, 0, 0)  # RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP

    def make() -> tuple[None, list[int]]:
        asked = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        asked.bind((0, 0))
        asked.send(dump[:4] + struct.pack("=H", 18) + struct.pack("=H", 5) + dump[8:])  # one of nothing: an error
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as other:
            done = struct.pack("=IHHIIi", 20, 3, 0, 0, 0, 0)  # NLMSG_DONE
            other.sendto(done, (asked.getsockname()[0], 0))
        return None, [asked.detach()]

    _, [fd] = run_inside(inside, make)
    network = core.discover(fd)
    os.close(fd)

    assert ["eth0"] == core.choose(network)
