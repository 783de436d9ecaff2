"""What machine there will be: devices as the manifest declares them, memory, QEMU's machine, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from tests.e2e.spt_images import BLOCK, NET, abi, device, elf, manifest
from tests.unit.test_plan import HOST, SPEC, UNIKERNEL

from urunc import facts, machine, monitors, network, unikernels
from urunc._record import replace
from urunc.annotations import Unikernel
from urunc.config import Config, KernelConfig
from urunc.errors import SpecError, UnikernelError
from urunc.facts import Host, Network
from urunc.image import File
from urunc.unikernels import Interface

MIB = 1 << 20
TARGETS = {"hvt": 1, "spt": 2, "qemu": 3}  # of the ABI note
KINDS = {"hvt": ("elf64", "solo5-hvt"), "spt": ("elf64", "solo5-spt"), "qemu": ("elf64", "multiboot", "solo5-virtio")}
DECLARED = (("net", "lan"), ("block", "log"), ("net", "wan"), ("block", "data"))
INTERFACES = tuple(Interface(name=f"eth{n}", mac=f"02:00:00:00:00:0{n}", ipv4=((f"10.0.{n}.2", 24),)) for n in range(3))


def solo5(monitor: str, disks: int = 0, devices: Any = DECLARED) -> Host:
    kernel = File(role="kernel", fd=-1, name="/k", kinds=KINDS[monitor], size=1, extent=2 * MIB)
    images = [File(role=f"disk{n}", fd=-1, name=f"/d{n}", kinds=("unknown",), size=512) for n in range(disks)]
    return replace(HOST, files=(kernel, *images), devices=devices, kvm="full")


def made(host: Host, monitor: str, interfaces: int = 0, guest: str = "mirage", **keys: Any) -> monitors.Machine:
    net = Network(interfaces=INTERFACES[:interfaces], indexes=tuple(range(interfaces)))
    unikernel = replace(UNIKERNEL, **keys)
    framework, chosen = unikernels.load(guest), monitors.load(monitor)
    machine.check(replace(SPEC, args=("app",), env=()), unikernel, framework, chosen, host)
    return machine.machine_of(replace(SPEC, args=("app",), env=()), unikernel, framework, chosen, host, net)


@pytest.mark.parametrize("monitor", TARGETS)
def test_devices_are_exactly_those_of_the_manifest(monitor: str) -> None:
    """The container has an interface more, which the guest does not get."""
    found = made(solo5(monitor, 2), monitor, 3)

    assert [("lan", INTERFACES[0].mac), ("wan", INTERFACES[1].mac)] == [(nic.device, nic.mac) for nic in found.nics]
    assert [("log", "/guest/disk0"), ("data", "/guest/disk1")] == [(disk.device, disk.path) for disk in found.disks]


def test_annotations_say_which_devices_come_first() -> None:
    argv = monitors.load("hvt").argv(made(solo5("hvt", 2), "hvt", 2, solo5_net="wan", solo5_block="data"))

    assert (
        *("--net:wan=tap0_urunc", "--net-mac:wan=02:00:00:00:00:00"),
        *("--net:lan=tap1_urunc", "--net-mac:lan=02:00:00:00:00:01"),
        *("--block:data=/guest/disk0", "--block:log=/guest/disk1"),
    ) == tuple(word for word in argv if word.startswith(("--net", "--block")))


def test_qemu_has_devices_in_the_order_of_the_manifest() -> None:
    """A virtio guest counts them: the name that an annotation gives decides what is behind which."""
    argv = monitors.load("qemu").argv(made(solo5("qemu", 2), "qemu", 2, solo5_net="wan", solo5_block="data"))
    drives = [word for word in argv if word.startswith("if=none,")]
    cards = [word for word in argv if word.startswith("virtio-net-pci")]

    assert ["/guest/disk1", "/guest/disk0"] == [drive.partition("file=")[2] for drive in drives]
    assert [INTERFACES[1].mac, INTERFACES[0].mac] == [card.partition("mac=")[2][:17] for card in cards]
    assert [4, 3] == [int(word.partition("fd=")[2]) for word in argv if word.startswith("tap,")]


@pytest.mark.parametrize("namespaces", ["none", "the host's"])
def test_a_guest_in_the_hosts_network_namespace_is_refused(namespaces: str) -> None:
    """Whether the spec names no network namespace, or one that turns out to be the host's; not if it needs none."""
    qemu, linux = monitors.load("qemu"), unikernels.load("linux")
    kernel = File(role="kernel", fd=-1, name="/k", kinds=("bzimage",), size=1)
    host = replace(HOST, files=(kernel,), kvm="full")
    rest = tuple(namespace for namespace in SPEC.namespaces if namespace.type != "network")
    spec = SPEC if namespaces == "the host's" else replace(SPEC, namespaces=rest)

    def asked(unikernel: Unikernel) -> monitors.Machine:
        machine.check(spec, unikernel, linux, qemu, host)
        found = Network(is_host=network.wanted(unikernel, linux, host))
        return machine.machine_of(spec, unikernel, linux, qemu, host, found)

    with pytest.raises(UnikernelError, match=r"host's network namespace .* com\.urunc\.unikernel\.network=none"):
        asked(UNIKERNEL)
    assert () == asked(replace(UNIKERNEL, network="none")).nics


@pytest.mark.parametrize("monitor", TARGETS)
def test_guest_without_devices_gets_none(monitor: str) -> None:
    found = made(solo5(monitor, devices=()), monitor, 1)

    assert ((), ()) == (found.nics, found.disks)


@pytest.mark.parametrize("monitor", TARGETS)
@pytest.mark.parametrize(
    ("disks", "interfaces", "keys", "words"),
    [
        (1, 2, {}, "declares block device data, which the container does not have"),
        (3, 2, {}, "block /d2: the guest declares 2 block devices"),
        (2, 1, {}, "declares network device wan, the container has no interface for it"),
        (2, 2, {"solo5_net": "dmz"}, "solo5NetDev dmz is not declared by the guest, which has: lan, wan"),
        (2, 2, {"solo5_block": "tmp"}, "solo5BlkDev tmp is not declared by the guest, which has: log, data"),
    ],
)
def test_manifest_that_the_container_does_not_fit_is_refused(
    monitor: str, disks: int, interfaces: int, keys: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnikernelError, match=words):
        made(solo5(monitor, disks), monitor, interfaces, **keys)


@pytest.mark.parametrize("built", TARGETS)
@pytest.mark.parametrize("monitor", TARGETS)
def test_image_for_another_target_is_refused_by_name(built: str, monitor: str) -> None:
    host = solo5(built, devices=())
    if built == monitor:
        assert made(host, monitor).kernel == "/guest/kernel"
        return

    with pytest.raises(UnikernelError, match=f"binary /k is {' '.join(KINDS[built])}: {monitor} loads "):
        made(host, monitor)


@pytest.mark.parametrize(
    ("monitor", "good", "bad"),
    [
        ("qemu", ("bzimage", "pvh"), ("elf64", "gzip", "disk", "unknown", "arm64", "elf32")),
        ("firecracker", ("elf64",), ("bzimage", "elf32", "gzip", "disk", "unknown")),
        ("cloud-hypervisor", ("bzimage", "pvh"), ("elf64", "multiboot", "disk")),
    ],
)
def test_image_that_a_monitor_cannot_load_is_refused(monitor: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    for kind in (*good, *bad):
        kernel = File(role="kernel", fd=-1, name="/k", kinds=(kind,), size=1)
        host = replace(HOST, files=(kernel,), kvm="full")
        if kind in good:
            assert made(host, monitor, guest="linux").kernel == "/guest/kernel"
        else:
            with pytest.raises(UnikernelError, match=f"binary /k is {kind}: {monitor} loads "):
                made(host, monitor, guest="linux")


# what each framework's images are, by their headers, and on which monitors it boots (the others refuse it)
IMAGES = [
    ("linux bzImage", ("bzimage",), {("linux", "qemu"), ("linux", "cloud-hypervisor")}),
    ("linux vmlinux", ("elf64",), {("linux", "firecracker"), ("unikraft", "firecracker"), ("osv", "firecracker")}),
    (
        "vmlinux with PVH",
        ("elf64", "pvh"),
        {
            *(("linux", monitor) for monitor in ("qemu", "firecracker", "cloud-hypervisor")),
            *(("unikraft", "firecracker"), ("unikraft", "qemu"), ("osv", "firecracker"), ("osv", "qemu")),
        },
    ),
    (
        "multiboot",
        ("elf32", "multiboot"),
        {(guest, "qemu") for guest in ("unikraft", "mirage", "rumprun", "mewz", "osv")},
    ),
    ("solo5 hvt", ("elf64", "solo5-hvt"), {("mirage", "hvt"), ("rumprun", "hvt")}),
    ("solo5 spt", ("elf64", "solo5-spt"), {("mirage", "spt"), ("rumprun", "spt")}),
    ("solo5 xen", ("elf64", "solo5-xen"), set()),
    ("disk image", ("disk",), set()),
    ("arm64 Image", ("arm64",), set()),
    ("anything", ("unknown",), set()),
]


@pytest.mark.parametrize(("kinds", "good"), [row[1:] for row in IMAGES], ids=[row[0] for row in IMAGES])
def test_image_boots_where_it_can_and_is_refused_by_name_elsewhere(
    kinds: tuple[str, ...], good: set[tuple[str, str]]
) -> None:
    kernel = File(role="kernel", fd=-1, name="/k", kinds=kinds, size=1)
    host = replace(HOST, files=(kernel,), kvm="full", devices=None)
    for name in unikernels.MODULES:
        for monitor in unikernels.load(name).monitors:
            if (name, monitor) in good:
                assert made(host, monitor, guest=name).kernel == "/guest/kernel"
                continue
            with pytest.raises(
                UnikernelError, match=f"binary /k is {' '.join(kinds)}: (a {name} guest is|{monitor} loads) "
            ):
                made(host, monitor, guest=name)


def sized(kind: str, size: int, extent: int, initrd: int = 0) -> Host:
    kernel = File(role="kernel", fd=-1, name="/k", kinds=(kind,), size=size, extent=extent)
    archives = [File(role="initrd", fd=-1, name="/i", kinds=("unknown",), size=initrd)] if initrd else []
    return replace(HOST, files=(kernel, *archives), kvm="full")


@pytest.mark.parametrize(
    ("host", "needed"),
    [
        (sized("pvh", 1, 256 * MIB + 1), 257),
        (sized("bzimage", 300 * MIB, 0), 300),
        (sized("bzimage", 200 * MIB, 0, 57 * MIB), 257),
        (sized("pvh", 300 * MIB, 200 * MIB), 0),  # debugging information is not loaded
        (sized("bzimage", 200 * MIB, 0, 56 * MIB), 0),
    ],
)
def test_guest_that_does_not_fit_into_its_memory_is_refused(host: Host, needed: int) -> None:
    if not needed:
        assert 256 == made(host, "qemu", guest="linux").memory_mib
        return

    with pytest.raises(SpecError, match=rf"leaves 256 MiB for the guest, whose binary /k .*needs? {needed} MiB: raise"):
        made(host, "qemu", guest="linux")


def hinted(guest: str, monitor: str, *, kvm: str = "full", memory_mib: int = 0, accelerator: str = "") -> Any:
    spec = replace(SPEC, memory_limit_bytes=memory_mib * MIB, args=("app",))
    kernel = File(role="kernel", fd=-1, name="/k", kinds=("multiboot", "bzimage", "elf64", "solo5-hvt"), size=1)
    host = replace(HOST, files=(kernel,), kvm=kvm)
    unikernel = replace(UNIKERNEL, accelerator=accelerator)
    return machine.hints(spec, unikernel, unikernels.load(guest), monitors.load(monitor), host)


def test_keys_that_are_not_known_are_hinted_at() -> None:
    kernel = File(role="kernel", fd=-1, name="/k", kinds=("elf64",), size=1)
    unikernel = replace(UNIKERNEL, source="urunc.json", unknown=("com.urunc.unikernel.initrdd",))
    host = replace(HOST, files=(kernel,), kvm="full")

    assert ("urunc.json: com.urunc.unikernel.initrdd is not known, and changes nothing",) == machine.hints(
        SPEC, unikernel, unikernels.load("linux"), monitors.load("qemu"), host
    )


def test_mewz_with_little_memory_is_hinted_at() -> None:
    assert ("a mewz guest with 256 MiB of memory may fail: give it 512 MiB or more",) == hinted(
        "mewz", "qemu", memory_mib=256
    )
    assert () == hinted("mewz", "qemu", memory_mib=512)


def test_mewz_without_a_limit_has_what_it_needs() -> None:
    assert () == hinted("mewz", "qemu")
    assert 512 == made(solo5("qemu", devices=None), "qemu", guest="mewz").memory_mib


def test_copy_of_a_multiboot_kernel_is_counted() -> None:
    """Memory behind the file is part of it; a bzImage goes where it belongs at once."""
    host = solo5("qemu")
    initrd = File(role="initrd", fd=-1, name="/i", kinds=("unknown",), size=4096)

    assert 2 * MIB + 4096 == machine.copied_bytes(monitors.load("qemu"), replace(host, files=(*host.files, initrd)))
    assert 0 == machine.copied_bytes(monitors.load("qemu"), solo5("hvt"))
    assert 0 == machine.copied_bytes(monitors.load("hvt"), solo5("hvt"))


@pytest.mark.parametrize(
    ("pair", "kvm", "accelerator", "words"),
    [
        (("linux", "qemu"), "limited", "", "KVM is not fit for guests on this host (limited): qemu emulates"),
        (("linux", "qemu"), "none", "", "KVM is not fit for guests on this host (none): qemu emulates"),
        (
            ("linux", "firecracker"),
            "limited",
            "",
            "KVM runs simple guests only on this host: this one may fail on fire",
        ),
        (("mirage", "hvt"), "limited", "", "KVM runs simple guests only on this host: this one may fail on hvt"),
        (("linux", "qemu"), "full", "", ""),
        (("linux", "qemu"), "limited", "tcg", ""),  # it was asked for
        (("linux", "qemu"), "limited", "kvm", ""),
    ],
)
def test_kvm_that_is_less_than_it_seems_is_hinted_at(
    pair: tuple[str, str], kvm: str, accelerator: str, words: str
) -> None:
    found = hinted(*pair, kvm=kvm, accelerator=accelerator)

    assert len(found) == bool(words)
    assert "".join(found).startswith(words)


MICROVM = Config(kernels=(KernelConfig(name="fast", path="/k", machine="microvm"),))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "q35"),
        ({"machine": "microvm"}, "microvm"),
        ({"kernel": "fast"}, "microvm"),
        ({"kernel": "fast", "machine": "pc"}, "pc"),
    ],
)
def test_machine_is_what_the_kernel_is_said_to_drive(keys: dict[str, Any], expected: str) -> None:
    host = replace(sized("bzimage", 1, 0), config=MICROVM, kvm="limited", tsc_khz=2_100_000)
    found = made(host, "qemu", guest="linux", **keys)

    assert expected == found.type
    assert "tcg" == found.accelerator
    assert "tsc_early_khz=2100000" in " ".join(found.words)  # facts ask for it on a microvm only


def test_kvm_needs_no_frequency() -> None:
    host = replace(sized("bzimage", 1, 0), tsc_khz=2_100_000)

    assert "tsc_early" not in " ".join(made(host, "qemu", guest="linux", machine="microvm").words)


def test_machine_that_a_framework_does_not_boot_on_is_refused() -> None:
    kernel = File(role="kernel", fd=-1, name="/k", kinds=("multiboot",), size=1)

    with pytest.raises(UnikernelError, match="machine microvm: a mewz guest boots on q35"):
        made(replace(HOST, files=(kernel,)), "qemu", guest="mewz", machine="microvm")


@pytest.mark.parametrize(("monitor", "target"), TARGETS.items())
def test_manifest_is_read_for_every_target(tmp_path: Path, monitor: str, target: int) -> None:
    notes = (abi(target, 1 if target == 1 else 2), manifest(device(b"lan", NET), device(b"log", BLOCK)))
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "kernel").write_bytes(elf(notes=notes))
    for number in range(2):
        (tmp_path / f"d{number}").write_bytes(bytes(512))
    unikernel = replace(UNIKERNEL, accelerator="tcg", block="/d0,d1")
    host = facts.host(replace(SPEC, rootfs=str(tmp_path)), unikernel, monitors.load("spt"), Config())
    try:
        assert (("net", "lan"), ("block", "log")) == host.devices
        assert ["kernel", "disk0", "disk1", "monitor"] == [file.role for file in host.files]
        assert f"solo5-{'virtio' if monitor == 'qemu' else monitor}" in host.files[0].kinds
        assert 16 == host.files[0].extent  # its segment says so
    finally:
        facts.close(host)
