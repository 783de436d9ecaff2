"""Guests that share the network namespace of a pod: with side-cars, with each other, as Knative has it.

The one rule: whatever is not the guests' goes on as it was.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.container import Runtime, exit_status, read
from tests.e2e.lan import (
    ADDRESS,
    FOR_EVER,
    GATEWAY,
    LINUX,
    LISTENS,
    NEEDS,
    PAGE,
    SPT,
    Lan,
    Make,
    host,
    lines,
    opened,
    page_of,
    pinged,
    refused,
    server,
    started,
    tables,
    taps,
    witness,
)
from tests.fastpath.network_rig import batch

pytestmark = NEEDS
SHARED = {**SPT, "network": "shared"}
KNATIVE = {"io.kubernetes.cri.container-name": "user-container"}


@pytest.fixture(autouse=True)
def _host_is_untouched() -> Iterator[None]:
    before = host()
    yield
    assert before == host()


@pytest.fixture
def pod(lan: Lan) -> Lan:
    """A pod's namespace: eth0 and the loopback are up."""
    lan.usual()
    batch(lan.inside, ["link set lo up"])
    return lan


def everything(pod: Lan) -> tuple[Any, ...]:
    return (*pod.state(), tables(pod.inside), tables(pod.outside))


@contextmanager
def side_car(namespace: str, address: str, port: int, page: str) -> Iterator[list[str]]:
    """A web server of the namespace that gives `page` to all; the addresses of its clients."""
    clients: list[str] = []
    listening = opened(namespace, socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address, port))
    listening.listen()

    def serve() -> None:
        while True:
            try:
                client, peer = listening.accept()
            except OSError:
                return
            with client:
                clients.append(peer[0])
                client.settimeout(30)
                client.recv(1 << 16)
                client.sendall(f"HTTP/1.0 200 OK\r\nContent-Length: {len(page)}\r\n\r\n{page}".encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield clients
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        listening.close()


def test_two_guests_and_a_side_car(runtime: Runtime, pod: Lan, make: Make) -> None:
    """The first says that its pod is shared, the second comes to it; the side-car listens on the loopback only."""
    before = everything(pod)
    keys = {**LINUX, "network": "shared", "ports": "80, 7/udp"}
    near, far = "172.16.2.1:9000", f"{GATEWAY}:9001"
    with (
        side_car(pod.inside, "127.0.0.1", 9000, "from the side-car\n") as heard,
        side_car(pod.outside, GATEWAY, 9001, "from outside\n") as seen,
    ):
        _, output = started(runtime, server(make, f"GET={near},{far}", keys=keys), "serving", "first")
        _, second = started(runtime, make(FOR_EVER), LISTENS, "second")

        assert {"from the side-car", "from outside"} <= set(lines(output))
        assert ["172.16.2.2"] == heard
        assert [ADDRESS] == seen
        assert b"from the side-car\n" == page_of(pod.inside, "127.0.0.1", "/", 9000)
    assert PAGE == page_of(pod.outside, ADDRESS, "/index.html")
    for own in (ADDRESS, "127.0.0.1", "172.16.2.2"):
        assert PAGE == page_of(pod.inside, own, "/index.html")
    assert "told --ipv4=172.16.2.6/30 --ipv4-gateway=172.16.2.5 " in read(second)
    assert 1 == pinged(pod.inside, "172.16.2.6")
    assert ["tap0_urunc", "tap1_urunc"] == taps(pod.inside)
    assert [] == witness(pod.inside)["eth0"]["redirects"]
    assert 2 == len(tables(pod.inside))
    runtime.good("delete", "--force", "first")
    assert 1 == pinged(pod.inside, "172.16.2.6")
    assert ["tap1_urunc"] == taps(pod.inside)
    runtime.good("delete", "--force", "second")
    assert before == everything(pod)


def test_the_user_container_of_knative(runtime: Runtime, pod: Lan, make: Make) -> None:
    """The address that queue-proxy knows; the pod's own stays the pod's."""
    before = everything(pod)
    _, output = started(runtime, make(FOR_EVER, annotations=KNATIVE), LISTENS)

    assert f"told --ipv4=172.16.1.2/24 --ipv4-gateway=172.16.1.1 {FOR_EVER}\n" in read(output)
    assert ["172.16.1.1"] == witness(pod.inside)["tap0_urunc"]["addresses"]
    assert alias(pod.inside, "tap0_urunc").endswith(" c")
    assert 1 == pinged(pod.inside, "172.16.1.2")
    assert 1 == len(tables(pod.inside))
    runtime.good("delete", "--force", "c")
    assert before == everything(pod)


def alias(namespace: str, link: str) -> str:
    shown = subprocess.run(["ip", "-n", namespace, "-j", "link", "show", link], capture_output=True, check=True).stdout
    return str(json.loads(shown)[0]["ifalias"])


def test_without_ports_a_guest_has_those_that_nobody_else_has(runtime: Runtime, pod: Lan, make: Make) -> None:
    """Side-cars may come before the guest or after it; connections of theirs that are open stay theirs."""
    before = everything(pod)
    with (
        side_car(pod.inside, ADDRESS, 9000, "the first\n"),
        side_car(pod.outside, GATEWAY, 9001, "outside\n"),
        opened(pod.inside, socket.AF_INET, socket.SOCK_STREAM) as open_one,
    ):
        open_one.settimeout(30)
        open_one.connect((GATEWAY, 9001))
        _, output = started(runtime, server(make, keys={**LINUX, "network": "shared"}), "serving")
        open_one.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert open_one.recv(1 << 16).endswith(b"outside\n")
        with side_car(pod.inside, "0.0.0.0", 9002, "the second\n"):
            assert b"the first\n" == page_of(pod.outside, ADDRESS, "/", 9000)
            assert b"the second\n" == page_of(pod.outside, ADDRESS, "/", 9002)
            assert b"the second\n" == page_of(pod.inside, "127.0.0.1", "/", 9002)
            assert PAGE == page_of(pod.outside, ADDRESS, "/index.html")
            assert PAGE == page_of(pod.inside, "172.16.2.2", "/index.html")
    assert "serving" in read(output)
    runtime.good("delete", "--force", "c")
    assert before == everything(pod)


def test_knatives_pod(runtime: Runtime, pod: Lan, make: Make) -> None:
    """queue-proxy is told where the guest is, and finds it at the loopback's port, too, which is PORT of the guest."""
    started(runtime, server(make, "PORT=80", annotations=KNATIVE), "serving", "user")
    probe = 'SERVING_READINESS_PROBE={"tcpSocket":{"port":80,"host":"127.0.0.1"}}'
    pages = "for host in $REDIRECT_IP 127.0.0.1; do wget -qO- $host/index.html; done"
    script = f"set -e; echo $SERVING_READINESS_PROBE; {pages}"
    proxy = make(
        *("/bin/busybox", "sh", "-c", script),
        guest=Path("/bin/busybox"),
        keys={"network": "shared"},
        annotations={"io.kubernetes.cri.container-name": "queue-proxy"},
        process={"env": [probe, "PATH=/bin"]},
        mounts=[{"destination": "/proc", "type": "proc", "source": "proc"}],
    )
    (proxy / "rootfs/bin").mkdir()
    for name in ("busybox", "wget", "sh"):
        shutil.copy(proxy / "rootfs/guest", proxy / "rootfs/bin" / name)
    ended = runtime("run", "--bundle", proxy, "proxy")

    assert '{"tcpSocket":{"port":80,"host":"172.16.1.2"}}\n' + 2 * PAGE.decode() == ended.stdout, ended.stderr
    assert 0 == ended.returncode


def test_an_overlapping_network_is_avoided(runtime: Runtime, lan: Lan, make: Make) -> None:
    """The container's own is 172.16.0.0/16: the guest's subnet is another one."""
    lan.interface("eth0", "addr add 172.16.9.9/16 dev eth0", "link set eth0 address 02:00:00:00:09:02 up")
    _, output = started(runtime, make(FOR_EVER, keys=SHARED), LISTENS)

    assert "told --ipv4=192.168.217.2/30 --ipv4-gateway=192.168.217.1 " in read(output)
    assert 1 == pinged(lan.inside, "192.168.217.2")


def test_one_that_is_alone_and_one_that_shares(runtime: Runtime, pod: Lan, make: Make) -> None:
    """Whoever has the interface keeps it: the other one is refused by a line that says what to do."""
    started(runtime, make(FOR_EVER), LISTENS, "first")
    during = everything(pod)
    for keys, said in ((SHARED, "network=shared"), ({**SPT, "network": "alone"}, "eth0, to tap0_urunc")):
        ended = runtime("create", "--bundle", make(FOR_EVER, keys=keys), "second")

        assert 1 == ended.returncode
        assert "eth0" in ended.stderr
        assert said in ended.stderr
        assert during == everything(pod)
    assert 1 == pinged(pod.outside, ADDRESS)


def test_a_shared_network_needs_an_ipv4_address(runtime: Runtime, lan: Lan, make: Make) -> None:
    lan.interface("eth0", "addr add fd00:9::2/64 dev eth0 nodad", "link set eth0 up")

    assert "interface eth0 has no IPv4 address" in refused(runtime, lan, make("1", keys=SHARED))


def test_what_a_guest_that_shared_left_is_replaced(runtime: Runtime, pod: Lan, make: Make) -> None:
    """Its tap and its table, whether the next one shares or not; deleting the first later changes nothing."""
    before = everything(pod)
    for keys, count in ((SHARED, 1), (SPT, 0)):
        pid, _ = started(runtime, make(FOR_EVER, keys=SHARED), LISTENS, "first")
        os.kill(pid, signal.SIGKILL)
        assert 137 == exit_status(pid)
        assert 1 == len(tables(pod.inside))

        started(runtime, make(FOR_EVER, keys=keys), LISTENS, "second")
        during = everything(pod)
        assert (["tap0_urunc"], count) == (taps(pod.inside), len(tables(pod.inside)))
        runtime.good("delete", "first")
        assert during == everything(pod)
        runtime.good("delete", "--force", "second")
        assert before == everything(pod)


def test_a_create_that_fails_behind_the_rules_undoes_them(runtime: Runtime, pod: Lan, make: Make) -> None:
    before = everything(pod)
    hook = {"path": "/bin/false"}
    ended = runtime("create", "--bundle", make("1", keys=SHARED, hooks={"createContainer": [hook]}), "c")

    assert 1 == ended.returncode
    assert [] == runtime.remains()
    assert before == everything(pod)
