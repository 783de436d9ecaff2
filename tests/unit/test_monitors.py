"""Every pair of a guest and a monitor, as what the monitor is started with (goldens; URUNC_UPDATE_PLANS=1 writes)."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ci import guest_table
from hypothesis import given
from hypothesis import strategies as st

from urunc import monitors, unikernels
from urunc._record import replace
from urunc.errors import SpecError, UnikernelError
from urunc.monitors import Disk, Machine, Monitor, Nic
from urunc.network import NOWHERE
from urunc.unikernels import Boot, Guest, Interface

GOLDENS = Path(__file__).parent / "goldens"
ALLOWED = {
    "linux": {"qemu", "firecracker", "cloud-hypervisor"},
    "mewz": {"qemu"},
    "mirage": {"qemu", "hvt", "spt"},
    "osv": {"qemu", "firecracker"},
    "rumprun": {"qemu", "hvt", "spt"},
    "unikraft": {"qemu", "firecracker"},
}
PAIRS = [(guest, monitor) for guest in unikernels.MODULES for monitor in monitors.MODULES]
INTERFACE = Interface(
    name="eth0",
    mac="aa:bb:cc:dd:ee:ff",
    mtu=1450,
    ipv4=(("10.4.0.2", 22),),
    gateway4="10.4.0.1",
    dns=("10.4.0.3", "fd00::3", "1.1.1.1"),
)
SECOND = Interface(
    name="eth1",
    mac="aa:bb:cc:dd:ee:00",
    mtu=9000,
    ipv4=(("10.5.0.2", 30),),
    ipv6=(("fd00:5::2", 64),),
    gateway6="fd00:5::1",
)
ONLY_IPV6 = Interface(
    name="eth0", mac="aa:bb:cc:dd:ee:01", ipv6=(("fd00:6::2", 64),), gateway6="fd00:6::1", dns=("fd00:6::3",)
)
NETWORKS = {"network": (INTERFACE,), "two networks": (INTERFACE, SECOND), "IPv6": (ONLY_IPV6,), "none": ()}
STORAGES = {  # initrd, disks
    "initrd": (True, 0),
    "block": (False, 1),
    "three blocks": (False, 3),
    "initrd and block": (True, 1),
    "nothing": (False, 0),
}
ODD = ("a b", 'say "hi"', "it's", "back\\slash", "", "line\nend", "x=$HOME;&!", "[a,b]", "\u00e0", "--", "-- ", "<&>")


def machine(guest: Guest, monitor: Monitor, boot: Boot) -> Machine:
    """As urunc.machine makes it of facts."""
    by_name = monitor.takes_tap == "name"
    nics = tuple(
        Nic(
            device=f"{guest.solo5_net}{number or ''}",
            mac=interface.mac,
            mtu=interface.mtu,
            tap=f"tap{number}_urunc" if by_name else "",
            fd=-1 if by_name else 3 + number,
            offloads=guest.offloads,
            order=number,
        )
        for number, interface in enumerate(boot.interfaces)
    )
    if guest.needs_net and not nics:
        nics = (Nic(mac=NOWHERE, fd=3, offloads=guest.offloads, linked=False),)
    disks = tuple(
        Disk(
            path=f"/guest/disk{number}",
            device=f"{guest.solo5_block}{number or ''}",
            root=number == 0 and "block" in guest.roots,
            read_only=number == 1,
            order=number,
        )
        for number in range(boot.disks)
    )
    return Machine(
        binary=f"/usr/bin/{monitor.binaries[0]}",
        accelerator={"optional": "tcg", "needed": "kvm", "none": "none"}[monitor.kvm],
        memory_mib=512,
        vcpus=2,
        kernel="/guest/kernel",
        words=guest.words(boot),
        initrd="/guest/initrd" if boot.initrd else "",
        nics=nics,
        disks=disks,
        type=guest.machines[0],
        cpu=guest.cpu,
        acpi=guest.acpi,
        virtio=guest.virtio,
        debug_exit=guest.debug_exit,
    )


def case(guest: Guest, monitor: Monitor, network: str, storage: str, words: str) -> list[str]:
    """What a pair makes of one row of the matrix, as lines."""
    initrd, disks = STORAGES[storage]
    if initrd and "initrd" not in guest.roots:
        return [f"unsupported: {guest.name} has no initrd"]
    if disks > guest.disks:
        return [f"unsupported: {guest.name} has {guest.disks or 'no'} block devices"]
    if len(NETWORKS[network]) > guest.net:
        return [f"unsupported: {guest.name} has {guest.net} interface"]
    boot = Boot(
        monitor=monitor.name,
        args=("/bin/app", *(("-v",) if words == "env" and guest.name != "mewz" else ())),
        env=("PATH=/bin:/sbin", "A=1") if words == "env" else (),
        initrd=initrd,
        block=disks > 0,
        disks=disks,
        interfaces=NETWORKS[network],
    )
    lines = []
    for odd in ODD if words == "odd" else ():
        for field in ("args", "env"):
            value = (*boot.args, odd) if field == "args" else (*boot.env, f"V{len(boot.env)}={odd}")
            changed = replace(boot, **{field: value})
            try:
                built = machine(guest, monitor, changed)
                monitor.argv(built)
                monitor.files(built)
            except SpecError as error:
                lines.append(f"refused: {error}")
            else:
                boot = changed
    built = machine(guest, monitor, boot)
    lines += [ascii(argument) for argument in monitor.argv(built)]
    return [*lines, *[f"/{path}: {content.decode()}" for path, content in monitor.files(built)]]


def golden(name: str, actual: str) -> str:
    """The text that `actual` should be; with URUNC_UPDATE_PLANS=1 in the environment it is written first."""
    path = GOLDENS / name
    if os.environ.get("URUNC_UPDATE_PLANS") == "1":
        GOLDENS.mkdir(exist_ok=True)
        path.write_text(actual)
    return path.read_text()


@pytest.mark.parametrize(("guest", "monitor"), [pair for pair in PAIRS if pair[1] in ALLOWED[pair[0]]])
def test_pair_starts_the_monitor_as_in_its_golden(guest: str, monitor: str) -> None:
    sections = []
    for network in NETWORKS:
        for storage in STORAGES:
            for words in ("env", "odd"):
                lines = case(unikernels.load(guest), monitors.load(monitor), network, storage, words)
                sections.append("\n  ".join([f"{network} {storage} {words}", *lines]))
    actual = "\n\n".join(sections) + "\n"

    assert golden(f"{guest}-{monitor}.txt", actual) == actual


@pytest.mark.parametrize(("guest", "monitor"), PAIRS)
def test_every_other_pair_is_unsupported(guest: str, monitor: str) -> None:
    assert (monitor in ALLOWED[guest]) == (monitor in unikernels.load(guest).monitors)


@pytest.mark.parametrize("name", monitors.MODULES)
def test_monitor_has_the_name_of_its_line(name: str) -> None:
    assert name == monitors.load(name).name


@pytest.mark.parametrize("name", ["", "bhyve", "../qemu", "QEMU"])
def test_unknown_monitor_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnikernelError, match=f'hypervisor "{name}" is not supported: use one of cloud-hypervisor, '):
        monitors.load(name)


def bare(**changes: Any) -> Machine:
    fields: dict[str, Any] = {"binary": "/m", "accelerator": "tcg", "memory_mib": 64, "vcpus": 1}
    return Machine(**(fields | {"kernel": "/k", "words": ("w",)} | changes))


def option(argv: tuple[str, ...], name: str) -> list[str]:
    """What stands behind every `name`."""
    return [argv[number + 1] for number, argument in enumerate(argv[:-1]) if argument == name]


def test_qemu_microvm_has_devices_on_mmio() -> None:
    built = bare(type="microvm", nics=(Nic(mac="02:00:00:00:00:01", fd=5),), disks=(Disk(path="/d", id="x"),))

    argv = monitors.load("qemu").argv(built)

    assert ["microvm,accel=tcg,acpi=on"] == option(argv, "-M")
    assert ["virtio-mmio.force-legacy=off"] == option(argv, "-global")
    assert [
        "virtio-net-device,netdev=net0,mac=02:00:00:00:00:01",
        "virtio-blk-device,drive=disk0,serial=x",
    ] == option(argv, "-device")


def test_qemu_uses_the_hosts_processor_with_kvm_only() -> None:
    argv = monitors.load("qemu").argv

    assert ["host"] == option(argv(bare(accelerator="kvm", cpu="Westmere")), "-cpu")
    assert ["Westmere"] == option(argv(bare(cpu="Westmere")), "-cpu")
    assert ["max"] == option(argv(bare()), "-cpu")


def test_qemu_without_words_gives_none() -> None:
    """A guest without a network has no `ip=/ gateway=` either."""
    assert "-append" not in monitors.load("qemu").argv(bare(words=()))


def test_devices_keep_their_order_and_number() -> None:
    nics = tuple(Nic(mac=f"02:00:00:00:00:0{n}", device=f"n{n}", tap=f"tap{n}") for n in range(2))
    disks = tuple(Disk(path=f"/d{n}", device=f"d{n}", read_only=n == 1) for n in range(2))
    built = bare(nics=nics, disks=disks)

    assert ["tap,id=net0,ifname=tap0,script=no,downscript=no", "tap,id=net1,ifname=tap1,script=no,downscript=no"] == (
        option(monitors.load("qemu").argv(built), "-netdev")
    )
    assert (
        *("/m", "--mem=64", "--net:n0=tap0", "--net-mac:n0=02:00:00:00:00:00"),
        *("--net:n1=tap1", "--net-mac:n1=02:00:00:00:00:01", "--block:d0=/d0", "--block:d1=/d1", "--", "/k", "w"),
    ) == monitors.load("spt").argv(built)
    chosen = monitors.load("cloud-hypervisor").argv(built)
    start = chosen.index("--disk")
    assert ("path=/d0,id=disk0,image_type=raw", "path=/d1,id=disk1,image_type=raw,readonly=on") == (
        chosen[start + 1 : start + 3]
    )


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_path_reaches_qemu_whole_or_is_refused(path: str) -> None:
    """QemuOpts undone: a single comma ends a value, two are one."""
    path = "/" + path
    try:
        argv = monitors.load("qemu").argv(bare(disks=(Disk(path=path),), initrd=path, kernel=path))
    except SpecError:
        assert set(path) & {" ", ","}
        argv = monitors.load("qemu").argv(bare(disks=(Disk(path=path),)))
    else:
        assert [path] == option(argv, "-initrd") == option(argv, "-kernel")
    (drive,) = option(argv, "-drive")

    values = [part.replace("\0", ",") for part in drive.replace(",,", "\0").split(",")]

    assert ["if=none", "id=disk0", "format=raw", f"file={path}"] == values


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_firecracker_gets_every_string_whole(text: str) -> None:
    line = "".join(c for c in text if " " <= c <= "~")
    built = bare(words=(line,), kernel=f"/{text}", disks=(Disk(path=text, root=True),))
    ((path, content),) = monitors.load("firecracker").files(built)

    config = json.loads(content)

    assert ("/firecracker.json", line, f"/{text}", text) == (
        f"/{path}",
        config["boot-source"]["boot_args"],
        config["boot-source"]["kernel_image_path"],
        config["drives"][0]["path_on_host"],
    )


@pytest.mark.parametrize("monitor", ["firecracker", "cloud-hypervisor"])
@pytest.mark.parametrize("word", ["a\nb", "\u00e0", "\x7f"])
def test_word_that_a_monitor_would_not_start_with_is_refused(monitor: str, word: str) -> None:
    chosen = monitors.load(monitor)

    with pytest.raises(SpecError, match=f"{monitor} takes printable ASCII only, remove '"):
        (chosen.argv(bare(words=("x", word))), chosen.files(bare(words=("x", word))))


@pytest.mark.parametrize("monitor", ["hvt", "spt", "cloud-hypervisor"])
@pytest.mark.parametrize("path", ["/a b", "/a\nb", "/a\tb"])
def test_path_that_a_monitor_would_cut_is_refused(monitor: str, path: str) -> None:
    with pytest.raises(SpecError, match=r"cannot be given the path '/a.*: rename it without '"):
        monitors.load(monitor).argv(bare(disks=(Disk(path=path, device="d"),)))


def test_page_of_guests_and_monitors_is_current() -> None:
    assert guest_table.PAGE.read_text() == guest_table.page(), "run: python ci/guest_table.py"
