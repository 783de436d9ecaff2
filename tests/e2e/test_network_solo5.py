"""Solo5 guests with a network in containers, under the tenders that are in no package registry: solo5-spt, solo5-hvt.

Without them on PATH these tests are skipped, each with the reason.  With $SOLO5_TESTS, a directory with Solo5's built
test guests, its network tests run in containers, too, under urunc-spt as well.
"""

import os
import re
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from tests.container import Runtime, exit_status, read, until
from tests.e2e.lan import ADDRESS, LISTENS, MTU, NEEDS, TOLD, Lan, Make, checksum, neighbour, opened, pinged, started
from tests.fastpath.network_rig import batch
from tests.guests import build, hvt_build

from urunc import kvm

pytestmark = NEEDS

HVT = {"unikernelType": "mirage", "hypervisor": "hvt", "binary": "/guest"}
SECTOR = b"what the disk says".ljust(512, b"\0")
# Solo5's guests answer a fixed address, and want one word of a command line that begins with what MirageOS is told
SOLO5_ADDRESSES = ("10.0.0", "10.1.0")
LIMIT, OPTION = b"\x3c\x6c", b"\x3c\x2d"  # cmp $'l', %al, and the same of '-'
FLOOD_S, BURST = 240.0, 128
LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT
ENOUGH = 500  # answers of a guest under nested KVM, which gives some hundred in a second


def use(runtime: Runtime, tender: str) -> str:
    """Have the configuration name the tender, which the runtime does not find by itself; return its --version."""
    found = os.environ.get("SOLO5_SPT") if tender == "solo5-spt" else None
    found = found or shutil.which(tender)
    if not found:
        pytest.skip(f"{tender} is not on PATH: IT IS NOT TESTED WITH A NETWORK")
    if tender == "solo5-hvt" and kvm.level() == "none":
        pytest.skip(f"/dev/kvm does not work here: {tender} IS NOT TESTED WITH A NETWORK")
    runtime.config.write_text(f'[monitors.{tender.removeprefix("solo5-")}]\npath = "{found}"\n')
    ended = subprocess.run((found, "--version"), capture_output=True, text=True, check=True)
    return ended.stdout + ended.stderr


@pytest.fixture
def hvt_guests(runtime: Runtime) -> dict[str, Path]:
    (version,) = re.findall(r"ABI version (\d+)", use(runtime, "solo5-hvt"))
    return hvt_build.guests(build.default_cache(), int(version))


def test_solo5_spt_answers_at_the_containers_address(runtime: Runtime, lan: Lan, make: Make) -> None:
    """As under our own tender; after delete the namespaces are as before."""
    use(runtime, "solo5-spt")
    lan.usual()
    before = lan.state()
    pid, output = started(runtime, make("3"), LISTENS)

    assert 3 == pinged(lan.outside, ADDRESS, 3)
    assert "02:00:00:00:09:02" == neighbour(lan.outside, ADDRESS)
    assert 0 == exit_status(pid)
    assert f"{TOLD}3\n{LISTENS}answered\n" in read(output)  # the tender says which it is before
    runtime.good("delete", "c")
    assert before == lan.state()


def test_solo5_hvt_answers_at_the_containers_address(
    runtime: Runtime, lan: Lan, make: Make, hvt_guests: dict[str, Path]
) -> None:
    """By the container's MAC, the largest frame too; after delete the namespaces are as before."""
    lan.usual()
    before = lan.state()
    pid, output = started(runtime, make(ADDRESS, "4", guest=hvt_guests["net"], keys=HVT), "listens\n")

    assert f"{TOLD}{ADDRESS} 4\n" in read(output)
    assert 3 == pinged(lan.outside, ADDRESS, 3)
    assert 1 == pinged(lan.outside, ADDRESS, size=MTU - 28)
    assert "02:00:00:00:09:02" == neighbour(lan.outside, ADDRESS)
    assert 0 == exit_status(pid)
    assert "answered" in read(output).splitlines()
    runtime.good("delete", "c")
    assert before == lan.state()


def test_solo5_hvt_has_network_and_disks(runtime: Runtime, lan: Lan, make: Make, hvt_guests: dict[str, Path]) -> None:
    """A guest that declares both, and copies from disk to disk before it answers."""
    lan.usual()
    keys = {**HVT, "block": "/source,/target", "solo5BlkDev": "source"}
    bundle = make(ADDRESS, "2", guest=hvt_guests["both"], keys=keys)
    (bundle / "rootfs/source").write_bytes(SECTOR + bytes(512))
    (bundle / "rootfs/target").write_bytes(bytes(1024))
    pid, output = started(runtime, bundle, "listens\n")

    assert 2 == pinged(lan.outside, ADDRESS, 2)
    assert 0 == exit_status(pid)
    assert "read: what the disk says" in read(output).splitlines()
    assert bytes(512) + SECTOR == (bundle / "rootfs/target").read_bytes()
    runtime.good("delete", "c")


# Solo5's own guests.


def solo5_guest(name: str, tender: str, directory: Path) -> Path:
    """A copy of the guest that takes a command line of options for its word `limit`: it ends after 100,000 pings."""
    if "SOLO5_TESTS" not in os.environ:
        pytest.skip("no $SOLO5_TESTS, a directory with Solo5's built test guests")
    image = (Path(os.environ["SOLO5_TESTS"]) / name / f"{name}.{tender}").read_bytes()
    if image.count(LIMIT) != 1:
        pytest.skip(f"{name}.{tender} was compiled in another way: its command line cannot be changed")
    copy = directory / name
    copy.write_bytes(image.replace(LIMIT, OPTION))
    return copy


def flood(lan: Lan, addresses: tuple[str, ...], pid: int, enough: int) -> int:
    """Send pings by turns until so many are answered or the process has ended; return how many were.

    Some are lost: the guest is slower than we are.
    """
    payload = b"\xde\xad\xbe\xef" * 14
    head = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    request = struct.pack("!BBHHH", 8, 0, checksum(head + payload), 1, 1) + payload
    deadline, answered = time.monotonic() + FLOOD_S, 0
    with opened(lan.outside, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        icmp.settimeout(0.1)
        while time.monotonic() < deadline and answered < enough and os.waitid(os.P_PID, pid, LOOK) is None:
            try:
                for sent in range(BURST):
                    icmp.sendto(request, (addresses[sent % len(addresses)], 0))
                for _ in range(BURST):
                    answered += icmp.recv(2048)[20] == 0
            except TimeoutError:
                continue
    return answered


def join_networks(lan: Lan, networks: tuple[str, ...]) -> None:
    """An interface for each, with the address of Solo5's guest, and a default route by the first."""
    for number, network in enumerate(networks):
        link = f"eth{number}"
        lan.interface(link, f"addr add {network}.2/24 dev {link}", f"link set {link} up", number=number)
        batch(lan.outside, [f"addr add {network}.1/24 dev peer{number}"])
    batch(lan.inside, [f"route add default via {networks[0]}.1"])


@pytest.mark.parametrize("tender", ["urunc-spt", "solo5-spt", "solo5-hvt"])
@pytest.mark.parametrize("networks", [SOLO5_ADDRESSES[:1], SOLO5_ADDRESSES], ids=["test_net", "test_net_2if"])
def test_solo5_network_guest_answers_on_every_interface(  # noqa: PLR0917  # fixtures
    runtime: Runtime, lan: Lan, make: Make, tmp_path: Path, networks: tuple[str, ...], tender: str
) -> None:
    """What is left of them is nothing.  Under spt it goes on to the guest's own end, which it calls a success."""
    kind = tender.partition("-")[2]
    guest = solo5_guest("test_net_2if" if len(networks) > 1 else "test_net", kind, tmp_path)
    if tender != "urunc-spt":
        use(runtime, tender)
    join_networks(lan, networks)
    before = lan.state()
    pid, output = started(runtime, make("x", guest=guest, keys={**HVT, "hypervisor": kind}), "Serving ping on")

    for network in networks:  # each by itself first
        assert flood(lan, (f"{network}.2",), pid, 1)
    answered = flood(lan, tuple(f"{network}.2" for network in networks), pid, ENOUGH if kind == "hvt" else 1 << 30)
    if kind == "hvt":
        assert answered >= ENOUGH
        runtime.good("kill", "c", "TERM")
        assert 1 == exit_status(pid)  # the tender catches it, and says so
    else:
        until(lambda: "SUCCESS" in read(output), "the guest has answered as many as it wants")
        assert 0 == exit_status(pid)
    runtime.good("delete", "c")
    assert before == lan.state()
