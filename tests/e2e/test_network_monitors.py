"""Networks and disks of guests on Firecracker, Cloud Hypervisor and solo5-hvt, in containers, wherever those are.

KVM that runs simple guests only runs ours, which drive no device: what the monitor was given is asked of the kernel.
"""

import os
from pathlib import Path

import pytest
from tests.container import Runtime as Container
from tests.container import comm, read
from tests.e2e.lan import ADDRESS, GATEWAY, NEEDS, Lan, Make, pinged, started, taps
from tests.e2e.test_monitors import use, version_of
from tests.fastpath.network_rig import batch

pytestmark = NEEDS
MONITORS = ["firecracker", "cloud-hypervisor"]
DISK = bytes(1 << 20)


def keys(monitor: str, **more: str) -> dict[str, str]:
    return {"unikernelType": "linux", "hypervisor": monitor, "binary": "/guest", **more}


def monitor_of(pid: int) -> int:
    """The monitor itself, where the container's process is its companion."""
    children = read(Path(f"/proc/{pid}/task/{pid}/children")).split()
    return int(children[0]) if comm(pid) == "urunc:[3:watch]" else pid


def opened_taps(pid: int) -> list[str]:
    """The taps that a process has open, some of them more than once."""
    found = set()
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        found |= {line.split()[1] for line in read(entry).splitlines() if line.startswith("iff:")}
    return sorted(found)


@pytest.mark.parametrize("given", [(monitor, user) for monitor in MONITORS for user in (0, 1000)])
def test_a_guest_has_the_container_s_interface(
    runtime: Container, lan: Lan, make: Make, hello: Path, given: tuple[str, int]
) -> None:
    monitor, user = given
    version_of(monitor)
    use(runtime)
    lan.usual()
    before = lan.state()
    bundle = make("/app", "exit=halt", guest=hello, keys=keys(monitor), process={"user": {"uid": user, "gid": user}})
    pid, output = started(runtime, bundle, "exit=halt")

    assert ["tap0_urunc"] == taps(lan.inside) == opened_taps(monitor_of(pid))
    assert f" ip={ADDRESS}::{GATEWAY}:255.255.255.0:guest:eth0:off " in read(output)
    runtime.good("delete", "--force", "c")
    assert before == lan.state()


@pytest.mark.parametrize("monitor", MONITORS)
def test_a_guest_has_two_interfaces_and_three_disks(
    runtime: Container, lan: Lan, make: Make, hello: Path, monitor: str
) -> None:
    version_of(monitor)
    use(runtime)
    lan.usual()
    lan.interface("eth1", number=1)
    bundle = make("/app", "exit=halt", guest=hello, keys=keys(monitor, block="/one,/two,/three"))
    for name in ("one", "two", "three"):
        (bundle / "rootfs" / name).write_bytes(DISK)
    container, output = started(runtime, bundle, "exit=halt")
    pid = monitor_of(container)

    assert ["tap0_urunc", "tap1_urunc"] == opened_taps(pid)
    assert " root=/dev/vda rw " in read(output)
    disks = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    assert {f"/guest/disk{number}" for number in range(3)} <= disks


def test_a_solo5_guest_answers_on_hvt(runtime: Container, lan: Lan, make: Make) -> None:
    """Solo5's test_net, which has an address of its own and answers ARP and ping for it."""
    version_of("hvt")
    if "SOLO5_TESTS" not in os.environ:
        pytest.skip("no $SOLO5_TESTS, a directory with Solo5's built test guests")
    use(runtime)
    image = Path(os.environ["SOLO5_TESTS"]) / "test_net/test_net.hvt"
    with runtime.config.open("a") as config:  # its first word must be this: a kernel of the host's has words of its own
        config.write(f'[linux.kernels.net]\npath = "{image}"\ncmdline = "verbose"\n')
    lan.interface("eth0", "addr add 10.0.0.2/24 dev eth0", "link set eth0 up")
    batch(lan.outside, ["addr add 10.0.0.1/24 dev peer0"])
    before = lan.state()
    words = {"unikernelType": "mirage", "hypervisor": "hvt", "kernel": "net"}
    _, output = started(runtime, make("x", guest=image, keys=words), "Serving ping")

    assert 3 == pinged(lan.outside, "10.0.0.2", 3)
    assert 3 == read(output).count("Received ping")
    runtime.good("delete", "--force", "c")
    assert before == lan.state()
