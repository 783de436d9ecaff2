"""Guests in network namespaces that a test has made: they answer at the container's address, and nothing is left.

The one rule: the test's own namespaces are the only place where anything is sent, made or removed.
"""

import fcntl
import json
import os
import random
import re
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.container import Runtime, exit_status, orphans, read, until
from tests.e2e.lan import (
    ADDRESS,
    FOR_EVER,
    GATEWAY,
    LINUX,
    LISTENS,
    MTU,
    NEEDS,
    SPT,
    TOLD,
    Lan,
    Make,
    everything,
    host,
    neighbour,
    pinged,
    refused,
    started,
    taps,
    witness,
)
from tests.e2e.spt_images import NET, abi, device, elf, manifest
from tests.fastpath.network_rig import add_interface, batch, descriptors, ip, tc
from tests.guests import build, spt_build

pytestmark = NEEDS

KILLS, RACES, LANES, LEAK_ROUNDS = 10, 8, 8, 200
SEED = int(os.environ.get("URUNC_TORTURE_SEED", "1"))
AGAIN_S = 2.0
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000  # include/uapi/linux/if_tun.h
REST = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]  # namespaces without that of the network


@pytest.fixture(autouse=True)
def _host_is_untouched() -> Iterator[None]:
    before = host()
    yield
    assert before == host()


# The spt guest that answers.


def test_a_guest_answers_at_the_containers_address(runtime: Runtime, lan: Lan, make: Make) -> None:
    """ARP and ping, by the container's MAC and with its MTU; after delete the namespaces are as before."""
    lan.usual()
    before = lan.state()
    pid, output = started(runtime, make("3"), LISTENS)

    found = witness(lan.inside)
    assert ["eth0", "lo", "tap0_urunc"] == sorted(found)
    assert (MTU, True) == (found["tap0_urunc"]["mtu"], found["tap0_urunc"]["up"])
    assert [found["eth0"]["index"]] == found["tap0_urunc"]["redirects"]
    assert [found["tap0_urunc"]["index"]] == found["eth0"]["redirects"]
    assert [] == found["tap0_urunc"]["addresses"]
    assert 3 == pinged(lan.outside, ADDRESS, 3)
    assert "02:00:00:00:09:02" == neighbour(lan.outside, ADDRESS)
    assert 0 == exit_status(pid)
    assert f"{TOLD}3\n{LISTENS}answered\n" == read(output)
    runtime.good("delete", "c")
    assert before == lan.state()


def test_a_guest_of_run_answers(runtime: Runtime, lan: Lan, make: Make) -> None:
    """`run` deletes the container; the largest frame goes through, too."""
    lan.usual()
    before = lan.state()
    output = runtime.directory / "foreground"
    with output.open("wb") as file:
        process = runtime.begin(runtime.words("run", "--bundle", make("2"), "c"), stdout=file, stderr=file)
    try:
        until(lambda: LISTENS in read(output), "the guest listens")
        assert 2 == pinged(lan.outside, ADDRESS, 2, size=MTU - 28)
        assert 0 == process.wait(120)
    finally:
        process.kill()
        process.wait()
    assert before == lan.state()


def test_a_guest_of_a_user_answers(runtime: Runtime, lan: Lan, make: Make) -> None:
    """The tap belongs to the container's user: the tender has no capability to open another one's."""
    lan.usual()
    started(runtime, make(FOR_EVER, process={"user": {"uid": 1234, "gid": 5678}}), LISTENS)

    assert 1 == pinged(lan.outside, ADDRESS)


def test_the_tender_has_a_node_for_its_tap_and_nothing_more(runtime: Runtime, lan: Lan, make: Make) -> None:
    lan.usual()
    pid, _ = started(runtime, make(FOR_EVER), LISTENS)
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")

    assert [b"--net:service=tap0_urunc", b"--net-mac:service=02:00:00:00:09:02"] == words[2:4]
    assert ["net", "null"] == sorted(os.listdir(f"/proc/{pid}/root/dev"))
    assert ["tun"] == os.listdir(f"/proc/{pid}/root/dev/net")
    assert re.search(r"^CapEff:\t0+$", read(Path(f"/proc/{pid}/status")), re.MULTILINE)


def test_a_device_can_be_named(runtime: Runtime, lan: Lan, make: Make) -> None:
    lan.usual()
    bundle = make(FOR_EVER, keys={**SPT, "solo5NetDev": "service"})
    started(runtime, bundle, LISTENS)
    assert 1 == pinged(lan.outside, ADDRESS)
    runtime.good("delete", "--force", "c")

    assert "other" in refused(runtime, lan, make("1", keys={**SPT, "solo5NetDev": "other"}))


def test_no_default_route_is_no_gateway(runtime: Runtime, lan: Lan, make: Make) -> None:
    lan.interface()
    _, output = started(runtime, make(FOR_EVER), LISTENS)

    assert f"told --ipv4={ADDRESS}/24 {FOR_EVER}\n" in read(output)
    assert 1 == pinged(lan.outside, ADDRESS)


def test_the_interface_may_have_any_name_and_prefix(runtime: Runtime, lan: Lan, make: Make) -> None:
    lan.interface("net7", "addr add 10.9.0.2/20 dev net7", "link set net7 address 02:00:00:00:09:02 up")
    _, output = started(runtime, make(FOR_EVER), LISTENS)

    assert f"told --ipv4={ADDRESS}/20 {FOR_EVER}\n" in read(output)
    assert 1 == pinged(lan.outside, ADDRESS)


def test_addresses_of_both_families(runtime: Runtime, lan: Lan, make: Make) -> None:
    """IPv4 is told (mirage.py); IPv6 to a guest of a container that has nothing else."""
    lan.usual()
    batch(lan.inside, ["addr add fd00:9::2/64 dev eth0 nodad"])
    _, output = started(runtime, make(FOR_EVER), LISTENS)
    assert TOLD in read(output)
    runtime.good("delete", "--force", "c")

    batch(lan.inside, ["addr del 10.9.0.2/24 dev eth0", "route add default via fd00:9::1"])
    _, output = started(runtime, make(FOR_EVER), LISTENS)
    assert f"told --ipv6=fd00:9::2/64 --ipv6-gateway=fd00:9::1 {FOR_EVER}\n" in read(output)


def test_a_guest_without_a_network_device_starts_without_one(
    runtime: Runtime, lan: Lan, make: Make, station: Path
) -> None:
    lan.usual()
    before = lan.state()
    hello = spt_build.build(build.default_cache())["hello"]
    runtime.create(make("x", guest=hello))
    assert before == lan.state()
    runtime.good("delete", "--force", "c")

    assert "hello: x\n" in runtime("run", "--bundle", make("x", guest=hello), "c").stdout
    assert before == lan.state()


def two_devices(directory: Path) -> Path:
    """A guest that ends with 9 as soon as its tender has attached two network devices."""
    path = directory / "two"
    path.write_bytes(elf(notes=(abi(), manifest(device(b"lan", NET), device(b"wan", NET)))))
    return path


def test_two_devices_of_a_guest(runtime: Runtime, lan: Lan, make: Make, tmp_path: Path) -> None:
    """The first has the default route's interface, which is not the first of the container."""
    lan.interface("eth0", number=1)
    lan.interface("eth1")
    batch(lan.inside, [f"route add default via {GATEWAY}"])
    before = lan.state()
    guest = two_devices(tmp_path)
    pid = runtime.create(make(guest=guest))
    found = witness(lan.inside)
    assert ["tap0_urunc", "tap1_urunc"] == taps(lan.inside)
    assert [found["eth1"]["index"]] == found["tap0_urunc"]["redirects"]
    assert [found["eth0"]["index"]] == found["tap1_urunc"]["redirects"]

    runtime.good("start", "c")

    assert 9 == exit_status(pid)
    runtime.good("delete", "c")
    assert before == lan.state()


def test_more_devices_than_interfaces(runtime: Runtime, lan: Lan, make: Make, tmp_path: Path) -> None:
    lan.usual()

    assert "network device wan" in refused(runtime, lan, make(guest=two_devices(tmp_path)))


def test_fewer_devices_than_interfaces(runtime: Runtime, lan: Lan, make: Make) -> None:
    """The guest has the main one; nothing happens to the other one."""
    lan.usual()
    lan.interface("eth1", number=1)
    lan.interface("eth2", number=2)
    started(runtime, make(FOR_EVER), LISTENS)

    assert ["tap0_urunc"] == taps(lan.inside)
    assert 1 == pinged(lan.outside, ADDRESS)
    assert ([], []) == (witness(lan.inside)["eth1"]["redirects"], witness(lan.inside)["eth2"]["redirects"])


# Networks that hooks make.

NETWORK_HOOK = """\
pid=$(sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p')
ip -n {outside} link add peer0 type veth peer name eth0 mtu {mtu} address 02:00:00:00:09:02 netns "$pid"
ip -n {outside} addr add {gateway}/24 dev peer0
ip -n {outside} link set peer0 up
nsenter -t "$pid" -n sh -c 'echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all'
nsenter -t "$pid" -n ip addr add {address}/24 dev eth0
nsenter -t "$pid" -n ip link set eth0 up
nsenter -t "$pid" -n ip route add default via {gateway}
"""


@pytest.mark.parametrize("stage", ["prestart", "createRuntime"])
def test_a_network_that_a_hook_makes(runtime: Runtime, lan: Lan, make: Make, stage: str) -> None:
    """As docker (prestart) and nerdctl (createRuntime) do: the namespace is the container's own and goes with it."""
    script = NETWORK_HOOK.format(outside=lan.outside, mtu=MTU, address=ADDRESS, gateway=GATEWAY)
    hook = {"path": "/bin/sh", "args": ["sh", "-ec", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
    before = lan.state()
    pid, output = started(runtime, make(FOR_EVER, join=None, hooks={stage: [hook]}), LISTENS)

    assert TOLD in read(output)
    assert 3 == pinged(lan.outside, ADDRESS, 3)
    runtime.good("kill", "c", "TERM")
    assert 143 == exit_status(pid)
    runtime.good("delete", "c")
    until(lambda: before == lan.state(), "the veth goes with the namespace")


def test_a_network_that_a_hook_has_not_finished(runtime: Runtime, lan: Lan, make: Make) -> None:
    """An interface that is down: create fails, and the namespace is gone with all that the hook made."""
    script = "".join(NETWORK_HOOK.splitlines(keepends=True)[:2]).format(outside=lan.outside, mtu=MTU)
    hook = {"path": "/bin/sh", "args": ["sh", "-ec", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
    before = lan.state()

    ended = runtime("create", "--bundle", make("1", join=None, hooks={"createRuntime": [hook]}), "c")

    assert 1 == ended.returncode
    assert "the interface is down eth0" in ended.stderr
    assert [] == runtime.remains()
    until(lambda: before == lan.state(), "the veth goes with the namespace")


# QEMU.


def test_qemu_has_a_descriptor_of_a_tap(runtime: Runtime, lan: Lan, make: Make, hello: Path) -> None:
    """And Linux is told by ip= what the kernel's own configuration takes, name servers too."""
    lan.usual()
    before = lan.state()
    bundle = make("/app", "echo", guest=hello, keys=LINUX)
    (bundle / "rootfs/etc").mkdir()
    (bundle / "rootfs/etc/resolv.conf").write_text("search lan\nnameserver 10.9.0.53\nnameserver fd00::53\n")
    pid, output = started(runtime, bundle, "init=/app -- echo")
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")

    assert "tap,id=net0,fd=3" in words
    assert f"virtio-net-pci,netdev=net0,mac=02:00:00:00:09:02,romfile=,host_mtu={MTU}" in words
    assert "/dev/net/tun" == os.readlink(f"/proc/{pid}/fd/3")
    assert "iff:\ttap0_urunc\n" in read(Path(f"/proc/{pid}/fdinfo/3"))
    assert ["tap0_urunc"] == taps(lan.inside)
    ip_word = f" ip={ADDRESS}::{GATEWAY}:255.255.255.0:guest:eth0:off:10.9.0.53 "
    assert ip_word in read(output)
    runtime.good("delete", "--force", "c")
    assert before == lan.state()


def test_qemu_with_several_interfaces(runtime: Runtime, lan: Lan, make: Make, hello: Path) -> None:
    """One that is down is not the guest's; Linux is told of the main one only."""
    lan.usual()
    lan.interface("eth1", number=1)
    lan.interface("eth2", "addr add 10.9.2.2/24 dev eth2", number=2)
    before = lan.state()
    pid, output = started(runtime, make("/app", "echo", guest=hello, keys=LINUX), "init=/app -- echo")
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")

    assert ["tap,id=net0,fd=3", "tap,id=net1,fd=4"] == [word for word in words if word.startswith("tap,")]
    assert ["02:00:00:00:09:02", "02:00:00:00:09:03"] == re.findall(r"mac=([^,]+),", ",".join(words))
    for number in (0, 1):
        assert f"iff:\ttap{number}_urunc\n" in read(Path(f"/proc/{pid}/fdinfo/{3 + number}"))
    assert f" ip={ADDRESS}::{GATEWAY}:" in read(output)
    found = witness(lan.inside)
    for number in (0, 1):
        assert [found[f"tap{number}_urunc"]["index"]] == found[f"eth{number}"]["redirects"]
    assert [] == found["eth2"]["redirects"]
    runtime.good("delete", "--force", "c")
    assert before == lan.state()


@pytest.mark.skipif(
    not Path("/dev/vhost-net").exists(), reason="/dev/vhost-net is missing: no kernel thread to serve a tap"
)
def test_qemu_has_the_kernel_serve_its_tap(runtime: Runtime, lan: Lan, make: Make, hello: Path) -> None:
    """Where KVM works as a whole: the guest's frames do not go through QEMU."""
    lan.usual()
    before = lan.state()
    pid, _ = started(runtime, make("/app", "echo", guest=hello, keys={**LINUX, "accelerator": "kvm"}), "init=/app")

    assert "/dev/vhost-net" == os.readlink(f"/proc/{pid}/fd/4")
    runtime.good("delete", "--force", "c")
    assert before == lan.state()


def test_qemu_without_a_default_route(runtime: Runtime, lan: Lan, make: Make, hello: Path) -> None:
    lan.interface()
    _, output = started(runtime, make("/app", "echo", guest=hello, keys=LINUX), "init=/app -- echo")

    assert f" ip={ADDRESS}:::255.255.255.0:guest:eth0:off " in read(output)


@pytest.mark.parametrize("join", ["own namespace", "joined namespace", "the host's namespace", "not wanted"])
def test_a_container_without_a_network(runtime: Runtime, lan: Lan, make: Make, hello: Path, join: str) -> None:
    """It boots without one; in the host's namespace, or beside a network, only if it says that it wants none."""
    if join == "not wanted":
        lan.usual()
    before = lan.state()
    bundle = make("/app", "echo", guest=hello, keys=LINUX, join=None if join == "own namespace" else "")
    if join == "the host's namespace":
        bundle = make("/app", "echo", guest=hello, keys={**LINUX, "network": "none"}, linux={"namespaces": REST})
    if join == "not wanted":
        bundle = make("/app", "echo", guest=hello, keys={**LINUX, "network": "none"})
    pid, output = started(runtime, bundle, "init=/app -- echo")

    assert b"\0-nic\0none\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert " ip=" not in read(output)
    assert before == lan.state()


@pytest.mark.parametrize("kind", ["spt", "qemu"])
@pytest.mark.parametrize("join", ["no namespace", "by path"])
def test_a_guest_in_the_hosts_namespace_is_refused(
    runtime: Runtime, lan: Lan, make: Make, kind: str, join: str
) -> None:
    """As `--network host` and hostNetwork ask for: nothing there is a guest's, and none boots silently without."""
    joined = [{"type": "network", "path": f"/proc/{os.getpid()}/ns/net"}] if join == "by path" else []
    changes = {"linux": {"namespaces": [*joined, *REST]}}
    hello = build.hello(build.default_cache())
    bundle = make("1", **changes) if kind == "spt" else make("/app", "echo", guest=hello, keys=LINUX, **changes)
    said = refused(runtime, lan, bundle)

    assert "host's network namespace (hostNetwork, --network host)" in said
    assert "com.urunc.unikernel.network=none" in said


def test_a_pods_annotations_count_for_an_image_that_says_what_it_is(
    runtime: Runtime, lan: Lan, make: Make, hello: Path
) -> None:
    """The image by urunc.json, the pod by the annotation: it wants no network."""
    lan.usual()
    bundle = make("/app", "echo", guest=hello, keys={"network": "none"})
    content = {f"com.urunc.unikernel.{key}": value for key, value in LINUX.items()}
    (bundle / "rootfs/urunc.json").write_text(json.dumps(content))
    pid, _ = started(runtime, bundle, "init=/app -- echo")

    assert b"\0-nic\0none\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert [] == taps(lan.inside)


# Networks that nobody can use: one line that names the interface, and nothing is left.


@pytest.mark.parametrize("kind", ["spt", "qemu"])
@pytest.mark.parametrize(
    "case",
    [
        ("addr add 10.9.0.2/24 dev eth0", "the interface is down eth0"),
        ("link set eth0 up", "the interface has no address eth0"),
        ("link set eth0 name net7", "the interface is down net7"),
    ],
)
def test_an_interface_that_cannot_be_used(
    runtime: Runtime, lan: Lan, make: Make, kind: str, case: tuple[str, str]
) -> None:
    command, said = case
    lan.interface("eth0", command)
    hello = build.hello(build.default_cache())
    bundle = make("1") if kind == "spt" else make("/app", "echo", guest=hello, keys=LINUX)

    assert said in refused(runtime, lan, bundle)


def test_two_candidates_without_a_default_route(runtime: Runtime, lan: Lan, make: Make) -> None:
    lan.interface()
    lan.interface("eth1", number=1)

    assert "several interfaces and no default route eth0, eth1" in refused(runtime, lan, make("1"))


def test_addresses_that_the_guest_cannot_use(runtime: Runtime, lan: Lan, make: Make, hello: Path) -> None:
    lan.interface("eth0", "addr add fd00:9::2/64 dev eth0 nodad", "link set eth0 up")

    assert "interface eth0 has IPv6 addresses only" in refused(
        runtime, lan, make("/app", "echo", guest=hello, keys=LINUX)
    )


@pytest.mark.parametrize("kind", ["clsact", "ingress"])
def test_filters_of_others_stay(runtime: Runtime, lan: Lan, make: Make, kind: str) -> None:
    lan.usual()
    tc(lan.inside, f"qdisc add dev eth0 {kind}")
    tc(lan.inside, "filter add dev eth0 ingress u32 match u32 0 0 action mirred egress mirror dev lo")
    rules = filters(lan.inside)

    assert "eth0" in refused(runtime, lan, make("1"))
    assert rules == filters(lan.inside)


def filters(namespace: str) -> str:
    shown = ["ip", "netns", "exec", namespace, "tc", "filter", "show", "dev", "eth0", "ingress"]
    return subprocess.run(shown, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("path", ["missing", "a file", "another type"])
def test_a_path_that_is_no_network_namespace(runtime: Runtime, lan: Lan, make: Make, tmp_path: Path, path: str) -> None:
    file = tmp_path / "file"
    file.touch()
    place = {"missing": "/run/netns/urt-missing", "a file": str(file), "another type": "/proc/self/ns/uts"}[path]
    namespaces = [{"type": "network", "path": place}, {"type": "pid"}, {"type": "mount"}, {"type": "uts"}]

    assert place in refused(runtime, lan, make("1", linux={"namespaces": namespaces}))


WITHOUT = {
    "tun": ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount -t tmpfs x /dev/net; exec "$@"', "sh"],
    "CAP_NET_ADMIN": ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"],
}


@pytest.mark.parametrize("kind", ["spt", "qemu"])
@pytest.mark.parametrize(
    ("missing", "said"),
    [("tun", "open /dev/net/tun: no such file or directory"), ("CAP_NET_ADMIN", "no CAP_NET_ADMIN in the network")],
)
def test_what_urunc_needs_to_make_a_network(  # noqa: PLR0917  three of them are the case
    runtime: Runtime, lan: Lan, make: Make, kind: str, missing: str, said: str
) -> None:
    """A guest that wants a network and cannot have it does not boot without; one that wants none does not care."""
    lan.usual()
    before = lan.state()
    hello = build.hello(build.default_cache())
    bundle = make("1") if kind == "spt" else make("/app", "echo", guest=hello, keys=LINUX)
    ended = runtime.run([*WITHOUT[missing], *runtime.words("create", "--bundle", bundle, "c")])

    assert (1, 1) == (ended.returncode, ended.stderr.count("\n")), ended.stderr
    assert said in ended.stderr
    assert before == lan.state()
    assert ("gone", []) == (runtime.status(), runtime.remains())


def test_a_tap_of_our_name_that_another_program_has(runtime: Runtime, lan: Lan, make: Make) -> None:
    """It goes on as it was; so does a device of that name which is no tap."""
    lan.usual()
    with descriptors(lan.inside) as (_, tun):
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tap0_urunc", IFF_TAP | IFF_NO_PI))
        assert "another program has a tap of our name tap0_urunc" in refused(runtime, lan, make("1"))
    lan.interface("tap0_urunc", "link set tap0_urunc up", number=5)

    assert "the tap exists already tap0_urunc" in refused(runtime, lan, make("1"))


def test_the_better_of_two_default_routes(runtime: Runtime, lan: Lan, make: Make) -> None:
    """The one with the lower metric, as the kernel has it."""
    lan.interface()
    lan.interface("eth1", number=1)
    batch(lan.inside, ["route add default via 10.9.0.1 metric 200", "route add default via 10.9.1.1 metric 100"])
    _, output = started(runtime, make(FOR_EVER), "attached 1\n")

    assert f"told --ipv4=10.9.1.2/24 --ipv4-gateway=10.9.1.1 {FOR_EVER}\n" in read(output)


def test_a_create_that_fails_behind_the_network_undoes_it(runtime: Runtime, lan: Lan, make: Make) -> None:
    """The pid file is the last thing that can fail; the hook is in between."""
    lan.usual()
    before = lan.state()
    assert 1 == runtime("create", "--bundle", make("1"), "--pid-file", "/nowhere/pid", "c").returncode
    assert before == lan.state()

    hook = {"path": "/bin/false"}
    assert 1 == runtime("create", "--bundle", make("1", hooks={"createContainer": [hook]}), "c").returncode
    assert before == lan.state()
    assert [] == runtime.remains()


# Nothing is left, whoever died when.


def test_killed_while_it_runs(runtime: Runtime, lan: Lan, make: Make) -> None:
    lan.usual()
    before = lan.state()
    pid, _ = started(runtime, make(FOR_EVER), LISTENS)
    os.kill(pid, signal.SIGKILL)
    assert 137 == exit_status(pid)
    runtime.good("delete", "c")

    assert before == lan.state()


def test_qemu_killed_while_it_runs(runtime: Runtime, lan: Lan, make: Make, hello: Path) -> None:
    lan.usual()
    before = lan.state()
    pid, _ = started(runtime, make("/app", "echo", guest=hello, keys=LINUX), "init=/app -- echo")
    os.kill(pid, signal.SIGKILL)
    assert 137 == exit_status(pid)
    runtime.good("delete", "c")

    assert before == lan.state()


def test_delete_force_alone(runtime: Runtime, lan: Lan, make: Make) -> None:
    """Of a container that runs, and of one that waits for its start."""
    lan.usual()
    before = lan.state()
    started(runtime, make(FOR_EVER), LISTENS)
    runtime.good("delete", "--force", "c")
    assert before == lan.state()

    runtime.create(make(FOR_EVER))
    assert ["tap0_urunc"] == taps(lan.inside)
    runtime.good("delete", "--force", "c")
    assert before == lan.state()


def test_a_create_killed_at_any_instant(runtime: Runtime, lan: Lan, make: Make) -> None:
    """Rounds are spread over the time of a create in an order that SEED repeats; a guest answers at the end."""
    lan.usual()
    before = lan.state()
    bundle = make(FOR_EVER)
    begin = time.monotonic()
    runtime.create(bundle)
    whole = time.monotonic() - begin
    runtime.good("delete", "--force", "c")
    chance = random.Random(SEED)
    for _ in range(KILLS):
        with (runtime.directory / "killed").open("wb") as output:
            process = runtime.begin(runtime.words("create", "--bundle", bundle, "c"), stdout=output, stderr=output)
            time.sleep(chance.uniform(whole / 4, whole))  # the instant itself is what is tried
            process.kill()
            process.wait()
        runtime.good("delete", "--force", "c")
        until(lambda: not orphans(), "the end of all processes of the container")

        assert before == lan.state()
    started(runtime, bundle, LISTENS)
    assert 1 == pinged(lan.outside, ADDRESS)


def test_a_create_killed_with_its_tap_made(runtime: Runtime, lan: Lan, make: Make, tmp_path: Path) -> None:
    """A createContainer hook runs behind the network: that is where create waits while it is killed."""
    lan.usual()
    before = lan.state()
    mark = tmp_path / "mark"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"touch {mark}; exec sleep 100"], "env": ["PATH=/bin:/usr/bin"]}
    with (runtime.directory / "killed").open("wb") as output:
        words = runtime.words("create", "--bundle", make("1", hooks={"createContainer": [hook]}), "c")
        process = runtime.begin(words, stdout=output, stderr=output)
        until(mark.exists, "the hook")
        process.kill()
        process.wait()
    assert ["tap0_urunc"] == taps(lan.inside)
    runtime.good("delete", "--force", "c")

    assert before == lan.state()


def test_what_a_container_left_is_replaced(runtime: Runtime, lan: Lan, make: Make) -> None:
    """One that has ended and was not deleted; deleting it later must not take the other one's network."""
    lan.usual()
    before = lan.state()
    pid, _ = started(runtime, make("1"), LISTENS, "first")
    assert 1 == pinged(lan.outside, ADDRESS)
    assert 0 == exit_status(pid)
    assert ["tap0_urunc"] == taps(lan.inside)

    started(runtime, make(FOR_EVER), LISTENS, "second")
    assert 1 == pinged(lan.outside, ADDRESS)
    during = lan.state()
    runtime.good("delete", "first")

    assert during == lan.state()
    assert 1 == pinged(lan.outside, ADDRESS)
    runtime.good("delete", "--force", "second")
    assert before == lan.state()


def test_a_second_guest_does_not_take_the_network_of_the_first(runtime: Runtime, lan: Lan, make: Make) -> None:
    """Namespaces that are shared are to come; until then the second is refused and the first goes on."""
    lan.usual()
    before = lan.state()
    started(runtime, make(FOR_EVER), LISTENS)
    during = lan.state()
    ended = runtime("create", "--bundle", make(FOR_EVER), "second")

    assert 1 == ended.returncode
    assert "eth0" in ended.stderr
    assert during == lan.state()
    assert 1 == pinged(lan.outside, ADDRESS)
    runtime.good("delete", "--force", "c")
    assert before == lan.state()


def test_creates_at_once_in_one_namespace(runtime: Runtime, lan: Lan, make: Make) -> None:
    """One of them may have the network, and has it whole, whatever the others undo."""
    lan.usual()
    before, bundle, names = lan.state(), make(FOR_EVER), [f"c{number}" for number in range(4)]
    for _ in range(RACES):
        with (runtime.directory / "races").open("wb") as output:
            creates = [
                runtime.begin(runtime.words("create", "--bundle", bundle, name), stdout=output, stderr=output)
                for name in names
            ]
            made = sum(process.wait(120) == 0 for process in creates)
        found = witness(lan.inside)
        for name in names:
            runtime.good("delete", "--force", name)

        assert made <= 1
        assert made == len([name for name in found if name.startswith("tap")]) == len(found["eth0"]["redirects"])
        assert before == lan.state()


def test_a_create_waits_for_whoever_changes_the_namespace(runtime: Runtime, lan: Lan, make: Make) -> None:
    """Whoever that is, and whatever its root: the lock is the namespace's own file."""
    lan.usual()
    with (runtime.directory / "waits").open("wb") as output, Path(f"/run/netns/{lan.inside}").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = runtime.begin(runtime.words("create", "--bundle", make(FOR_EVER), "c"), stdout=output, stderr=output)
        journal = runtime.root / "c" / "journal"
        until(lambda: journal.exists() and "process" in read(journal), "the container's process")
        assert [] == taps(lan.inside)
        assert process.poll() is None
        fcntl.flock(held, fcntl.LOCK_UN)
        assert 0 == process.wait(120)
    runtime.good("start", "c")

    assert 1 == pinged(lan.outside, ADDRESS)


def test_delete_when_the_namespace_is_another_one(runtime: Runtime, lan: Lan, make: Make) -> None:
    """A client may remove it first: nothing to undo is no error, and another one of that name is not touched."""
    lan.usual()
    pid, _ = started(runtime, make("1"), LISTENS)
    assert 1 == pinged(lan.outside, ADDRESS)
    assert 0 == exit_status(pid)
    number = Path(f"/run/netns/{lan.inside}").stat().st_ino
    ip("netns", "del", lan.inside)
    make_again(lan.inside, number)
    lan.usual()
    tc(lan.inside, "qdisc add dev eth0 ingress")
    batch(lan.inside, ["tuntap add dev tap0_urunc mode tap"])
    during = lan.state()

    runtime.good("delete", "c")

    assert during == lan.state()


def make_again(name: str, inode: int) -> None:
    """Make a namespace whose inode has the number of one that is gone: the kernel gives away the lowest that is free.

    If somebody else is quicker it is any other one.
    """
    path, held, end = Path(f"/run/netns/{name}"), [], time.monotonic() + AGAIN_S
    ip("netns", "add", name)
    while path.stat().st_ino != inode and time.monotonic() < end:
        held.append(os.open(path, os.O_RDONLY))  # its number is not free then
        ip("netns", "del", name)
        ip("netns", "add", name)
    for fd in held:
        os.close(fd)


def test_two_hundred_containers_leave_nothing(runtime: Runtime, lan: Lan, make: Make) -> None:
    """LANES at a time, each in a namespace of its own; every other one shares it, every other pair is started, some are
    killed before their delete.  Compared in every namespace involved: links, qdiscs, filters, tables."""
    lan.usual()
    others = [lan.namespace() for _ in range(LANES - 1)]
    for number, name in enumerate(others, 1):
        add_interface(name, lan.outside, "eth0", f"peer{number}", MTU)
        lines = [f"addr add 10.9.{number}.2/24 dev eth0", "link set eth0 up"]
        batch(name, [*lines, "route add default dev eth0"])
    lanes = [lan.inside, *others]
    before = [everything(name) for name in (*lanes, lan.outside)]
    alone = {name: make(FOR_EVER, join=name) for name in lanes}
    shared = {name: make(FOR_EVER, join=name, keys={**SPT, "network": "shared"}) for name in lanes}
    with (runtime.directory / "leaks").open("wb") as output:

        def together(lines: list[tuple[object, ...]]) -> None:
            begun = [runtime.begin(runtime.words(*line), stdout=output, stderr=output) for line in lines]
            assert [0] * len(lines) == [process.wait(120) for process in begun], read(runtime.directory / "leaks")

        for number in range(LEAK_ROUNDS // LANES):
            bundles = shared if number % 2 else alone
            together([("create", "--bundle", bundles[name], name) for name in lanes])
            if number % 4 >= 2:
                together([("start", name) for name in lanes])
            if number % 8 >= 6:
                together([("kill", name, "KILL") for name in lanes])
            together([("delete", "--force", name) for name in lanes])
            assert [[]] * LANES == [taps(name) for name in lanes]
    assert before == [everything(name) for name in (*lanes, lan.outside)]
    ours = [name for name in os.listdir("/run/netns") if name.startswith(f"urt{os.getpid()}e")]
    assert sorted(lan.made) == sorted(ours)
    assert [] == runtime.remains()
