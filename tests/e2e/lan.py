"""Network namespaces that tests of guests make, and who asks the guests there.  Fixtures: see conftest.

The one rule: the test's own namespaces are the only place where anything is sent, made or removed.
"""

import itertools
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute
from pyroute2.nftables.main import NFTables
from tests.container import CONFIG, Runtime, merged, read, until, write_bundle
from tests.fastpath.network_rig import add_interface, batch, ip, run_inside, without_link_addresses
from tests.fastpath.network_rig import witness as witness_of
from tests.guests import build

NEEDS = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces"),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="/dev/net/tun is missing"),
]
SPT = {"unikernelType": "mirage", "hypervisor": "spt", "binary": "/guest"}
LINUX = {"unikernelType": "linux", "hypervisor": "qemu", "binary": "/guest", "accelerator": "tcg"}
ADDRESS, GATEWAY, MTU = "10.9.0.2", "10.9.0.1", 1400
TOLD = f"told --ipv4={ADDRESS}/24 --ipv4-gateway={GATEWAY} "
LISTENS = f"mtu {MTU}\nfirst byte of the address 2\nattached 1\n"
FOR_EVER = "1000000"  # pings
ANSWER_S = 30.0  # of a busy machine
NUMBERS = itertools.count()


class Lan:
    """A namespace for containers, `inside`, and one for their peers, `outside`; a veth between them for each interface.

    The kernel of `inside` has the guest's address too; it answers no ping, so that only a guest can.
    """

    def __init__(self) -> None:
        self.made: list[str] = []
        self.outside = self.namespace()
        self.inside = self.namespace()
        mute(self.inside)

    def namespace(self) -> str:
        name = f"urt{os.getpid()}e{next(NUMBERS)}"
        ip("netns", "add", name)
        self.made.append(name)
        return name

    def interface(self, name: str = "eth0", *commands: str, number: int = 0, mtu: int = MTU) -> None:
        """Add an interface as `commands` of ip say; without any it is up with 10.9.`number`.2, its peer's is .1."""
        add_interface(self.inside, self.outside, name, f"peer{number}", mtu)
        batch(self.outside, [f"addr add 10.9.{number}.1/24 dev peer{number}"])
        mac = f"02:00:00:00:09:{number + 2:02x}"
        up = [f"link set {name} address {mac}", f"addr add 10.9.{number}.2/24 dev {name}", f"link set {name} up"]
        batch(self.inside, list(commands) if commands else up)

    def usual(self) -> None:
        """Add eth0 with ADDRESS and a default route by GATEWAY, its peer's."""
        self.interface()
        batch(self.inside, [f"route add default via {GATEWAY}"])

    def state(self) -> tuple[Any, Any]:
        """What pyroute2 sees on both sides."""
        return witness(self.inside), witness(self.outside)

    def remove(self) -> None:
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def lan() -> Iterator[Lan]:
    made = Lan()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def runtime(lan: Lan, urunc: Runtime) -> Runtime:
    """A runtime whose containers are gone before the namespaces are."""
    return urunc


@pytest.fixture(scope="session")
def station() -> Path:
    return build.station(build.default_cache())


Make = Callable[..., Path]


@pytest.fixture
def make(lan: Lan, tmp_path: Path, station: Path) -> Make:
    """Makes bundles of containers that join `lan.inside`: the station that answers pings, unless told otherwise."""

    def bundle(
        *args: str, guest: Path = station, keys: dict[str, str] | None = None, join: str | None = "", **changes: Any
    ) -> Path:
        annotations = {f"com.urunc.unikernel.{key}": value for key, value in (SPT if keys is None else keys).items()}
        network = {"type": "network"} | ({} if join is None else {"path": f"/run/netns/{join or lan.inside}"})
        namespaces = [network, *({"type": kind} for kind in ("pid", "ipc", "uts", "mount"))]
        config = merged(
            CONFIG,
            {"annotations": annotations, "process": {"args": list(args)}, "linux": {"namespaces": namespaces}},
        )
        return write_bundle(tmp_path / f"b{next(NUMBERS)}", {"guest": guest}, merged(config, changes))

    return bundle


def mute(namespace: str) -> None:
    run_inside(namespace, lambda: (Path("/proc/sys/net/ipv4/icmp_echo_ignore_all").write_text("1"), []))


def witness(namespace: str) -> dict[str, Any]:
    return without_link_addresses(witness_of(namespace))


def tables(namespace: str) -> list[str]:
    """The nftables tables of the namespace, as pyroute2 sees them."""

    def make() -> tuple[list[str], list[int]]:
        with NFTables(nfgen_family=2) as nft:
            return sorted(table.get_attr("NFTA_TABLE_NAME") for table in nft.get_tables()), []

    return list(run_inside(namespace, make)[0])


def everything(namespace: str) -> tuple[Any, ...]:
    """All that a guest's network could leave in the namespace."""
    return witness(namespace), tables(namespace)


def host() -> dict[str, Any]:
    """What a runtime could have made in the namespace that the tests run in; the rest is whoever's on the machine."""
    with IPRoute() as route:
        ours = sorted(name for link in route.get_links() if (name := link.get("ifname")).startswith("tap"))
        qdiscs = sorted(one["index"] for one in route.get_qdiscs() if one.get("kind") in {"ingress", "clsact"})
        return {"taps": [name for name in ours if name.endswith("_urunc")], "qdiscs": qdiscs}


def opened(namespace: str, *kind: int) -> socket.socket:
    """A socket of the namespace."""
    _, [fd] = run_inside(namespace, lambda: (None, [socket.socket(*kind).detach()]))
    return socket.socket(fileno=fd)


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    folded: int = total + (total >> 16)
    return ~folded & 0xFFFF


def pinged(namespace: str, address: str, count: int = 1, size: int = 32, within_s: float = ANSWER_S) -> int:
    """How many of `count` echo requests, one after the other, the namespace's kernel hears a right answer to."""
    answered = 0
    with opened(namespace, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        for sequence in range(count):
            payload = os.urandom(size)
            head = struct.pack("!BBHHH", 8, 0, 0, 0x5EED, sequence)
            request = struct.pack("!BBHHH", 8, 0, checksum(head + payload), 0x5EED, sequence) + payload
            icmp.sendto(request, (address, 0))
            end = time.monotonic() + within_s
            while (left := end - time.monotonic()) > 0:
                icmp.settimeout(left)
                try:
                    packet = icmp.recv(1 << 16)[20:]
                except TimeoutError:
                    break
                if packet[0] == 0 and packet[4:] == request[4:] and checksum(packet) == 0:
                    answered += 1
                    break
    return answered


def pinged6(namespace: str, address: str, size: int = 32) -> bool:
    """Whether the namespace's kernel hears a right answer to one of ICMPv6 echo requests sent once a second."""
    with opened(namespace, socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as icmp:
        request = struct.pack("!BBHHH", 128, 0, 0, 0x5EED, 1) + os.urandom(size)  # the kernel makes the checksum
        end = time.monotonic() + ANSWER_S
        while time.monotonic() < end:
            icmp.sendto(request, (address, 0))
            second = time.monotonic() + 1.0
            while (left := second - time.monotonic()) > 0:
                icmp.settimeout(left)
                try:
                    packet = icmp.recv(1 << 16)
                except OSError:
                    break  # nothing, or unreachable as long as the guest looks for others with its address
                if packet[0] == 129 and packet[4:] == request[4:]:
                    return True
    return False


def neighbour(namespace: str, address: str) -> str:
    """The MAC that the namespace has learnt for an address."""
    command = ["ip", "-n", namespace, "neigh", "show", address]
    found = re.search(r"lladdr (\S+)", subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found[1] if found else ""


def started(runtime: Runtime, bundle: Path, line: str, name: str = "c") -> tuple[int, Path]:
    """Create and start a container; return its pid and its output as soon as that has `line`."""
    runtime.good("create", "--bundle", bundle, name)
    output, pid = runtime.output, int(runtime.state(name)["pid"])
    runtime.good("start", name)
    until(lambda: line in read(output), f"{name} says {line!r}")
    return pid, output


def refused(runtime: Runtime, lan: Lan, bundle: Path) -> str:
    """The one line of a create that fails; nothing has changed anywhere."""
    before = lan.state()
    ended = runtime("create", "--bundle", bundle, "c")

    assert (1, "", 1) == (ended.returncode, ended.stdout, ended.stderr.count("\n")), ended.stderr
    assert "gone" == runtime.status()
    assert [] == runtime.remains()
    assert before == lan.state()
    return ended.stderr


def taps(namespace: str) -> list[str]:
    return sorted(name for name in witness(namespace) if name.startswith("tap"))


def page_of(namespace: str, address: str, path: str, port: int = 80) -> bytes:
    """What a web server of the address gives to a client in the namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with opened(namespace, family, socket.SOCK_STREAM) as client:
        client.settimeout(ANSWER_S)
        client.connect((address, port))
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        with client.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.. 200 ", head), head
    return body


PAGE = b"served by a unikernel\n"


def server(make: Make, *env: str, **changes: Any) -> Path:
    """A bundle of a Linux that serves PAGE and its files."""
    kernel, initrd = build.linux_net(build.default_cache())
    keys = {**LINUX, "initrd": "/initrd", **changes.pop("keys", {})}
    page = PAGE.decode().strip()
    bundle = make("/init", "serve", page, guest=kernel, keys=keys, **merged({"process": {"env": list(env)}}, changes))
    shutil.copy(initrd, bundle / "rootfs/initrd")
    return bundle


def lines(output: Path) -> list[str]:
    return read(output).replace("\r", "").splitlines()
