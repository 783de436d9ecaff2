"""Network namespaces for tests, the C core on descriptors opened inside them, and pyroute2 as the witness."""

import array
import ctypes
import ipaddress
import json
import os
import socket
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI
from pyroute2 import IPRoute

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build" / str(sysconfig.get_config_var("SOABI")) / "libfastpath_core.so"
DECLARATIONS = """
struct fp_error { int number; char step[48]; char path[256]; };
struct fp_address { int family, prefix; uint8_t bytes[16]; };
struct fp_interface {
    int index; uint32_t mtu; char name[16], kind[16]; uint8_t mac[6]; bool ethernet, up, carrier;
    int address_count; struct fp_address addresses[16];
};
struct fp_route { int index; uint32_t metric; struct fp_address gateway; };
struct fp_owner { int pid; uint64_t start; };
struct fp_tap_link { int index; char name[16]; bool carrier; struct fp_owner owner; };
struct fp_network {
    int count; struct fp_interface interfaces[16]; int links;
    int tap_count; struct fp_tap_link taps[16]; struct fp_route route4, route6;
};
struct fp_choice { int count, interfaces[16]; };
struct fp_redirect {
    int interface; const char *tap; uint32_t mtu; struct fp_owner owner; const char *container;
};
struct fp_stale { int tap_count, taps[16], interface_count, interfaces[16]; };
struct fp_tap_options { int64_t uid, gid; bool persist; int vnet_header; unsigned offload; bool multi_queue; };
int fp_network_discover(int netlink, struct fp_network *ret, struct fp_error *error);
int fp_network_choose(const struct fp_network *network, struct fp_choice *ret, struct fp_error *error);
int fp_network_is_own(int fd, struct fp_error *error);
int fp_network_identity(int fd, uint64_t *ret, struct fp_error *error);
int fp_network_index(int netlink, const char *name, int *ret, struct fp_error *error);
int fp_network_redirect(int netlink, const struct fp_redirect *redirect, struct fp_error *error);
int fp_network_undo(int netlink, const char *interface, const char *tap, const struct fp_owner *owner,
                    struct fp_error *error);
int fp_network_stale(int netlink, const struct fp_network *network, struct fp_stale *ret, struct fp_error *error);
int fp_network_clean(int netlink, const struct fp_network *network, const struct fp_stale *stale,
                     struct fp_error *error);
bool fp_network_tap_is_ours(const char *name);
int fp_network_words(int netlink, const char *path, const char *interface, const char *tap,
                     const struct fp_owner *owner, char *ret, struct fp_error *error);
const char *fp_network_words_path(const char *words);
int fp_network_undo_words(int netlink, const char *words, struct fp_error *error);
int fp_tap_create(int tun, const char *name, const struct fp_tap_options *options, char *ret, struct fp_error *error);
int fp_tap_attach(int tun, const char *name, const struct fp_tap_options *options, struct fp_error *error);
"""
Owner = tuple[int, int]  # pid and start time of the process that a tap is for
NOBODY: Owner = (0, 0)
CLONE_NEWNET = 0x40000000
TCA_EGRESS_REDIR, TC_ACT_STOLEN = 1, 4
TAP = b"tap0_urunc"
ANY_ID = -1
ADDRESS = ("addr add 10.9.0.2/24 dev eth0", "link set eth0 up")
UNUSED_NUMBER = 1 << 30


NEEDS = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces"),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="/dev/net/tun is missing"),
]


class CoreError(OSError):
    """An error of the C core, as Python sees it: errno, the step, the thing."""

    def __init__(self, number: int, step: str, thing: str) -> None:
        super().__init__(number, os.strerror(number), thing)
        self.step = step
        self.thing = thing


class Core:
    """The C functions, raising."""

    def __init__(self) -> None:
        self.ffi: Any = FFI()
        self.ffi.cdef(DECLARATIONS)
        self.c: Any = self.ffi.dlopen(str(LIBRARY))
        self.networks: list[Any] = []  # what is part of one does not keep it (cffi)

    def call(self, name: str, *arguments: Any) -> int:
        error = self.ffi.new("struct fp_error *")
        status = int(getattr(self.c, name)(*arguments, error))
        assert (status < 0) == (error.number != 0)
        if status < 0:
            raise CoreError(error.number, self.text(error.step), self.text(error.path))
        return status

    def text(self, value: Any) -> str:
        return str(self.ffi.string(value).decode())

    def discover(self, netlink: int) -> Any:
        network = self.ffi.new("struct fp_network *")
        self.networks.append(network)
        self.call("fp_network_discover", netlink, network)
        return network

    def choose(self, network: Any) -> list[str]:
        choice = self.ffi.new("struct fp_choice *")
        self.call("fp_network_choose", network, choice)
        return [self.text(network.interfaces[choice.interfaces[i]].name) for i in range(choice.count)]

    def tap(self, tun: int, name: bytes = TAP, **options: Any) -> str:
        wanted = {"uid": ANY_ID, "gid": ANY_ID, **options}
        given = self.ffi.new("char[16]")
        self.call("fp_tap_create", tun, name, self.ffi.new("struct fp_tap_options *", wanted), given)
        return self.text(given)

    def attach(self, tun: int, name: bytes = TAP, **options: Any) -> None:
        wanted = {"uid": ANY_ID, "gid": ANY_ID, **options}
        self.call("fp_tap_attach", tun, name, self.ffi.new("struct fp_tap_options *", wanted))

    def index(self, netlink: int, name: bytes) -> int:
        index = self.ffi.new("int *")
        self.call("fp_network_index", netlink, name, index)
        return int(index[0])

    def redirect(self, netlink: int, interface: int, tap: bytes = TAP, mtu: int = 1500, owner: Owner = NOBODY) -> None:
        text = self.ffi.new("char[]", tap)
        values = {"interface": interface, "tap": text, "mtu": mtu, "owner": owner}
        self.call("fp_network_redirect", netlink, self.ffi.new("struct fp_redirect *", values))

    def undo(self, netlink: int, interface: bytes = b"eth0", tap: bytes = TAP, owner: Owner = NOBODY) -> None:
        self.call("fp_network_undo", netlink, interface, tap, self.ffi.new("struct fp_owner *", owner))

    def words(self, netlink: int, path: bytes, tap: bytes = TAP, owner: Owner = NOBODY) -> bytes:
        words = self.ffi.new("char[4224]")
        whose = self.ffi.new("struct fp_owner *", owner)
        self.call("fp_network_words", netlink, path, b"eth0", tap, whose, words)
        return bytes(self.ffi.string(words))

    def stale(self, netlink: int, network: Any) -> tuple[Any, list[str], list[str]]:
        stale = self.ffi.new("struct fp_stale *")
        self.call("fp_network_stale", netlink, network, stale)
        taps = [self.text(network.taps[stale.taps[i]].name) for i in range(stale.tap_count)]
        interfaces = [self.text(network.interfaces[stale.interfaces[i]].name) for i in range(stale.interface_count)]
        return stale, taps, interfaces

    def clean(self, netlink: int) -> tuple[list[str], list[str]]:
        network = self.discover(netlink)
        stale, taps, interfaces = self.stale(netlink, network)
        self.call("fp_network_clean", netlink, network, stale)
        return taps, interfaces

    def interfaces(self, network: Any) -> dict[str, Any]:
        return {self.text(network.interfaces[i].name): network.interfaces[i] for i in range(network.count)}

    def address(self, address: Any) -> str:
        if not address.family:
            return ""
        size = 4 if address.family == socket.AF_INET else 16
        return str(ipaddress.ip_address(bytes(address.bytes)[:size]))

    def addresses(self, interface: Any) -> list[str]:
        listed = (interface.addresses[i] for i in range(interface.address_count))
        return [f"{self.address(address)}/{address.prefix}" for address in listed]


def enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    assert libc.setns(fd, CLONE_NEWNET) == 0
    os.close(fd)


def run_inside(namespace: str, make: Callable[[], tuple[Any, list[int]]]) -> tuple[Any, list[int]]:
    """What `make` returns in a child process that is in the namespace: a value, and descriptors."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            enter(namespace)
            value, fds = make()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            theirs.sendmsg([json.dumps(value).encode()], rights)
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    with ours:
        text, fds, _, _ = socket.recv_fds(ours, 1 << 17, 64)
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(text), fds


@contextmanager
def descriptors(namespace: str, taps: int = 1) -> Iterator[list[int]]:
    """A NETLINK_ROUTE socket and `taps` descriptors of /dev/net/tun, all of the namespace."""

    def make() -> tuple[None, list[int]]:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE).detach()
        return None, [netlink, *(os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK) for _ in range(taps))]

    _, fds = run_inside(namespace, make)
    try:
        yield fds
    finally:
        for fd in fds:
            try:
                os.close(fd)
            except OSError:
                pass  # the test closed it


@contextmanager
def raw_socket(namespace: str, device: str) -> Iterator[socket.socket]:
    """A packet socket on a device of the namespace."""

    def make() -> tuple[None, list[int]]:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        opened.bind((device, 0))
        return None, [opened.detach()]

    _, [fd] = run_inside(namespace, make)
    with socket.socket(fileno=fd) as opened:
        opened.settimeout(5)
        yield opened


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def batch(namespace: str, lines: list[str]) -> None:
    """Lines of `ip -batch` in the namespace."""
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines), check=True, text=True)


def tc(namespace: str, words: str) -> None:
    subprocess.run(["ip", "netns", "exec", namespace, "tc", *words.split()], check=True, capture_output=True)


def witness(namespace: str) -> dict[str, Any]:
    """What pyroute2 sees: per device its mtu, whether it is up, its addresses, qdiscs and ingress filters."""

    def make() -> tuple[dict[str, Any], list[int]]:
        with IPRoute() as route:
            links = list(route.get_links())
            addresses, qdiscs = list(route.get_addr()), list(route.get_qdiscs())
            filters = {link["index"]: list(route.get_filters(index=link["index"], parent=0xFFFF0000)) for link in links}
        found = {}
        for link in links:
            index = link["index"]
            found[link.get("ifname")] = {
                "index": index,
                "mtu": link.get("mtu"),
                "up": bool(link["flags"] & 1),
                "carrier": link.get("carrier"),
                "addresses": sorted(a.get("address") for a in addresses if a["index"] == index),
                "qdiscs": sorted(q.get("kind") for q in qdiscs if q["index"] == index),
                "redirects": [to for one in filters[index] for to in redirects(one)],
                "filters": len(filters[index]),
            }
        return found, []

    return dict(run_inside(namespace, make)[0])


def redirects(one: Any) -> list[int]:
    """The device indices that a filter redirects to."""
    options = one.get_attr("TCA_OPTIONS")
    actions = options.get_attr("TCA_U32_ACT") if options else None
    found = []
    for _, action in actions["attrs"] if actions else []:
        parameters = action.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
        if parameters["eaction"] == TCA_EGRESS_REDIR:
            assert parameters["action"] == TC_ACT_STOLEN
            found.append(parameters["ifindex"])
    return found


def add_interface(inside: str, outside: str, name: str, peer: str, mtu: int = 1400) -> None:
    ip("-n", inside, "link", "add", name, "mtu", str(mtu), "type", "veth", "peer", "name", peer, "netns", outside)
    ip("-n", outside, "link", "set", peer, "up")


def bytes_of_mac(namespace: str, device: str) -> bytes:
    shown = subprocess.run(["ip", "-n", namespace, "-o", "link", "show", device], capture_output=True, check=True)
    return bytes.fromhex(shown.stdout.decode().split("link/ether ")[1][:17].replace(":", ""))


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> CoreError:
    with pytest.raises(CoreError) as caught:
        call(*arguments, **options)
    return caught.value


def set_up(core: Core, inside: str, owner: Owner = NOBODY) -> tuple[int, int]:
    """Tap and redirect of eth0; their indices."""
    with descriptors(inside) as (netlink, tun):
        index = core.index(netlink, b"eth0")
        core.tap(tun, persist=True)
        core.redirect(netlink, index, owner=owner)
        return index, core.index(netlink, TAP)


def without_link_addresses(found: dict[str, Any]) -> dict[str, Any]:
    """Those of eth0 come when the kernel has checked them."""
    return {
        name: {**link, "addresses": [a for a in link["addresses"] if not a.startswith("fe80")]}
        for name, link in found.items()
    }
