"""A real Linux under emulation in the networks of a test: over IPv4 and IPv6, on several interfaces.

The one rule: what the guest says of itself proves nothing; its peers are asked.
"""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

import pytest
from tests.container import Runtime, read
from tests.e2e.lan import (
    ADDRESS,
    MTU,
    NEEDS,
    PAGE,
    Lan,
    Make,
    lines,
    neighbour,
    opened,
    page_of,
    pinged,
    pinged6,
    server,
    started,
    taps,
    witness,
)
from tests.fastpath.network_rig import batch
from tests.guests import build

pytestmark = NEEDS
SIOCETHTOOL, ETHTOOL_GTSO = 0x8946, 0x1E  # include/uapi/linux/{sockios,ethtool}.h
ADDRESS6, GATEWAY6 = "fd00:9::2", "fd00:9::1"


def test_a_linux_guest_answers_ping_and_http(runtime: Runtime, lan: Lan, make: Make) -> None:
    """With the container's address, MAC and MTU, and with frames as large as that; a megabyte comes through."""
    lan.usual()
    before = lan.state()
    _, output = started(runtime, server(make), "serving")

    assert f"eth0: {ADDRESS} 02:00:00:00:09:02 {MTU}" in lines(output)
    assert 3 == pinged(lan.outside, ADDRESS, 3)
    assert 1 == pinged(lan.outside, ADDRESS, 1, size=MTU - 28)
    assert "02:00:00:00:09:02" == neighbour(lan.outside, ADDRESS)
    assert PAGE == page_of(lan.outside, ADDRESS, "/index.html")
    assert build.BUSYBOX.read_bytes() == page_of(lan.outside, ADDRESS, "/bin/busybox")
    runtime.good("delete", "--force", "c")
    assert before == lan.state()


def has_segmentation_offload(namespace: str, device: str) -> bool:
    """Whether the device takes frames larger than its MTU, for a peer that says it can (ethtool(8), TSO)."""
    wanted = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_GTSO, 0))
    with opened(namespace, socket.AF_INET, socket.SOCK_DGRAM) as asked:
        fcntl.ioctl(asked, SIOCETHTOOL, struct.pack("16sP16x", device.encode(), ctypes.addressof(wanted)))
    return bool(struct.unpack("II", wanted.raw[:8])[1])


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a guest has no more processors than the host")
def test_a_linux_guest_with_two_processors_has_two_queues(runtime: Runtime, lan: Lan, make: Make) -> None:
    """Each with its descriptor; the guest has taken the offloads of the tap, which gives it large frames."""
    lan.usual()
    before = lan.state()
    resources = {"cpu": {"quota": 200_000, "period": 100_000}}
    pid, _ = started(runtime, server(make, linux={"resources": resources}), "serving")

    for fd in (3, 4):
        assert "iff:\ttap0_urunc\n" in read(Path(f"/proc/{pid}/fdinfo/{fd}"))
    assert has_segmentation_offload(lan.inside, "tap0_urunc")
    assert 1 == pinged(lan.outside, ADDRESS, 1, size=MTU - 28)
    for _ in range(4):  # each connection may take another queue
        assert build.BUSYBOX.read_bytes() == page_of(lan.outside, ADDRESS, "/bin/busybox")
    runtime.good("delete", "--force", "c")
    assert before == lan.state()


def test_a_linux_guest_answers_over_ipv6(runtime: Runtime, lan: Lan, make: Make) -> None:
    """Neighbour discovery, which is multicast, ping and HTTP; the kernel's `ip=` is IPv4 only: its init does the rest.

    The container's kernel has the address too, on an interface whose frames it never sees.
    """
    lan.usual()
    batch(lan.outside, [f"addr add {GATEWAY6}/64 dev peer0 nodad"])
    batch(lan.inside, [f"addr add {ADDRESS6}/64 dev eth0 nodad", f"route add default via {GATEWAY6}"])
    before = lan.state()
    _, output = started(runtime, server(make, f"IP6={ADDRESS6}/64,{GATEWAY6},eth0"), "serving")

    assert f"eth0: {ADDRESS6}/64" in lines(output)
    assert pinged6(lan.outside, ADDRESS6)
    assert pinged6(lan.outside, ADDRESS6, size=MTU - 48)
    assert "02:00:00:00:09:02" == neighbour(lan.outside, ADDRESS6)
    assert PAGE == page_of(lan.outside, ADDRESS6, "/index.html")
    assert 1 == pinged(lan.outside, ADDRESS)
    runtime.good("delete", "--force", "c")
    assert before == lan.state()


def test_a_linux_guest_answers_on_each_interface(runtime: Runtime, lan: Lan, make: Make) -> None:
    """Each by its own tap, with its own MAC."""
    lan.usual()
    lan.interface("eth1", number=1)
    before = lan.state()
    _, output = started(runtime, server(make, "IP4=10.9.1.2/24,,eth1"), "serving")
    found = witness(lan.inside)

    assert "eth1: 10.9.1.2/24" in lines(output)
    assert ["tap0_urunc", "tap1_urunc"] == taps(lan.inside)
    assert [found["tap1_urunc"]["index"]] == found["eth1"]["redirects"]
    for number, mac in enumerate(("02:00:00:00:09:02", "02:00:00:00:09:03")):
        assert 1 == pinged(lan.outside, f"10.9.{number}.2")
        assert mac == neighbour(lan.outside, f"10.9.{number}.2")
        assert PAGE == page_of(lan.outside, f"10.9.{number}.2", "/index.html")
    runtime.good("delete", "--force", "c")
    assert before == lan.state()


def test_a_linux_guest_on_microvm(runtime: Runtime, lan: Lan, make: Make) -> None:
    """Devices on virtio-mmio, found through ACPI; its clock needs no calibration, which hangs on a busy machine."""
    lan.usual()
    pid, _ = started(runtime, server(make, keys={"machine": "microvm"}), "serving")
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")

    assert "microvm,accel=tcg,acpi=on" in words
    assert 1 == pinged(lan.outside, ADDRESS, size=MTU - 28)
    assert PAGE == page_of(lan.outside, ADDRESS, "/index.html")
