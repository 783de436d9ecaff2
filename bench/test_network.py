"""A guest's network against the same made by `ip` and `tc`: interleaved, medians, failing on a ratio."""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from tests.fastpath.network_rig import TAP, Core, batch, descriptors, ip

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces"),
    pytest.mark.skipif(not shutil.which("tc"), reason="tc is not installed"),
]
ROUNDS = 31
MAKE_RATIO = 0.2
TAP_NAME = TAP.decode()
REDIRECT = "protocol all u32 match u32 0 0 action mirred egress redirect"
DISCOVER = (
    "ip -n {ns} -j link show",
    "ip -n {ns} -j addr show",
    "ip -n {ns} -j -4 route show default",
    "ip -n {ns} -j -6 route show default",
)
TUNTAP = f"ip netns exec {{ns}} ip tuntap add {TAP_NAME} mode tap vnet_hdr"  # -n would make it in our own namespace
SET_UP = (f"link set {TAP_NAME} mtu 1400 up",)
SHAPE = (
    f"qdisc add dev {TAP_NAME} ingress",
    "qdisc add dev eth0 ingress",
    f"filter add dev {TAP_NAME} parent ffff: {REDIRECT} dev eth0",
    f"filter add dev eth0 parent ffff: {REDIRECT} dev {TAP_NAME}",
)


@pytest.fixture
def namespace() -> Iterator[str]:
    """eth0 with an address of each family and a default route; its peer is in another namespace."""
    inside, outside = f"urt{os.getpid()}b", f"urt{os.getpid()}c"
    try:
        ip("netns", "add", inside)
        ip("netns", "add", outside)
        ip("-n", inside, "link", "add", "eth0", "mtu", "1400", "type", "veth", "peer", "name", "p0", "netns", outside)
        ip("-n", outside, "link", "set", "p0", "up")
        lines = ["addr add 10.9.0.2/24 dev eth0", "addr add fd00:9::2/64 dev eth0 nodad", "link set eth0 up"]
        batch(inside, [*lines, "route add default via 10.9.0.1"])
        yield inside
    finally:
        for name in (inside, outside):
            subprocess.run(["ip", "netns", "del", name], check=False)


def timed(call: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def run_script(lines: list[str]) -> None:
    subprocess.run(["/bin/sh", "-ec", "\n".join(lines)], check=True, stdout=subprocess.DEVNULL)


def by_commands(namespace: str) -> list[str]:
    shape = [*(f"ip -n {namespace} {line}" for line in SET_UP), *(f"tc -n {namespace} {line}" for line in SHAPE)]
    return [line.format(ns=namespace) for line in (*DISCOVER, TUNTAP)] + shape


def by_batches(namespace: str) -> list[str]:
    """The least that `ip` and `tc` can do it with."""
    shape = "\n".join(SHAPE)
    return [
        *(line.format(ns=namespace) for line in (*DISCOVER, TUNTAP)),
        f"ip -n {namespace} {SET_UP[0]}",
        f"tc -n {namespace} -batch - <<'END'\n{shape}\nEND",
    ]


def report(rows: dict[str, list[float]]) -> dict[str, float]:
    medians = {name: statistics.median(values) for name, values in rows.items()}
    print()
    for name, median in medians.items():
        print(f"{name:42} {median * 1e6:9.0f} us")
    return medians


def test_making_a_guests_network(namespace: str) -> None:
    """Discovery, tap and redirect: at most a fifth of the commands' time."""
    core = Core()
    rows: dict[str, list[float]] = {"urunc": [], "ip, tc": [], "ip, tc -batch": []}

    def make(netlink: int, tun: int) -> None:
        network = core.discover(netlink)
        assert core.choose(network) == ["eth0"]
        core.tap(tun, persist=True, vnet_header=12)
        core.redirect(netlink, network.interfaces[0].index, mtu=network.interfaces[0].mtu)

    with descriptors(namespace, ROUNDS) as (netlink, *tuns):
        for tun in tuns:
            rows["urunc"].append(timed(make, netlink, tun))
            core.undo(netlink)
            for name, script in (("ip, tc", by_commands(namespace)), ("ip, tc -batch", by_batches(namespace))):
                rows[name].append(timed(run_script, script))
                core.undo(netlink)
    medians = report(rows)

    assert medians["urunc"] <= MAKE_RATIO * medians["ip, tc"]
    assert medians["urunc"] <= MAKE_RATIO * medians["ip, tc -batch"]


def test_removing_a_guests_network(namespace: str) -> None:
    """Mostly the kernel's wait for those who may still use the device: never slower than the commands.

    What a monitor's exit pays for a tap is the last two rows.
    """
    core = Core()
    rows: dict[str, list[float]] = {"urunc": [], "ip, tc": [], "close, persistent": [], "close, not persistent": []}
    remove = [f"tc -n {namespace} qdisc del dev eth0 ingress", f"ip -n {namespace} link del {TAP_NAME}"]

    def make(netlink: int, tun: int, *, persist: bool) -> None:
        core.tap(tun, persist=persist)
        core.redirect(netlink, core.index(netlink, b"eth0"))

    for _ in range(ROUNDS):
        with descriptors(namespace, 3) as (netlink, *tuns):
            make(netlink, tuns[0], persist=True)
            rows["close, persistent"].append(timed(os.close, tuns[0]))
            rows["urunc"].append(timed(core.undo, netlink))
            make(netlink, tuns[1], persist=True)
            os.close(tuns[1])
            rows["ip, tc"].append(timed(run_script, remove))
            make(netlink, tuns[2], persist=False)
            rows["close, not persistent"].append(timed(os.close, tuns[2]))
            core.undo(netlink)
    medians = report(rows)

    assert medians["urunc"] <= 1.1 * medians["ip, tc"]
