"""When the rootfs itself is the guest's block device, and what a plan then does."""

from typing import Any

import pytest
from tests.unit.test_plan import HOST, SPEC, UNIKERNEL, files

from urunc import machine, monitors, plan, slots, snapshot, unikernels
from urunc._record import replace
from urunc.config import KernelConfig
from urunc.errors import UnikernelError
from urunc.facts import Network
from urunc.snapshot import Backing

THIN = Backing(
    major=254,
    minor=3,
    mount_point="/run/c/rootfs",
    source="/dev/mapper/pool-snap-3",
    type="ext4",
    options="rw,relatime",
    super_options="rw,stripe=64",
    kind="thin",
    name="pool-snap-3",
    size=1 << 30,
    read_only=False,
    thin=(254, 0, 3),
)
EXT2 = replace(THIN, type="ext2")
LOOP = replace(THIN, kind="loop", name="loop7")
DISK = replace(THIN, kind="disk", name="sda1")
ASKED = {"mount_rootfs": True}
KERNEL = KernelConfig(name="k", path="/boot/k")


def chosen(guest: str, backing: Backing | None, kernels: tuple[KernelConfig, ...] = (), **keys: Any) -> Backing | None:
    host = replace(HOST, backing=backing, config=replace(HOST.config, kernels=kernels))
    return snapshot.chosen(replace(UNIKERNEL, type=guest, **keys), unikernels.load(guest), host)


@pytest.mark.parametrize(
    ("guest", "backing", "keys"),
    [
        ("linux", THIN, {}),
        ("linux", THIN, ASKED),
        ("linux", THIN, {"initrd": "/initrd", **ASKED}),
        ("linux", LOOP, {}),
        ("linux", DISK, ASKED),
        ("linux", EXT2, {}),
        ("rumprun", EXT2, {}),
        ("linux", THIN, {"kernel": "k", "kernels": (KERNEL,)}),
    ],
)
def test_guest_gets_the_rootfs(guest: str, backing: Backing, keys: dict[str, Any]) -> None:
    assert backing is chosen(guest, backing, **keys)


@pytest.mark.parametrize(
    ("guest", "backing", "keys"),
    [
        ("linux", THIN, {"mount_rootfs": False}),
        ("linux", THIN, {"block": "/disk.img"}),
        ("linux", THIN, {"initrd": "/initrd"}),
        ("linux", DISK, {}),
        ("linux", None, {}),
        ("linux", replace(THIN, type="xfs"), {}),
        ("rumprun", THIN, {}),
        ("mirage", EXT2, {}),
        ("unikraft", THIN, {}),
        # a guest that shares directories has other ways to the rootfs
        ("linux", None, ASKED),
        ("linux", THIN, {"share": "9pfs", **ASKED}),
        ("linux", None, {"kernel": "k", "kernels": (KERNEL,), **ASKED}),
        ("linux", THIN, {"kernel": "k", "kernels": (replace(KERNEL, root="9pfs"),)}),
    ],
)
def test_guest_does_not_get_the_rootfs(guest: str, backing: Backing | None, keys: dict[str, Any]) -> None:
    assert chosen(guest, backing, **keys) is None


@pytest.mark.parametrize(
    ("guest", "backing", "keys", "message"),
    [
        ("mirage", EXT2, {}, "mountRootfs: a mirage guest mounts no file system of a block device: remove it"),
        ("linux", THIN, {"block": "/d"}, "mountRootfs: the image has the block device /d: remove one of them"),
        ("rumprun", None, {}, ("mountRootfs: the rootfs is no file system of its own on a block device: "
                            "use the devmapper or the blockfile snapshotter, or remove it")),
        ("rumprun", THIN, {}, ("mountRootfs: the rootfs is ext4, a rumprun guest mounts ext2: "
                              "set fs_type of the snapshotter")),
    ],
)  # fmt: skip
def test_what_is_asked_for_and_cannot_be_is_refused(
    guest: str, backing: Backing | None, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnikernelError) as caught:
        chosen(guest, backing, **{**ASKED, **keys})

    assert message == str(caught.value)


def operations(spec: Any, backing: Backing = THIN, initrd_on_it: bool = True, **keys: Any) -> list[tuple[Any, ...]]:
    """The plan of a Linux guest with an initrd, whose kernel is on the snapshot."""
    guest, monitor = unikernels.load("linux"), monitors.load("qemu")
    kernel, initrd = files("kernel", "initrd", kinds=monitor.kernels)
    found = (replace(kernel, device=(254, 3)), replace(initrd, device=(254, 3) if initrd_on_it else (8, 1)))
    host = replace(HOST, files=found, backing=backing, binary="/usr/bin/qemu-system-x86_64", kvm="none")
    made = machine.machine_of(spec, replace(UNIKERNEL, **ASKED, **keys), guest, monitor, host, Network())
    hook = ("hook", slots.ROOTFS_SLOT, "/ready", ("ready",), (), 0, b"", "/")
    return list(plan.monitor(spec, monitor, made, host, Network(), "", (), (hook,)).operations)


def test_plan_copies_boot_files_notes_the_mount_and_releases_it_last() -> None:
    made = operations(SPEC)

    assert ("copy", 1, "guest/kernel", 0o444) in made
    assert ("copy", 2, "guest/initrd", 0o444) in made
    assert ("root", plan.ROOT_BYTES + 2 * (4096 + 4096), 0o755, "") in made
    assert ("node", "guest/disk0", 0o060666, 254, 3) in made
    noted = ("/run/c/rootfs", "/dev/mapper/pool-snap-3", "ext4", "rw,relatime", "rw,stripe=64")
    assert ("snapshot", 254, 3, *noted) in made
    # the hook has the rootfs until then, and nothing but credentials comes after
    at = made.index(("release", slots.SNAPSHOT_SLOT, (slots.ROOTFS_SLOT,), "guest/disk0", 0, "pool-snap-3"))
    assert "hook" == made[at - 1][0]
    assert ("stage", "exec") == made[at + 1]
    assert ("keep", slots.SNAPSHOT_SLOT, 6) in made[at:]
    assert not [operation for operation in made if operation[0] in ("clone_file", "initrd")]


def test_what_is_not_on_the_snapshot_is_mounted_not_copied() -> None:
    made = operations(SPEC, initrd_on_it=False)

    assert ["guest/kernel"] == [operation[2] for operation in made if operation[0] == "copy"]
    assert [2] == [operation[1] for operation in made if operation[0] == "clone_file"]
    assert ("root", plan.ROOT_BYTES + 4096 + 4096, 0o755, "") in made


@pytest.mark.parametrize("read_only", [{"spec": {"readonly": True}}, {"backing": {"read_only": True}}], ids=str)
def test_device_is_read_only_where_the_container_may_not_write(read_only: dict[str, Any]) -> None:
    spec, backing = replace(SPEC, **read_only.get("spec", {})), replace(THIN, **read_only.get("backing", {}))
    made = operations(spec, backing)

    (release,) = [operation for operation in made if operation[0] == "release"]
    assert 1 == release[4]
    (argv,) = [operation[2] for operation in made if operation[0] == "exec"]
    assert any("file=/guest/disk0" in word and "read-only=on" in word for word in argv)


def test_an_archive_made_of_an_initrd_on_the_snapshot_does_not_keep_it_mounted() -> None:
    made = operations(replace(SPEC, args=("/app",)), init="urunc")

    (archive,) = [operation for operation in made if operation[0] == "initrd"]
    (release,) = [operation for operation in made if operation[0] == "release"]
    assert (2,) == archive[2]
    assert (2, slots.ROOTFS_SLOT) == release[2]


def test_kernel_looks_for_its_root_on_the_device_even_with_an_initrd() -> None:
    made = operations(replace(SPEC, args=("/app", "x")))

    (argv,) = [operation[2] for operation in made if operation[0] == "exec"]
    line = argv[argv.index("-append") + 1]
    assert " root=/dev/vda rw " in line
    assert " init=/app -- x" in line
