"""What a guest had in a namespace goes, whoever ended when, and what others have stays."""

import errno
import os
import subprocess
from pathlib import Path

import pytest
from tests.fastpath.network_rig import (
    ADDRESS,
    NEEDS,
    TAP,
    Core,
    add_interface,
    batch,
    descriptors,
    ip,
    refused,
    set_up,
    tc,
    without_link_addresses,
    witness,
)

pytestmark = NEEDS
ROUNDS = 200


def test_rounds_leave_nothing(core: Core, inside: str) -> None:
    """Links, qdiscs, filters, addresses, descriptors, after 200 guests."""
    batch(inside, [*ADDRESS, "route add default via 10.9.0.1"])
    before, open_before = witness(inside), len(os.listdir("/proc/self/fd"))
    for _ in range(ROUNDS // 20):
        with descriptors(inside, 20) as (netlink, *tuns):
            for tun in tuns:
                network = core.discover(netlink)
                core.tap(tun, persist=True, vnet_header=12)
                core.redirect(netlink, network.interfaces[0].index)
                core.undo(netlink)

    assert without_link_addresses(before) == without_link_addresses(witness(inside))
    assert open_before == len(os.listdir("/proc/self/fd"))


def test_undo_twice_is_undo_once(core: Core, inside: str) -> None:
    before = witness(inside)
    set_up(core, inside)
    with descriptors(inside) as (netlink, _):
        core.undo(netlink)
        core.undo(netlink)
        core.undo(netlink, b"gone0")

    assert before == witness(inside)


@pytest.mark.parametrize("gone", ["tap", "interface"])
def test_undo_of_a_half(core: Core, inside: str, gone: str) -> None:
    before = witness(inside)
    set_up(core, inside)
    ip("-n", inside, "link", "del", TAP.decode() if gone == "tap" else "eth0")
    with descriptors(inside) as (netlink, _):
        core.undo(netlink)
    if gone == "interface":
        del before["eth0"]

    assert before == witness(inside)


def test_undo_of_a_qdisc_without_its_filter(core: Core, inside: str) -> None:
    """A crash between the two."""
    before = witness(inside)
    tc(inside, "qdisc add dev eth0 ingress")
    with descriptors(inside) as (netlink, _):
        core.undo(netlink)

    assert before == witness(inside)


@pytest.mark.parametrize("preference", ["7", "49152"])
def test_what_others_made_stays(core: Core, inside: str, preference: str) -> None:
    """A filter of theirs at the interface keeps the qdisc; only ours goes."""
    set_up(core, inside)
    match = f"pref {preference} protocol all u32 match ip dport 9 0xffff"
    tc(inside, f"filter add dev eth0 parent ffff: {match} action mirred egress mirror dev lo")
    with descriptors(inside) as (netlink, _):
        core.undo(netlink)
    eth0 = witness(inside)["eth0"]

    assert "ingress" in eth0["qdiscs"]
    assert [] == eth0["redirects"]
    assert 3 == eth0["filters"]  # the preference, its table, the filter


@pytest.mark.parametrize("kind", ["ingress", "clsact"])
def test_redirects_of_others_stay(core: Core, inside: str, outside: str, kind: str) -> None:
    """Even one that leads nowhere: it has no mark of ours."""
    add_interface(inside, outside, "eth1", "peer1")
    tc(inside, f"qdisc add dev eth0 {kind}")
    tc(inside, "filter add dev eth0 ingress u32 match u32 0 0 action mirred egress redirect dev eth1")
    for _ in range(2):
        before = witness(inside)
        with descriptors(inside) as (netlink, tun):
            core.undo(netlink)
            core.tap(tun)
            index = core.index(netlink, b"eth0")
            error = refused(core.redirect, netlink, index)

        assert errno.EBUSY == error.errno
        assert "eth0" in error.thing
        assert before == witness(inside)

        if "eth1" in before:
            ip("-n", inside, "link", "del", "eth1")


def test_an_empty_clsact_qdisc_stays(core: Core, inside: str) -> None:
    tc(inside, "qdisc add dev eth0 clsact")
    before = witness(inside)
    with descriptors(inside) as (netlink, tun):
        core.tap(tun)
        error = refused(core.redirect, netlink, core.index(netlink, b"eth0"))
        core.undo(netlink)

    assert (errno.EBUSY, "eth0") == (error.errno, error.thing)
    assert before == witness(inside)


def test_only_taps_of_ours_are_undone(core: Core, inside: str) -> None:
    for name in (b"eth0", b"tap0", b"tap_urunc", b"tap0_urunc2", b"mytap0_urunc", b""):
        assert not core.c.fp_network_tap_is_ours(name)
        with descriptors(inside) as (netlink, _):
            assert errno.EINVAL == refused(core.undo, netlink, b"", name).errno

    assert core.c.fp_network_tap_is_ours(b"tap12_urunc")
    assert "eth0" in witness(inside)


def test_what_is_another_ones_by_now_stays(core: Core, inside: str) -> None:
    """A tap that says it was made for another process; one that says nothing is what a crash has left."""
    before = witness(inside)
    set_up(core, inside, (5, 77))
    during = witness(inside)
    with descriptors(inside) as (netlink, _):
        for other in ((5, 78), (6, 77)):
            core.undo(netlink, owner=other)

            assert during == witness(inside)
        core.undo(netlink, owner=(5, 77))
        assert before == witness(inside)
        set_up(core, inside)
        core.undo(netlink, owner=(5, 77))

    assert before == witness(inside)


def test_the_words_of_the_journal(core: Core, inside: str, outside: str) -> None:
    """They undo in the namespace that they were written for, and in no other."""
    before = witness(inside)
    set_up(core, inside)
    path = f"/run/netns/{inside} with a blank".encode()
    with descriptors(inside) as (netlink, _), descriptors(outside) as (elsewhere, tun):
        core.tap(tun, persist=True)
        words = core.words(netlink, path)

        assert path == core.ffi.string(core.c.fp_network_words_path(words))
        assert b"" == core.ffi.string(core.c.fp_network_words_path(core.words(netlink, b"")))

        core.call("fp_network_undo_words", elsewhere, words)

        assert TAP.decode() in witness(outside)
        assert TAP.decode() in witness(inside)

        core.call("fp_network_undo_words", netlink, words)

        assert before == witness(inside)
        for bad in (b"", b"eth0", b"eth0 tap0_urunc", b"eth0 tap0_urunc 12 /", b"eth0 tap0_urunc 12 3 4"):
            assert core.ffi.NULL == core.c.fp_network_words_path(bad)
            assert errno.EINVAL == refused(core.call, "fp_network_undo_words", netlink, bad).errno


def test_a_tap_that_is_open_is_nobody_elses(core: Core, inside: str) -> None:
    with descriptors(inside) as (netlink, tun):
        core.tap(tun, persist=True)
        core.redirect(netlink, core.index(netlink, b"eth0"))

        assert ([], []) == core.clean(netlink)


def test_what_an_ended_guest_left_is_replaced(core: Core, inside: str) -> None:
    """Tap and redirect, or the redirect alone where the tap went with its process."""
    before = witness(inside)
    set_up(core, inside)
    with descriptors(inside) as (netlink, _):
        assert ([TAP.decode()], ["eth0"]) == core.clean(netlink)
        assert before == witness(inside)
    with descriptors(inside) as (netlink, tun):
        core.tap(tun)
        core.redirect(netlink, core.index(netlink, b"eth0"))
        os.close(tun)

        assert ([], ["eth0"]) == core.clean(netlink)
        assert before == witness(inside)


def test_redirect_replaces_one_that_leads_nowhere(core: Core, inside: str) -> None:
    set_up(core, inside)
    ip("-n", inside, "link", "del", TAP.decode())
    index, tap = set_up(core, inside)
    found = witness(inside)

    assert ([tap], [index]) == (found["eth0"]["redirects"], found[TAP.decode()]["redirects"])


def test_a_tap_of_ours_is_no_interface_of_the_container(core: Core, inside: str) -> None:
    """Not even with an address, as it has where the namespace is shared."""
    batch(inside, [*ADDRESS])
    with descriptors(inside) as (netlink, tun):
        core.tap(tun)
        batch(inside, [f"addr add 172.16.1.1/24 dev {TAP.decode()}", f"link set {TAP.decode()} up"])
        network = core.discover(netlink)

        assert ["eth0"] == core.choose(network)
        assert (["eth0"], 1) == (list(core.interfaces(network)), network.tap_count)


def test_redirect_does_not_take_from_another_guest(core: Core, inside: str) -> None:
    set_up(core, inside)
    with descriptors(inside) as (netlink, tun):
        core.tap(tun, b"tap1_urunc")
        before = witness(inside)
        index = core.index(netlink, b"eth0")
        error = refused(core.redirect, netlink, index, b"tap1_urunc")

        assert (errno.EBUSY, "eth0, to tap0_urunc") == (error.errno, error.thing)
        assert before == witness(inside)


def test_a_tap_waits_for_its_owner(core: Core, inside: str, owner: "subprocess.Popen[bytes]") -> None:
    """Handed over by name, it is open in no process until the monitor starts: as long as its owner lives, it stays."""
    start = int(Path(f"/proc/{owner.pid}/stat").read_text().rpartition(")")[2].split()[19])
    with descriptors(inside) as (netlink, tun):
        core.tap(tun, persist=True)
        core.redirect(netlink, core.index(netlink, b"eth0"), owner=(owner.pid, start))
        os.close(tun)
        tap = core.discover(netlink).taps[0]

        assert (owner.pid, start, False) == (tap.owner.pid, tap.owner.start, tap.carrier)
        assert ([], []) == core.clean(netlink)

        owner.kill()
        owner.wait()

        assert ([TAP.decode()], ["eth0"]) == core.clean(netlink)
