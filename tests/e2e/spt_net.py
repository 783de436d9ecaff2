"""Run as a program inside a network namespace of its own: a tap, a tender with the net guest, pings.

spt_net.py name|fd|flood TENDER IMAGE: prints one line of JSON: the tender's status, its output, the pings answered.
"""

import contextlib
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time

TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TAP, IFF_NO_PI = 2, 0x1000
HOST, GUEST, PINGS, DEADLINE_S, FLOOD_S = "10.77.0.1", "10.77.0.2", 3, 60, 240


def make_tap(persistent: bool) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI))
    fcntl.ioctl(fd, TUNSETPERSIST, int(persistent))
    for words in ("link set lo up", f"address add {HOST}/24 dev tap0", "link set tap0 mtu 1400 up"):
        subprocess.run(["ip", *words.split()], check=True)
    return fd


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    folded: int = total + (total >> 16)
    return ~folded & 0xFFFF


def ping(sequence: int) -> bool:
    """Whether the kernel hears an answer to one echo request, with the payload that was sent."""
    payload = bytes(range(32))
    head = struct.pack("!BBHHH", 8, 0, 0, 0x5EED, sequence)
    request = struct.pack("!BBHHH", 8, 0, checksum(head + payload), 0x5EED, sequence) + payload
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        icmp.settimeout(DEADLINE_S)
        icmp.sendto(request, (GUEST, 0))
        try:
            packet = icmp.recv(2048)
        except TimeoutError:
            return False
    echoed, summed = packet[20:], checksum(packet[20:]) == 0
    return summed and echoed[0] == 0 and echoed[4:] == request[4:]


def echo(kind: str, tender: str, image: str) -> None:
    tap = make_tap(persistent=kind == "name")
    if kind == "name":
        os.close(tap)  # a tap has room for one
    device = "--net:service=tap0" if kind == "name" else f"--net:service=@{tap}"
    command = (tender, "--mem=2", device, "--net-mac:service=02:00:00:00:00:07", "--", image, f"{GUEST} {PINGS}")
    guest = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, pass_fds=() if kind == "name" else (tap,))
    assert guest.stdout
    greeting = "".join(guest.stdout.readline() for _ in range(3))  # it listens: no ping waits for it and comes late
    answered = sum(ping(sequence) for sequence in range(PINGS))
    try:
        out, err = guest.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        guest.kill()
        out, err = guest.communicate()
    print(json.dumps({"status": guest.returncode, "out": greeting + out, "err": err, "answered": answered}))


def flood(tender: str, image: str) -> None:
    """Solo5's own guests: they end after so many thousands of pings, with a payload of 0xdeadbeef."""
    options = []
    for i in range(2 if "2if" in image else 1):
        for words in (
            f"tuntap add dev tap{i} mode tap",
            f"address add 10.{i}.0.1/24 dev tap{i}",
            f"link set tap{i} up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        options += [f"--net:service{i}=tap{i}", f"--net-mac:service{i}=02:00:00:00:00:0{i}"]
    if "mtu" in image:
        subprocess.run(["ip", "link", "set", "tap0", "mtu", "9000"], check=True)
    command = (tender, "--mem=2", *options, "--", image, *(() if "mtu" in image else ("limit",)))
    guest = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    head, payload = struct.pack("!BBHHH", 8, 0, 0, 1, 1), b"\xde\xad\xbe\xef" * 14
    request = struct.pack("!BBHHH", 8, 0, checksum(head + payload), 1, 1) + payload
    deadline = time.monotonic() + FLOOD_S
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        icmp.settimeout(0.1)
        while guest.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):  # some are lost: the guest is slower than we are
                for sent in range(128):
                    icmp.sendto(request, (f"10.{sent % (len(options) // 2)}.0.2", 0))
                for _ in range(128):
                    icmp.recv(2048)
    guest.kill()
    out, err = guest.communicate()
    print(json.dumps({"status": guest.returncode, "out": out, "err": err}))


if __name__ == "__main__":
    if sys.argv[1] == "flood":
        flood(*sys.argv[2:])
    else:
        echo(*sys.argv[1:])
