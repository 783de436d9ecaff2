"""Networks that come between create and start, as `ctr run --cni` and Docker 28 make them."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.container import Runtime, exit_status, read, until
from tests.e2e.conftest import Guests
from tests.e2e.containerd import Containerd, wait_until
from tests.e2e.lan import (
    ADDRESS,
    FOR_EVER,
    GATEWAY,
    LINUX,
    LISTENS,
    MTU,
    NEEDS,
    PAGE,
    SPT,
    TOLD,
    Lan,
    Make,
    host,
    page_of,
    pinged,
    server,
)
from tests.fastpath.network_rig import batch, witness

from urunc.pack import File, pack

pytestmark = NEEDS
CNI_PLUGINS = next((path for path in ("/usr/lib/cni", "/opt/cni/bin") if Path(path, "bridge").exists()), "")


@pytest.fixture(autouse=True)
def _host_is_untouched() -> Iterator[None]:
    before = host()
    yield
    assert before == host()


def created(runtime: Runtime, bundle: Path) -> tuple[int, Path]:
    """Create a container; its pid and its output."""
    runtime.good("create", "--bundle", bundle, "c")
    output = runtime.output
    return int(runtime.state()["pid"]), output


def connected(lan: Lan, pid: int) -> None:
    """Give the process's network namespace eth0 with ADDRESS, whose peer is outside; its kernel answers no ping."""
    peer = f"peer0 type veth peer name eth0 mtu {MTU} address 02:00:00:00:09:02 netns {pid}"
    batch(lan.outside, [f"link add {peer}", f"addr add {GATEWAY}/24 dev peer0", "link set peer0 up"])
    lines = [f"addr add {ADDRESS}/24 dev eth0", "link set eth0 up", f"route add default via {GATEWAY}"]
    inside = ["nsenter", "-t", str(pid), "-n"]
    subprocess.run([*inside, "ip", "-batch", "-"], input="\n".join(lines), check=True, text=True)
    mute = "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all"
    subprocess.run([*inside, "sh", "-c", mute], check=True)


def links(pid: int) -> list[str]:
    shown = ["nsenter", "-t", str(pid), "-n", "ip", "-j", "link", "show"]
    return sorted(link["ifname"] for link in json.loads(subprocess.run(shown, capture_output=True, check=True).stdout))


def test_a_network_that_comes_after_create(runtime: Runtime, lan: Lan, make: Make) -> None:
    """The guest declares a device, so create trusts that there will be a network; nothing is left of it."""
    before = lan.state()
    pid, output = created(runtime, make(FOR_EVER, join=None))
    connected(lan, pid)
    runtime.good("start", "c")
    until(lambda: LISTENS in read(output), "the guest listens")

    assert TOLD in read(output)
    assert 3 == pinged(lan.outside, ADDRESS, 3)
    assert {"eth0", "tap0_urunc"} <= set(links(pid))
    runtime.good("kill", "c", "TERM")
    assert 143 == exit_status(pid)
    runtime.good("delete", "c")
    until(lambda: before == lan.state(), "the veth goes with the namespace")
    assert [] == runtime.remains()


def test_a_network_that_comes_into_a_joined_namespace(runtime: Runtime, lan: Lan, make: Make) -> None:
    """It outlives the container: what start has made there is noted as what create makes is."""
    pid, output = created(runtime, make(FOR_EVER))
    lan.usual()
    before = lan.state()
    runtime.good("start", "c")
    until(lambda: LISTENS in read(output), "the guest listens")

    assert 1 == pinged(lan.outside, ADDRESS)
    os.kill(pid, 9)
    assert 137 == exit_status(pid)
    runtime.good("delete", "c")
    assert before == lan.state()


def test_a_guest_that_needs_a_network_does_not_start_without(runtime: Runtime, lan: Lan, make: Make) -> None:
    """It goes on waiting, and starts when there is one; of a start that was killed nothing is in its way."""
    pid, output = created(runtime, make(FOR_EVER, join=None))
    ended = runtime("start", "c")
    assert (1, "created") == (ended.returncode, runtime.status())
    assert "the guest declares network device service, the container has no interface for it" in ended.stderr

    connected(lan, pid)
    tap = ["tuntap add dev tap0_urunc mode tap", f"link set tap0_urunc alias 'urunc {pid} {start_time(pid)}'"]
    subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-batch", "-"], input="\n".join(tap), check=True, text=True)
    runtime.good("start", "c")
    until(lambda: LISTENS in read(output), "the guest listens")

    assert 1 == pinged(lan.outside, ADDRESS)
    assert ["tap0_urunc"] == [name for name in links(pid) if name.startswith("tap")]


def start_time(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_an_interface_that_cannot_be_used_is_named_by_start(
    runtime: Runtime, lan: Lan, make: Make, hello: Path
) -> None:
    runtime.create(make("/app", "echo", guest=hello, keys=LINUX))
    lan.interface("eth0", "addr add 10.9.0.2/24 dev eth0")
    before = lan.state()
    ended = runtime("start", "c")

    assert 1 == ended.returncode
    assert "the interface is down eth0" in ended.stderr
    assert ("created", before) == (runtime.status(), lan.state())


def test_a_config_that_has_changed_is_not_taken(runtime: Runtime, lan: Lan, make: Make) -> None:
    """What start reads again has to be what create has read."""
    bundle = make(FOR_EVER)
    runtime.create(bundle)
    lan.usual()
    before = lan.state()
    later = (runtime.root / "c/start.sock").stat().st_mtime_ns + 1
    os.utime(bundle / "config.json", ns=(later, later))
    ended = runtime("start", "c")

    assert 1 == ended.returncode
    assert "config.json has changed since create" in ended.stderr
    assert before == lan.state()


@pytest.mark.parametrize("keys", [{}, {"network": "shared", "ports": "80"}])
def test_a_linux_guest_is_told_of_a_late_network(runtime: Runtime, lan: Lan, make: Make, keys: dict[str, str]) -> None:
    """Alone or shared, it serves a page; its command line and its devices are those of a network from the beginning."""
    _, output = created(runtime, server(make, keys=keys))
    lan.usual()
    batch(lan.inside, ["link set lo up"])
    runtime.good("start", "c")
    until(lambda: "serving" in read(output), "the guest serves")

    assert PAGE == page_of(lan.outside, ADDRESS, "/index.html")


@pytest.mark.skipif(not CNI_PLUGINS, reason="the CNI plugins are not installed")
def test_ctr_run_cni(containerd: Containerd, guests: Guests, station: Path, lan: Lan, tmp_path: Path) -> None:
    """ctr sets up the bridge of CNI between create and start, here in a namespace of the test's."""
    full = "docker.io/library/station:latest"
    pack(tmp_path / "image.tar", full, [File(source=str(station), path="/guest")], SPT, [FOR_EVER], [])
    containerd.import_image(tmp_path / "image.tar")
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "mtu": MTU}
    bridge["ipam"] = {
        "type": "host-local",
        "dataDir": str(tmp_path / "ipam"),
        "ranges": [[{"subnet": "10.9.0.0/24", "rangeStart": ADDRESS, "rangeEnd": ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    conflist = {"cniVersion": "0.4.0", "name": "urunc", "plugins": [bridge]}
    (tmp_path / "10-urunc.conflist").write_text(json.dumps(conflist))
    name = f"urunc-cni-{os.getpid()}"
    log = containerd.directory / f"{name}.log"
    run = ("run", "--cni", "--detach", "--log-uri", f"file://{log}", "--runtime", "io.containerd.urunc.v2", full, name)
    containerd.ctr(*run, where=with_cni(lan.outside, tmp_path))
    try:
        wait_until(lambda: log.exists() and "attached 1" in log.read_text(), "the guest listens")

        assert f"told --ipv4={ADDRESS}/24 --ipv4-gateway={GATEWAY} {FOR_EVER}" in log.read_text()
        assert 1 == pinged(lan.outside, ADDRESS)
        assert "cni0" in witness(lan.outside)
    finally:
        containerd.ctr("task", "delete", "--force", name, check=False)
        containerd.ctr("container", "delete", name, check=False)
    wait_until(lambda: not containerd.left_of(name), f"nothing is left of {name}")


def with_cni(namespace: str, directory: Path) -> list[str]:
    """Words before a command that finds the configuration in `directory`, and the plugins, where ctr looks for them.

    Its mounts are its own: those places need not be there, and are not touched.
    """
    script = (
        "mount -t tmpfs cni /opt; mkdir -p /opt/cni; mount -t tmpfs cni /etc; mkdir -p /etc/cni/net.d; "
        'cp -r "$1" /opt/cni/bin; cp "$2" /etc/cni/net.d; shift 2; exec "$@"'
    )
    return [
        *("nsenter", f"--net=/run/netns/{namespace}", "unshare", "--mount", "--propagation", "private"),
        *("sh", "-ec", script, "sh", CNI_PLUGINS, str(directory / "10-urunc.conflist")),
    ]
