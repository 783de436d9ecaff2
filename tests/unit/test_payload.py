"""What guests get beside their kernel: uinit's configuration, initrds, what is shared and what is refused."""

from typing import Any

import pytest
from tests.unit.test_plan import HOST, SPEC, UNIKERNEL, files
from tests.unit.test_snapshot import THIN

from urunc import machine, monitors, mounts, plan, shared, storage, unikernels
from urunc._record import replace
from urunc.config import Config, KernelConfig
from urunc.errors import SpecError, UnikernelError
from urunc.facts import Host, Network
from urunc.monitors import Machine
from urunc.snapshot import Backing
from urunc.spec import Mount, Rlimit, Spec
from urunc.unikernels import Interface

CONFIG = Config(
    kernels=(
        KernelConfig(name="small", path="/k"),
        KernelConfig(name="ram", path="/k", root="initrd"),
        KernelConfig(name="fs", path="/k", root="virtiofs"),
    )
)
NET = Network(
    interfaces=(
        Interface(
            name="net1",
            mac="02:00:00:00:00:01",
            mtu=1450,
            ipv4=(("10.4.0.2", 22),),
            ipv6=(("fd00::2", 64),),
            gateway4="10.4.0.1",
            gateway6="fd00::1",
        ),
    ),
    indexes=(2,),
)
RESOLV = Mount(destination="/etc/resolv.conf", type="bind", source="/h/resolv.conf", options=("rbind", "rw"))
SECRET = Mount(destination="/run/secret/", type="bind", source="/h/secret", options=("bind", "ro", "nosuid"))
DATA = Mount(destination="/data", type="none", source="/h/data", options=("rbind",))
SCRATCH = Mount(destination="/scratch", type="tmpfs", source="tmpfs", options=("size=1m", "mode=0700", "noexec"))
OWN = tuple(
    Mount(destination=place, type=kind, source=kind, options=())
    for place, kind in (
        *(("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "tmpfs"), ("/dev/pts", "devpts")),
        *(("/dev/mqueue", "mqueue"), ("/sys/fs/cgroup", "cgroup"), ("/sys/fs/cgroup", "cgroup2")),
        ("/dev/shm", "bind"),
    )
)
INITRD = Mount(destination="/x", type="bind", source="/h/x", options=())


def made(
    *volumes: Mount,
    pair: tuple[str, str] = ("linux", "qemu"),
    roles: tuple[str, ...] = ("kernel",),
    net: Network = NET,
    keys: dict[str, Any] | None = None,
    virtiofsd: str = "",
    backing: Backing | None = None,
    **changes: Any,
) -> tuple[Machine, Host, Spec]:
    guest, chosen = unikernels.load(pair[0]), monitors.load(pair[1])
    kernel = {"binary": "", "kernel": "small"} if guest.uinit else {}
    unikernel = replace(UNIKERNEL, type=pair[0], hypervisor=pair[1], **(kernel | (keys or {})))
    host = replace(
        HOST,
        files=files(*roles, kinds=("pvh", "elf64", "multiboot", "solo5-spt")),
        config=CONFIG,
        kvm="full",
        directories=("/h/secret", "/h/data"),
        targets=("/etc/resolv.conf", "/data"),
        virtiofsd=virtiofsd,
        backing=backing,
    )
    spec = replace(SPEC, mounts=(*OWN, *volumes), **changes)
    machine.check(spec, unikernel, guest, chosen, host)
    return machine.machine_of(spec, unikernel, guest, chosen, host, net), host, spec


def told(one: Machine) -> list[str]:
    """The strings of uinit's configuration."""
    assert one.archive
    (content,) = (content for name, _, content in one.archive.files if name == ".urunc/config")
    assert content.endswith(b"\0")
    return content[:-1].decode().split("\0")


def lines(one: Machine, *keywords: str) -> list[str]:
    """Those of its directives."""
    words = told(one)
    arity = {"root": 4, "share": 4, "mount": 5, "bind": 4, "from_share": 4, "link": 3, "address": 3, "gateway": 2}
    arity |= {"rlimit": 3, "user": 2, "terminal": 2, "sysctl": 2, "no_new_privileges": 0, "reboot": 0}
    found, at = [], 1
    while at < len(words):
        count = arity.get(words[at], 1)
        if words[at] in keywords:
            found.append(" ".join(words[at : at + 1 + count]))
        at += 1 + count
    return found


def test_an_ordinary_image_is_shared_and_run_by_uinit() -> None:
    one, _, _ = made()

    assert ("panic=-1 console=ttyS0 quiet rdinit=/.urunc/init",) == one.words
    assert one.share
    assert (("root", "/b/rootfs", False, True),) == one.share.entries
    assert one.archive
    assert (True, ()) == (one.archive.uinit, one.archive.trees)
    assert ["root share /root 0 "] == lines(one, "root")
    assert ["arg /app", "arg --flag", "arg two words", "arg comma,comma"] == lines(one, "arg")
    assert ["env PATH=/bin", "env GREETING=good morning"] == lines(one, "env")


def test_uinit_takes_what_a_command_line_cannot_say() -> None:
    env, args = ("A.B=1", 'Q="', "LINE=a\nb", *(f"V{n}={'x' * 100}" for n in range(100))), ("sh", "-c", "--", 'a "b"\n')
    one, _, _ = made(env=env, args=args)

    assert [f"env {entry}" for entry in env] == lines(one, "env")
    assert [f"arg {entry}" for entry in args] == lines(one, "arg")


def test_the_network_is_said_by_mac() -> None:
    one, _, _ = made()

    assert [
        "link 02:00:00:00:00:01 net1 1450",
        "address 02:00:00:00:00:01 10.4.0.2 22",
        "address 02:00:00:00:00:01 fd00::2 64",
        "gateway 02:00:00:00:00:01 10.4.0.1",
        "gateway 02:00:00:00:00:01 fd00::1",
    ] == lines(one, "link", "address", "gateway")


def test_the_process_is_as_the_spec_says() -> None:
    limits = (Rlimit(type="RLIMIT_NOFILE", soft=512, hard=2**64 - 1),)
    one, _, _ = made(
        uid=7, gid=8, groups=(9, 10), umask=0o27, rlimits=limits, no_new_privileges=True, cwd="/w",
        terminal=True, console_size=(41, 97), hostname="h", sysctl=(("net.ipv4.ip_forward", "1"), ("net/a.b/c", "2")),
    )  # fmt: skip

    assert "rlimit 7 512 18446744073709551615,umask 23,group 9,group 10,user 7 8,no_new_privileges,terminal 41 97" == (
        ",".join(lines(one, "rlimit", "umask", "group", "user", "no_new_privileges", "terminal"))
    )
    assert ["hostname h", "cwd /w"] == lines(one, "hostname", "cwd")
    assert ["sysctl net/ipv4/ip_forward 1", "sysctl net/a.b/c 2"] == lines(one, "sysctl")


@pytest.mark.parametrize("key", ["../x", "kernel/../../x", "/etc/passwd", ""])
def test_a_sysctl_cannot_leave_its_directory(key: str) -> None:
    with pytest.raises(SpecError, match=r"linux\.sysctl"):
        made(sysctl=((key, "1"),))


def test_volumes_are_shared_beside_a_shared_root() -> None:
    one, host, spec = made(RESOLV, SECRET, SCRATCH, DATA, readonly=True)

    assert [
        "share 9p urunc 0 trans=virtio,version=9p2000.L,msize=512000,cache=mmap",
        "root share /root 1 ",
        "from_share /volumes/0 /etc/resolv.conf 0 0",
        "from_share /volumes/1 /run/secret 3 1",
        "mount tmpfs tmpfs /scratch 8 size=1m,mode=0700",
        "from_share /volumes/3 /data 0 1",
    ] == lines(one, "share", "root", "mount", "bind", "from_share")
    planned = plan.text(plan.monitor(spec, monitors.load("qemu"), one, host, NET).operations)
    assert "clone_tree  44  '/b/rootfs'  7" in planned  # 1: read-only
    assert "clone_tree  45  '/h/resolv.conf'  6" in planned
    assert "clone_tree  46  '/h/secret'  7" in planned
    assert "attach  47  'guest/share/volumes/3'" in planned
    assert "capabilities  27  27  27  27" in planned  # CHOWN, DAC_OVERRIDE, FOWNER, FSETID


def test_what_is_all_read_only_is_served_without_writing() -> None:
    one, _, _ = made(SECRET, readonly=True)

    assert 1 << shared.CAP_DAC_READ_SEARCH == shared.capabilities(one)
    assert any(word.endswith(",readonly=on") for word in monitors.load("qemu").argv(one))
    assert 0 == shared.capabilities(made(keys={"kernel": "ram"})[0])


def test_without_a_shared_directory_volumes_are_copied() -> None:
    one, _, _ = made(RESOLV, SECRET, keys={"kernel": "ram"})

    assert one.share is None
    assert one.archive
    copies = ((".urunc/volumes/0", "/h/resolv.conf"), (".urunc/volumes/1", "/h/secret"))
    assert (("", "/b/rootfs"), *copies) == one.archive.trees
    assert ["bind /.urunc/volumes/0 /etc/resolv.conf 0 0", "bind /.urunc/volumes/1 /run/secret 3 1"] == lines(
        one, "root", "bind"
    )


def test_a_volume_that_is_written_to_is_shared_beside_an_initrd() -> None:
    one, _, _ = made(DATA, keys={"kernel": "ram"})

    assert one.share
    assert (("volumes/0", "/h/data", False, True),) == one.share.entries


def test_where_nothing_is_shared_a_written_volume_is_refused() -> None:
    one, _, _ = made(RESOLV, SECRET, pair=("linux", "firecracker"))
    assert one.archive
    assert 3 == len(one.archive.trees)
    assert ["reboot"] == lines(one, "reboot")
    with pytest.raises(SpecError, match="mounts: /data: firecracker shares no directories"):
        made(DATA, pair=("linux", "firecracker"))


def test_descriptors_of_the_monitor_have_numbers_of_their_own() -> None:
    """Taps, QMP, the power button and the shared directory of one guest that has them all."""
    one, _, _ = made(DATA, keys={"stop": "powerdown"})
    assert one.share
    numbers = [*(nic.fd for nic in one.nics), one.qmp_fd, one.control_fd, one.share.fd]

    assert [3, 4, 5, 6] == numbers


def test_a_root_that_cannot_be_is_refused() -> None:
    with pytest.raises(UnikernelError, match=r"linux\.kernels\.fs\.root virtiofs: firecracker has none"):
        made(pair=("linux", "firecracker"), keys={"kernel": "fs"})


def test_more_shared_volumes_than_a_plan_has_slots_for_are_refused() -> None:
    many = tuple(Mount(destination=f"/v{n}", type="bind", source="/h/data", options=()) for n in range(30))
    with pytest.raises(SpecError, match="31 directories are shared with the guest: it takes 20"):
        made(*many)


def test_a_file_system_of_the_host_is_refused() -> None:
    with pytest.raises(SpecError, match="mounts: /nfs: a guest cannot mount nfs of the host"):
        made(Mount(destination="/nfs", type="nfs", source="server:/", options=()))


def test_an_image_with_its_own_init_gets_files_into_its_initrd() -> None:
    keys = {"binary": "/k", "kernel": "", "initrd": "/initrd"}
    roles = ("kernel", "initrd")
    plain, _, _ = made(roles=roles, keys=keys)
    given, _, _ = made(RESOLV, SECRET, roles=roles, keys=keys)

    assert (None, "/guest/initrd") == (plain.archive, plain.initrd)
    assert given.archive
    assert (("etc/resolv.conf", "/h/resolv.conf"), ("run/secret", "/h/secret")) == given.archive.trees
    assert not given.archive.uinit
    with pytest.raises(SpecError, match="mounts: /data: the guest gets a copy of it, and what it writes would be lost"):
        made(DATA, roles=roles, keys=keys)


def test_unikraft_gets_one_archive_with_one_trailer() -> None:
    one, host, spec = made(RESOLV, pair=("unikraft", "qemu"), roles=("kernel", "initrd"), env=(), args=("app",))

    assert one.archive
    assert one.archive.cut
    planned = plan.text(plan.monitor(spec, monitors.load("qemu"), one, host, NET).operations)
    assert "initrd  'guest/initrd'  [2]  1\n" in planned


def test_urunit_finds_its_configuration() -> None:
    keys, args = {"binary": "/k", "kernel": "", "initrd": "/initrd"}, ("/urunit", "/app")
    with_initrd, _, _ = made(roles=("kernel", "initrd"), keys=keys, args=args, uid=5, gid=6, cwd="/w", env=("A=b c",))
    without, _, _ = made(roles=("kernel", "disk0"), keys=keys | {"initrd": ""}, args=args, env=('A="',))

    assert with_initrd.archive
    assert without.archive
    assert (("urunit.conf", 0o600, b"UES\nA=b c\nUEE\nUCS\nUID:5\nGID:6\nWD:/w\nUCE\n"),) == with_initrd.archive.files
    assert ' "A=b c" URUNIT_CONFIG=/urunit.conf rdinit=/urunit -- /app' in with_initrd.words[0]
    assert b'UES\nA="\nUEE\nUCS\nUID:0\nGID:0\nWD:/\nUCE\n' == without.archive.raw
    assert "retain_initrd URUNIT_CONFIG=/sys/firmware/initrd init=/urunit -- /app" in without.words[0]
    assert "/guest/initrd" == without.initrd


def test_a_framework_without_mounts_gets_a_notice_or_refuses() -> None:
    spec = replace(SPEC, mounts=(*OWN, RESOLV))

    assert ("/etc/resolv.conf: a mirage guest does not get it",) == mounts.refused(spec, "mirage")
    # Kubernetes gives it to every pod
    token = replace(SECRET, destination="/var/run/secrets/kubernetes.io/serviceaccount")
    assert 1 == len(mounts.refused(replace(SPEC, mounts=(token,)), "mirage"))
    with pytest.raises(SpecError, match="mounts: /data: a mirage guest cannot be given it: remove it"):
        mounts.refused(replace(SPEC, mounts=(RESOLV, DATA)), "mirage")


def test_init_urunc_is_for_linux() -> None:
    with pytest.raises(UnikernelError, match="init urunc: a mirage guest has none"):
        made(pair=("mirage", "qemu"), keys={"init": "urunc"})


# --- the rootfs as / of a guest that mounts it by itself

SHARED = {"binary": "/k", "kernel": "", "mount_rootfs": True}


def on_rootfs(*volumes: Mount, pair: tuple[str, str] = ("linux", "qemu"), **given: Any) -> tuple[Machine, Host, Spec]:
    """As `made`, with /data and /etc/resolv.conf in the rootfs."""
    given["keys"] = SHARED | given.get("keys", {})
    return made(*volumes, pair=pair, **given)


@pytest.mark.parametrize(
    ("pair", "keys", "words"),
    [
        (("linux", "qemu"), {}, "root=fs0 rw rootfstype=9p rootflags=trans=virtio,version=9p2000.L,"),
        (("unikraft", "qemu"), {}, 'vfs.fstab=[ "fs0:/:9pfs:::" ]'),
        (("unikraft", "qemu"), {"version": "0.15.0"}, "vfs.rootfs=9pfs"),
    ],
)
def test_the_rootfs_is_shared_with_a_guest_that_mounts_it(
    pair: tuple[str, str], keys: dict[str, Any], words: str
) -> None:
    one, host, spec = on_rootfs(RESOLV, DATA, pair=pair, keys=keys, args=("/app",), env=())

    assert words in " ".join(one.words)
    assert one.share
    assert ("/guest/share/root", "fs0", None) == (one.share.path, one.share.tag, one.archive)
    planned = plan.text(plan.monitor(spec, monitors.load("qemu"), one, host, NET).operations)
    assert "clone_tree  44  '/b/rootfs'  6" in planned
    assert "attach  44  'guest/share/root'" in planned
    assert "attach_below  45  'guest/share/root'  'etc/resolv.conf'" in planned
    assert "attach_below  46  'guest/share/root'  'data'" in planned
    assert "file  'guest/share/root/etc" not in planned


def test_a_read_only_rootfs_is_shared_read_only() -> None:
    one, host, spec = on_rootfs(readonly=True)

    planned = plan.text(plan.monitor(spec, monitors.load("qemu"), one, host, NET).operations)
    assert "clone_tree  44  '/b/rootfs'  7" in planned
    assert any(word.endswith(",readonly=on") for word in monitors.load("qemu").argv(one))


def test_a_mount_without_a_place_in_a_shared_rootfs_is_refused_or_noticed() -> None:
    with pytest.raises(SpecError, match="mounts: /run/secret: the rootfs has no such directory: make it in the image"):
        on_rootfs(SECRET)
    with pytest.raises(SpecError, match="mounts: /scratch: a linux guest with an init of its own mounts no tmpfs"):
        on_rootfs(SCRATCH)
    hosts = replace(RESOLV, destination="/etc/hosts")
    one, _, _ = on_rootfs(hosts)

    assert one.share
    assert 1 == len(one.share.entries)


def test_virtiofs_is_taken_where_the_host_has_it_unless_9p_is_asked_for() -> None:
    for share, kind in (("", "virtiofs"), ("9pfs", "9pfs")):
        one, _, _ = on_rootfs(keys={"share": share}, virtiofsd="/usr/lib/qemu/virtiofsd")

        assert one.share
        assert kind == one.share.kind
        assert ("root=fs0 rw rootfstype=virtiofs" in one.words[0]) == (kind == "virtiofs")


def test_mewz_has_virtiofs_and_is_not_told() -> None:
    mewz: dict[str, Any] = {"pair": ("mewz", "qemu"), "args": ("/app",), "env": ()}
    one, _, _ = on_rootfs(RESOLV, DATA, virtiofsd="/usr/lib/qemu/virtiofsd", **mewz)

    assert one.share
    assert ("virtiofs", ("ip=10.4.0.2/22", "gateway=10.4.0.1")) == (one.share.kind, one.words)
    with pytest.raises(UnikernelError, match="and this host has no virtiofsd: install it"):
        on_rootfs(**mewz)


@pytest.mark.parametrize(
    ("pair", "keys", "reason"),
    [
        (("linux", "firecracker"), {}, "and firecracker shares no directories: use hypervisor qemu"),
        (("unikraft", "firecracker"), {}, "mountRootfs: a unikraft guest mounts no file system of a block device"),
        (("linux", "qemu"), {"share": "virtiofs"}, "mountRootfs virtiofs: linux on qemu has none here"),
        (("linux", "qemu"), {"kernel": "small", "share": "virtiofs"}, "mountRootfs virtiofs: qemu has none here"),
    ],
)
def test_a_rootfs_that_cannot_be_shared_is_refused(pair: tuple[str, str], keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnikernelError, match=reason):
        on_rootfs(pair=pair, keys=keys, args=("/app",), env=())


def test_the_initrd_of_a_unikraft_image_is_its_root() -> None:
    one, _, _ = on_rootfs(
        pair=("unikraft", "qemu"), roles=("kernel", "initrd"), keys={"initrd": "/i"}, args=("/app",), env=()
    )

    assert one.share is None
    assert "initrd0:/:extract" in " ".join(one.words)


def test_urunit_on_a_shared_rootfs_finds_its_configuration() -> None:
    one, _, _ = on_rootfs(args=("/urunit", "/app"))

    assert one.archive
    assert one.archive.raw.startswith(b"UES\n")
    assert "URUNIT_CONFIG=/sys/firmware/initrd init=/urunit -- /app" in one.words[0]


# --- disks of the image


def test_uinit_mounts_the_disks_where_they_are_to_be() -> None:
    keys = {"block": "/a,/b,/c", "block_mount_point": "/,,/data"}
    one, _, _ = made(SECRET, roles=("kernel", "disk0", "disk1", "disk2"), keys=keys, readonly=True)

    assert [
        "root ext4 /dev/vda 1 ",
        "mount ext4 /dev/vdc /data 1 ",
        "bind /.urunc/volumes/0 /run/secret 3 1",
    ] == lines(one, "root", "mount", "bind")
    assert ["status /dev/vdd"] == lines(one, "status")
    assert one.share is None


def test_a_disk_that_is_not_the_root_leaves_the_rootfs_that() -> None:
    one, _, _ = made(roles=("kernel", "disk0"), keys={"block": "/a", "block_mount_point": "/data"})

    assert ["root share /root 0 ", "mount ext4 /dev/vda /data 0 "] == lines(one, "root", "mount")


@pytest.mark.parametrize("point", ["/a,/b,/c", "/a,/a", ",/", "/a,/"])
def test_mount_points_that_cannot_be_are_refused(point: str) -> None:
    with pytest.raises(UnikernelError, match=f"blkMntPoint {point}: there are 2 disks, of which the first may be /"):
        made(roles=("kernel", "disk0", "disk1"), keys={"block": "/a,/b", "block_mount_point": point})


def test_urunit_is_told_the_disks_by_their_serial_numbers() -> None:
    keys = {"binary": "/k", "kernel": "", "block": "/a,/b", "block_mount_point": "/,/data"}
    one, _, _ = made(roles=("kernel", "disk0", "disk1"), keys=keys, args=("/urunit", "/app"))

    assert one.archive
    assert one.archive.raw.endswith(b"UCE\nUBS\nID:disk1\nMP:/data\nUBE\n")
    assert "serial=disk1" in " ".join(monitors.load("qemu").argv(one))


@pytest.mark.parametrize(
    ("guest", "keys", "filesystem", "reason"),
    [
        ("linux", {}, "xfs", "block /boot/disk0 is xfs: urunc mounts ext4, ext3, ext2: make it one of them"),
        ("linux", {"kernel": "", "binary": "/k"}, "ntfs", "block /boot/disk0 is ntfs: a linux guest mounts ext4,"),
        ("linux", {"kernel": "", "binary": "/k"}, "xfs", ""),
        ("linux", {}, "ext2", ""),
        ("linux", {}, "", ""),
        ("linux", {"block_mount_point": ","}, "xfs", ""),
        ("rumprun", {}, "ext4", "block /boot/disk0 is ext4: a rumprun guest mounts ext2, ext3, ufs, iso9660"),
        ("rumprun", {}, "ext2", ""),
        ("mirage", {}, "vfat", ""),
    ],
)
def test_a_file_system_that_the_guest_cannot_have_is_refused_by_name(
    guest: str, keys: dict[str, Any], filesystem: str, reason: str
) -> None:
    kernel, disk, more = files("kernel", "disk0", "disk1", kinds=("bzimage",))
    found = (kernel, replace(disk, filesystem=filesystem), *((more,) if "block_mount_point" in keys else ()))
    host = replace(HOST, files=found, config=CONFIG)
    unikernel = replace(UNIKERNEL, **({"kernel": "small"} | keys))
    uinit = unikernel.kernel != "" and guest == "linux"
    if not reason:
        storage.check_filesystems(unikernels.load(guest), unikernel, host, uinit=uinit)
        return

    with pytest.raises(UnikernelError, match=reason):
        storage.check_filesystems(unikernels.load(guest), unikernel, host, uinit=uinit)


def test_a_given_device_is_a_node_and_is_held_while_the_guest_runs() -> None:
    keys = {"binary": "/k", "kernel": "", "block": "/dev/a,/dev/b"}
    unikernel = replace(UNIKERNEL, **keys)
    kernel, one, two = files("kernel", "disk0", "disk1", kinds=("pvh",))
    found = (kernel, replace(one, node=(8, 16)), replace(two, node=(8, 32), read_only=True))
    host, qemu = replace(HOST, files=found, kvm="full"), monitors.load("qemu")
    built = machine.machine_of(SPEC, unikernel, unikernels.load("linux"), qemu, host, Network())
    planned = plan.monitor(SPEC, qemu, built, host, Network()).operations

    assert [False, True] == [disk.read_only for disk in built.disks]
    assert [row for row in planned if row[0] == "node" and "guest" in str(row[1])] == [
        ("node", "guest/disk0", 0o060666, 8, 16),
        ("node", "guest/disk1", 0o060666, 8, 32),
    ]
    assert [("lock", 2, "", 1, "/boot/disk0"), ("claim", 6, "guest/disk0"), ("lock", 3, "", 0, "/boot/disk1")] == [
        row for row in planned if row[0] in ("lock", "claim")
    ]
    assert ("lock_file", 2, "/run/urunc/@locks/8:16") in planned
    assert [2, 6, 3] == [row[1] for row in planned if row[0] == "keep" and int(str(row[2])) >= 7]


def test_an_image_is_locked_as_the_guest_uses_it() -> None:
    unikernel = replace(UNIKERNEL, binary="/k", kernel="", block="/a")
    host = replace(HOST, files=files("kernel", "disk0", kinds=("pvh",)), kvm="full")
    for read_only in (False, True):
        spec = replace(SPEC, readonly=read_only)
        built = machine.machine_of(spec, unikernel, unikernels.load("linux"), monitors.load("qemu"), host, Network())
        planned = plan.monitor(spec, monitors.load("qemu"), built, host, Network()).operations

        assert [("lock", 2, "guest/disk0", int(not read_only), "/boot/disk0")] == [
            row for row in planned if row[0] == "lock"
        ]


def test_what_would_be_lost_with_the_initrd_of_a_disk_is_refused() -> None:
    """It is the kernel's own, which goes on to the disk."""
    keys = {"binary": "/k", "kernel": "", "initrd": "/i", "mount_rootfs": True}
    backing = replace(THIN, type="ext4")
    one, _, _ = made(RESOLV, roles=("kernel", "initrd"), keys=keys, backing=backing)

    assert one.archive is None
    assert one.snapshot
    with pytest.raises(SpecError, match="mounts: /run/secret/: a linux guest cannot be given it"):
        made(SECRET, roles=("kernel", "initrd"), keys=keys, backing=backing)
    with pytest.raises(UnikernelError, match="initrd: urunit finds its configuration there"):
        made(roles=("kernel", "initrd"), keys=keys, backing=backing, args=("/urunit", "/app"))


def test_uinit_on_a_snapshot_gets_its_volumes() -> None:
    one, _, _ = made(SECRET, keys={"mount_rootfs": True}, backing=THIN)

    assert ["root ext4 /dev/vda 0 ", "bind /.urunc/volumes/0 /run/secret 3 1"] == lines(one, "root", "bind")
    assert ["status /dev/vdb"] == lines(one, "status")
