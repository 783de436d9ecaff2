"""A guest's network against the same made by `ip` and `tc`: interleaved, medians, failing on a ratio."""

import ctypes
import os
import shutil
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.container import CONFIG, PROGRAM, Runtime, exit_status, merged, write_bundle
from tests.e2e.lan import ADDRESS, LINUX, Lan, opened, page_of, started
from tests.fastpath.network_rig import TAP, Core, batch, descriptors, ip
from tests.guests import build, spt_build

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces"),
    pytest.mark.skipif(not shutil.which("tc"), reason="tc is not installed"),
]
ROUNDS = 31
TCP_ROUNDS = 12
PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h
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
def subreaper() -> Iterator[None]:
    """Containers' processes become ours, to be waited for."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


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


def test_interfaces_in_other_namespaces(namespace: str) -> None:
    """500 of them cost nothing: the same before them and beside them."""
    core, elsewhere = Core(), f"urt{os.getpid()}d"

    def make(netlink: int, tun: int) -> None:
        network = core.discover(netlink)
        core.tap(tun, persist=True)
        core.redirect(netlink, network.interfaces[0].index)

    def measured() -> list[float]:
        taken = []
        with descriptors(namespace, ROUNDS) as (netlink, *tuns):
            for tun in tuns:
                taken.append(timed(make, netlink, tun))
                core.undo(netlink)
        return taken

    rows = {"before 500 interfaces elsewhere": measured()}
    ip("netns", "add", elsewhere)
    try:
        batch(elsewhere, [f"link add a{i} type veth peer name b{i}" for i in range(250)])
        rows["beside them"] = measured()
    finally:
        ip("netns", "del", elsewhere)
    before, beside = report(rows).values()

    assert beside <= 1.3 * before


def test_a_guests_stream(tmp_path: Path) -> None:
    """TCP of an emulated Linux, two megabytes a connection: as fast as through what the commands make for its tap.

    What a socket in the namespace itself sends in its place is the last row: the emulation's price, not the network's.
    """
    lan, runtime, core = Lan(), Runtime(PROGRAM, tmp_path), Core()
    rows: dict[str, list[float]] = {"urunc": [], "ip, tc": [], "a socket in the namespace": []}
    page = build.BUSYBOX.read_bytes()
    shape = [f"tc -n {lan.inside} {line}" for line in SHAPE]
    remove = (f"tc -n {lan.inside} qdisc del dev {device} ingress" for device in (TAP_NAME, "eth0"))
    unshape = [f"{line} 2>/dev/null || :" for line in remove]  # the last row leaves none
    try:
        lan.usual()
        started(runtime, web_server(tmp_path / "bundle", lan.inside), "serving")
        with descriptors(lan.inside) as (netlink, _):
            for number in range(TCP_ROUNDS):
                for name in sorted(rows, reverse=number % 2 == 0):
                    run_script(unshape)
                    if name == "urunc":
                        core.redirect(netlink, core.index(netlink, b"eth0"), mtu=1400)
                    elif name == "ip, tc":
                        run_script(shape)
                    fetch(lan, page, name.startswith("a socket"))  # what was removed is not gone at once
                    rows[name].append(timed(fetch, lan, page, name.startswith("a socket")))
    finally:
        runtime("delete", "--force", "c")
        lan.remove()
    print()
    for name, values in rows.items():
        print(f"{name:42} {len(page) / statistics.median(values) / 1e6:9.0f} MB/s")

    assert statistics.median(rows["urunc"]) <= 1.1 * statistics.median(rows["ip, tc"])


def fetch(lan: Lan, page: bytes, from_socket: bool) -> None:
    if not from_socket:
        assert page == page_of(lan.outside, ADDRESS, "/bin/busybox")
        return
    with opened(lan.inside, socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((ADDRESS, 80))
        server.listen()
        thread = threading.Thread(target=serve, args=(server, page))
        thread.start()
        assert page == page_of(lan.outside, ADDRESS, "/bin/busybox")
        thread.join()


def serve(server: socket.socket, page: bytes) -> None:
    with server.accept()[0] as client:
        client.recv(1024)
        client.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + page)


def web_server(directory: Path, namespace: str) -> Path:
    """A bundle of a Linux that serves its files, joined to the namespace."""
    kernel, initrd = build.linux_net(build.default_cache())
    keys = {**LINUX, "initrd": "/initrd"}
    network = {"type": "network", "path": f"/run/netns/{namespace}"}
    changes = {
        "annotations": {f"com.urunc.unikernel.{key}": value for key, value in keys.items()},
        "process": {"args": ["/init", "serve", "x"]},
        "linux": {"namespaces": [network, *({"type": kind} for kind in ("pid", "ipc", "uts", "mount"))]},
    }
    return write_bundle(directory, {"guest": kernel, "initrd": initrd}, merged(CONFIG, changes))


@pytest.mark.usefixtures("subreaper")
def test_exit_and_delete_with_a_network(namespace: str, tmp_path: Path) -> None:
    """What a network adds to both: no more than the commands that would remove it, in the same place.

    Nearly all of it is the kernel's wait, when a device goes, for what its processors have put off (rcu_barrier in
    netdev_run_todo), a grace period or two: those who take turns meet the same ones.
    """
    cache = build.default_cache()
    runtime = Runtime(PROGRAM, tmp_path)
    guests = {
        "with a network": sleeper(tmp_path / "with", build.station(cache), "1000000", namespace),
        "without": sleeper(tmp_path / "without", spt_build.build(cache)["wait"], "sleep", namespace),
    }
    rows: dict[str, list[float]] = {}
    remove = [f"tc -n {namespace} qdisc del dev eth0 ingress", f"ip -n {namespace} link del {TAP_NAME}"]
    turns = [("with a network", False), ("without", False), ("with a network", True)]
    for number in range(3 * ROUNDS):
        name, by_commands = turns[(number + number // 3) % 3]
        runtime.good("create", "--bundle", guests[name], "c")
        pid = int(runtime.state()["pid"])
        runtime.good("start", "c")
        os.kill(pid, signal.SIGKILL)
        rows.setdefault(f"exit, {name}", []).append(timed(exit_status, pid))
        if by_commands:
            rows.setdefault("ip, tc: removal", []).append(timed(run_script, remove))
            runtime.good("delete", "c")
        else:
            rows.setdefault(f"delete, {name}", []).append(timed(runtime.good, "delete", "c"))
    medians = report(rows)

    assert medians["delete, with a network"] - medians["delete, without"] <= 1.1 * medians["ip, tc: removal"]


def sleeper(directory: Path, guest: Path, argument: str, namespace: str) -> Path:
    """A bundle whose guest does not end by itself, joined to the namespace."""
    asked = {"unikernelType": "mirage", "hypervisor": "spt", "binary": "/guest"}
    kinds = ("pid", "ipc", "uts", "mount")
    changes = {
        "annotations": {f"com.urunc.unikernel.{key}": value for key, value in asked.items()},
        "process": {"args": [argument]},
        "linux": {
            "namespaces": [
                {"type": "network", "path": f"/run/netns/{namespace}"},
                *({"type": kind} for kind in kinds),
            ]
        },
    }
    return write_bundle(directory, {"guest": guest}, merged(CONFIG, changes))


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
