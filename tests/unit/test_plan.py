"""Plans, which are text: every pair of the two tables has its golden ones in tests/plans.

`URUNC_UPDATE_PLANS=1 pytest tests/unit/test_plan.py` writes them anew; the difference is there to be read.
"""

import itertools
import os
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from urunc import _fastpath, hooks, machine, monitors, plan, slots, unikernels
from urunc._fastpath import Json
from urunc._record import replace
from urunc.annotations import Unikernel
from urunc.cage import Cage
from urunc.config import Config, KernelConfig
from urunc.errors import HostError, SpecError, UnikernelError, UruncError
from urunc.facts import Host, Network
from urunc.image import File
from urunc.slots import NIC_SLOT, NIC_SLOTS
from urunc.spec import Hook, IdMapping, Namespace, Rlimit, Spec

PLANS = Path(__file__).resolve().parents[1] / "plans"
HEADER = Path(__file__).resolve().parents[2] / "src" / "_fastpath" / "plan.h"
UPDATE = bool(os.environ.get("URUNC_UPDATE_PLANS"))

NEW = tuple(Namespace(type=kind) for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup"))
SPEC = Spec(
    version="1.0.2",
    bundle="/b",
    rootfs="/b/rootfs",
    readonly=False,
    args=("/app", "--flag", "two words", "comma,comma"),
    env=("PATH=/bin", "GREETING=good morning"),
    cwd="/",
    terminal=False,
    console_size=(0, 0),
    uid=0,
    gid=0,
    groups=(),
    umask=-1,
    no_new_privileges=False,
    oom_score_adj=None,
    rlimits=(),
    capabilities=None,
    hostname="guest",
    domainname="",
    mounts=(),
    namespaces=NEW,
    uid_mappings=(),
    gid_mappings=(),
    cgroups_path="",
    memory_limit_bytes=0,
    cpu_quota_us=0,
    cpu_period_us=0,
    prestart=(),
    create_runtime=(),
    create_container=(),
    start_container=(),
    poststart=(),
    poststop=(),
    annotations=Json(b"{}"),
    sysctl=(),
)
UNIKERNEL = Unikernel(
    type="linux",
    hypervisor="qemu",
    binary="/boot/kernel",
    cmdline="",
    version="",
    initrd="",
    block="",
    block_mount_point="",
    kernel="",
    accelerator="",
    init="",
    network="",
    ports="",
    solo5_net="",
    solo5_block="",
    mount_rootfs=None,
    source="annotations of config.json",
)
HOST = Host(
    files=(),
    binary="/usr/bin/MONITOR",
    program="/usr/bin/MONITOR",
    tree="/run/urunc/@cache/trees/MONITOR-0123456789abcdef",
    entries=("lib", "usr"),
    devices=None,
    kvm="limited",
    cpus=4,
    config=Config(),
)
JOINED = (
    *(Namespace(type=kind, path=f"/proc/4711/ns/{name}") for kind, name in (("network", "net"), ("ipc", "ipc"))),
    *(Namespace(type=kind) for kind in ("pid", "mount", "uts")),
)
# variant -> changes of the spec
VARIANTS: dict[str, dict[str, Any]] = {
    "terminal": {"terminal": True, "console_size": (41, 97)},
    "joined": {"namespaces": JOINED},
    "user": {
        "uid": 1234,
        "gid": 2345,
        "groups": (7, 8),
        "umask": 0o27,
        "oom_score_adj": -500,
        "rlimits": (
            Rlimit(type="RLIMIT_NOFILE", soft=512, hard=1024),
            Rlimit(type="RLIMIT_CORE", soft=0, hard=2**64 - 1),
        ),
        "memory_limit_bytes": (640 << 20) + 4096,
        "cpu_quota_us": 150_000,
        "cpu_period_us": 100_000,
    },
    "hooks": {"start_container": (Hook(path="/bin/ready", args=("ready", "a b"), env=("A=1",), timeout_s=7),)},
}
# what a framework can be told, where it is less than SPEC
ONLY: dict[str, dict[str, Any]] = {"mewz": {"args": ("/app",)}}
ROLES = ("kernel", "initrd")
PAIRS = [(guest, monitor) for guest in sorted(unikernels.MODULES) for monitor in sorted(monitors.MODULES)]
SUPPORTED = [pair for pair in PAIRS if pair[1] in unikernels.load(pair[0]).monitors]
ALL = ("initrd", *VARIANTS)


def golden_name(pair: tuple[str, str], variants: tuple[str, ...]) -> str:
    return "-".join((*pair, *(("all",) if variants == ALL else variants)))


# the first pair in full; of the others what differs by the pair
GOLDEN = {
    golden_name(pair, variants): (pair, variants)
    for pair in SUPPORTED
    for variants in ((), ALL, *((one,) for one in ("kvm", *ALL) if pair == ("linux", "qemu")))
}


def files(*roles: str, kinds: tuple[str, ...]) -> tuple[File, ...]:
    return tuple(
        File(role=role, fd=fd, name=f"/boot/{role}", kinds=kinds, size=4096) for fd, role in enumerate(roles, 10)
    )


def planned(pair: tuple[str, str], variants: tuple[str, ...]) -> tuple[Any, Any, tuple[str, ...]]:
    """The operations of both plans and the monitor's command line, with some of VARIANTS, `initrd` and `kvm`."""
    guest, monitor = unikernels.load(pair[0]), monitors.load(pair[1])
    spec = replace(SPEC, **ONLY.get(guest.name, {}))
    for variant in variants:
        spec = replace(spec, **VARIANTS.get(variant, {}))
    machine.check_pair(guest, monitor)
    found = files(*ROLES[: 2 if "initrd" in variants else 1], kinds=monitor.kernels)
    kvm = "full" if "kvm" in variants else "limited"
    host = replace(HOST, files=found, kvm=kvm, binary=f"/usr/bin/{monitor.binaries[0]}")
    made = machine.machine_of(spec, replace(UNIKERNEL, type=guest.name), guest, monitor, host, Network())
    inside = hooks.inside(spec, "c", slots.ROOTFS_SLOT)
    whole = plan.monitor(spec, monitor, made, host, Network(), "/run/tty", *inside)
    return plan.sandbox(spec).operations, whole.operations, monitor.argv(made)


def golden_text(pair: tuple[str, str], variants: tuple[str, ...]) -> str:
    try:
        sandbox, whole, argv = planned(pair, variants)
    except UruncError as error:
        return f"refused: {error}\n"
    return "\n".join([plan.text(sandbox), plan.text(whole), "", "argv:", *(f"  {word}" for word in argv), ""])


@pytest.mark.parametrize(("pair", "variants"), GOLDEN.values(), ids=GOLDEN)
def test_a_pair_has_its_golden_plan(pair: tuple[str, str], variants: tuple[str, ...]) -> None:
    """What is decided for a framework on a monitor: the plan, or why there is none."""
    path = PLANS / f"{golden_name(pair, variants)}.txt"
    text = golden_text(pair, variants)
    if UPDATE:
        path.write_text(text)

    assert path.exists(), f"no {path.name}: URUNC_UPDATE_PLANS=1 writes it"
    assert path.read_text() == text


def test_every_other_pair_is_refused_by_name() -> None:
    """One line a pair, in one file."""
    text = "".join(f"{' '.join(pair)}: {golden_text(pair, ())}" for pair in PAIRS if pair not in SUPPORTED)
    if UPDATE:
        (PLANS / "unsupported.txt").write_text(text)

    assert (PLANS / "unsupported.txt").read_text() == text
    assert len(PAIRS) - len(SUPPORTED) == text.count(" does not run on ")


def test_every_golden_plan_belongs_to_a_pair() -> None:
    assert {"unsupported.txt", *(f"{name}.txt" for name in GOLDEN)} == {path.name for path in PLANS.iterdir()}


# --- what holds for every plan

CREDENTIALS = [
    *("rlimit", "umask", "io_priority", "scheduler", "personality", "bounding_set", "groups", "user", "capabilities"),
    *("no_new_privileges", "label", "exec"),
]
FILLS = {"clone_tree": 0, "clone_file": 0, "console": 0}
TAKES = {"attach": 0, "terminal": 0}


def all_plans() -> list[Any]:
    """Every supported pair with every subset of the variants."""
    subsets = itertools.product((False, True), repeat=len(ALL))
    chosen = [tuple(itertools.compress(ALL, subset)) for subset in subsets]
    return [pytest.param(pair, names, id="-".join((*pair, *names))) for pair in SUPPORTED for names in chosen]


def operations_of(pair: tuple[str, str], names: tuple[str, ...]) -> tuple[Any, Any]:
    try:
        return planned(pair, names)[:2]
    except SpecError as error:
        pytest.skip(f"refused, as its golden plan says: {error}")


@pytest.mark.parametrize(("pair", "names"), all_plans())
def test_a_plan_keeps_the_order_of_the_sandbox(pair: tuple[str, str], names: tuple[str, ...]) -> None:
    """DESIGN, section 5: what needs the old root comes before pivot_root, credentials after it, exec last."""
    _, whole = operations_of(pair, names)
    words = [operation[0] for operation in whole]
    stages = [operation[1] for operation in whole if operation[0] == "stage"]
    tail = [word for word in words[words.index("pivot_root") :] if word in CREDENTIALS]

    assert ["root", "wait", "enter", "exec"] == stages
    assert tail == sorted(tail, key=CREDENTIALS.index)
    assert words[-1].startswith("exec")
    assert 1 == words.count("pivot_root")
    for early in ("oom_score_adj", "attach", "attach_root", "terminal"):
        assert early not in words[words.index("pivot_root") :]
    assert set(words) & {"hook"} == ({"hook"} if "hooks" in names else set())
    assert "no_new_privileges" in words


@pytest.mark.parametrize(("pair", "names"), all_plans())
def test_a_plan_uses_only_slots_that_it_has_filled(pair: tuple[str, str], names: tuple[str, ...]) -> None:
    """And fills none twice; what is attached has its place in the root."""
    _, whole = operations_of(pair, names)
    inherited = 2 if "initrd" in names else 1
    filled = [operation[1] for operation in whole if operation[0] in FILLS]
    taken = [operation[1] for operation in whole if operation[0] in TAKES]
    places = [operation[1] for operation in whole if operation[0] in ("directory", "file")]

    assert len(set(filled)) == len(filled)
    assert set(taken) <= set(filled)
    assert set(range(1, inherited + 1)) <= set(filled)  # a descriptor of the rootfs becomes a mount of its file
    assert {operation[2] for operation in whole if operation[0] == "attach"} <= set(places)
    assert {operation[1] for operation in whole if operation[0] == "hook"} <= set(filled)


@pytest.mark.parametrize(("pair", "names"), all_plans())
def test_a_plan_can_be_packed(pair: tuple[str, str], names: tuple[str, ...]) -> None:
    sandbox, whole = operations_of(pair, names)

    assert list(sandbox) == unpacked(_fastpath.pack(sandbox))
    assert list(whole) == unpacked(_fastpath.pack(whole))


# --- decisions

FILES = files("kernel", kinds=("bzimage",))


def machine_of(spec: Spec = SPEC, unikernel: Unikernel = UNIKERNEL, **changes: Any) -> monitors.Machine:
    host = replace(HOST, files=FILES, **changes)
    qemu = monitors.load("qemu")
    return machine.machine_of(spec, unikernel, unikernels.load("linux"), qemu, host, Network())


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, 256), (1 << 20, 1), ((1 << 20) - 1, None), (10**9, 953), (512 << 20, 512)]
)
def test_memory_is_the_limit_in_mib(limit: int, expected: int | None) -> None:
    """MiB are 2^20 bytes; what is left over is not given to the guest."""
    spec = replace(SPEC, memory_limit_bytes=limit)
    if expected is None:
        with pytest.raises(SpecError, match=r"memory\.limit"):
            machine_of(spec)
        return

    assert expected == machine_of(spec).memory_mib


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [(0, 0, 1), (1, 0, 1), (100_000, 0, 1), (100_001, 0, 2), (150_000, 50_000, 3), (10**9, 0, 4), (-1, 100_000, 1)],
)
def test_vcpus_are_the_quota_rounded_up(quota: int, period: int, expected: int) -> None:
    """And no more than the host has."""
    assert expected == machine_of(replace(SPEC, cpu_quota_us=quota, cpu_period_us=period)).vcpus


ACCELERATORS = [
    # wanted, monitor's need, what KVM is good for, answer
    *(("auto", "optional", "full", "kvm"), ("auto", "optional", "limited", "tcg"), ("auto", "optional", "none", "tcg")),
    *(("kvm", "optional", "limited", "kvm"), ("kvm", "optional", "none", None), ("tcg", "optional", "full", "tcg")),
    *(("auto", "needed", "full", "kvm"), ("auto", "needed", "limited", "kvm"), ("auto", "needed", "none", None)),
    *(("tcg", "needed", "full", None), ("auto", "none", "full", "none"), ("tcg", "optional", "unasked", "tcg")),
]


@pytest.mark.parametrize(("wanted", "need", "kvm", "expected"), ACCELERATORS)
def test_the_accelerator_is_one_that_works(wanted: str, need: str, kvm: str, expected: str | None) -> None:
    """QEMU takes KVM by itself only if it is full; what has nothing else goes on with a limited one."""
    monitor = replace(monitors.load("qemu"), kvm=need)
    if expected is None:
        with pytest.raises(HostError, match="accelerator"):
            machine.accelerator(wanted, monitor, kvm)
        return

    assert expected == machine.accelerator(wanted, monitor, kvm)


@pytest.mark.parametrize(("kvm", "cpu"), [("full", "host"), ("limited", "host,arch-capabilities=off")])
def test_limited_kvm_is_not_asked_for_registers_that_it_cannot_set(kvm: str, cpu: str) -> None:
    made = machine_of(unikernel=replace(UNIKERNEL, accelerator="kvm"), kvm=kvm)
    argv = monitors.load("qemu").argv(made)

    assert cpu == argv[argv.index("-cpu") + 1]


def test_the_annotations_accelerator_comes_before_the_configurations() -> None:
    config = Config(accelerator="tcg")

    assert "kvm" == machine_of(unikernel=replace(UNIKERNEL, accelerator="kvm"), config=config, kvm="full").accelerator
    assert "tcg" == machine_of(config=config, kvm="full").accelerator


@pytest.mark.parametrize(
    ("args", "cmdline", "expected"),
    [
        (("/app", "x"), "y z", "init=/app -- x"),
        (("unikernel",), "/app y z", "init=/app -- y z"),
        ((), "/app y", "init=/app -- y"),
        (("unikernel", "x"), "/app", "init=unikernel -- x"),
    ],
)
def test_the_annotation_cmdline_replaces_the_placeholder_only(
    args: tuple[str, ...], cmdline: str, expected: str
) -> None:
    line = machine_of(replace(SPEC, args=args, env=()), replace(UNIKERNEL, cmdline=cmdline)).words[0]

    assert line.endswith(f" {expected}")


@pytest.mark.parametrize("args", [(), ("unikernel",)])
def test_a_guest_without_a_command_is_not_given_the_placeholder(args: tuple[str, ...]) -> None:
    """MirageOS ends with status 64 at an argument that it does not know."""
    kernel = files("kernel", kinds=("solo5-spt", "elf64"))

    spt = replace(UNIKERNEL, type="mirage", hypervisor="spt", cmdline="")
    chosen, guest, spec = monitors.load("spt"), unikernels.load("mirage"), replace(SPEC, args=args, env=())

    assert () == machine.machine_of(spec, spt, guest, chosen, replace(HOST, files=kernel), Network()).words


def test_the_words_of_a_host_kernel_come_first() -> None:
    config = Config(kernels=(KernelConfig(name="k", path="/k", cmdline="quiet mitigations=off"),))
    words = machine_of(unikernel=replace(UNIKERNEL, kernel="k"), config=config).words

    assert " ".join(words).startswith("quiet mitigations=off panic=-1 ")


def test_a_kernel_that_the_monitor_does_not_load_is_refused_by_name() -> None:
    host = replace(HOST, files=(replace(FILES[0], kinds=("gzip",)),))
    with pytest.raises(UnikernelError, match=r"binary /boot/kernel is gzip: qemu loads bzimage"):
        machine.machine_of(SPEC, UNIKERNEL, unikernels.load("linux"), monitors.load("qemu"), host, Network())


def test_user_and_time_namespaces_are_made_before_the_others() -> None:
    """Maps and offsets are for who makes them; the user namespace is not among the flags, as it is joined."""
    rows = (IdMapping(container_id=0, host_id=1000, size=5), IdMapping(container_id=9, host_id=3, size=1))
    asked = Cage(time_offsets=(("boottime", 7, 8), ("monotonic", -1, 0)))
    namespaces = tuple(Namespace(type=kind) for kind in ("time", "user", "mount"))
    spec = replace(SPEC, namespaces=namespaces, uid_mappings=rows, gid_mappings=rows[:1], cage=asked)
    flags = plan.CLONE_NEW["time"] | plan.CLONE_NEW["mount"]

    assert (
        ("stage", "sandbox"),
        ("user_namespace", "0 1000 5\n9 3 1\n", "0 1000 5\n"),
        ("time_offsets", "boottime 7 8\nmonotonic -1 0\n"),
        ("clone", flags),
    ) == plan.sandbox(spec).operations


def test_taps_and_terminals_belong_to_the_container_s_user_as_the_host_knows_it() -> None:
    """They are made out here, where its ids are others."""
    net = Network(interfaces=(ETH0,), indexes=(2,))
    host = replace(HOST, files=files("kernel", kinds=("bzimage",)), owner=(100_005, 200_006))
    spec = replace(SPEC, uid=5, gid=6, terminal=True)
    qemu = monitors.load("qemu")
    made = machine.machine_of(spec, UNIKERNEL, unikernels.load("linux"), qemu, host, net)
    found = {operation[0]: operation for operation in plan.monitor(spec, qemu, made, host, net).operations}

    assert 100_005 == found["link"][6]
    assert (100_005, 200_006) == found["console"][-2:]
    assert ("user", 5, 6) == found["user"]


def test_the_monitors_root_is_its_own_whatever_the_spec_says() -> None:
    """Without a mount namespace in the spec one is made all the same."""
    ((_, _), (_, flags)) = plan.sandbox(replace(SPEC, namespaces=())).operations

    assert plan.CLONE_NEW["mount"] == flags


ETH0 = unikernels.Interface(name="eth0", mac="02:00:00:00:00:01", mtu=1400, ipv4=(("10.0.0.2", 24),))


@pytest.mark.parametrize("name", ["qemu", "firecracker"])
def test_an_interface_becomes_a_device_and_a_redirect(name: str) -> None:
    """A tap goes by descriptor where the monitor can take one, else by a name that no other guest uses."""
    monitor = monitors.load(name)
    net = Network(interfaces=(ETH0,), indexes=(2,), taps=("tap0_urunc",))
    host = replace(HOST, files=files("kernel", kinds=monitor.kernels), kvm="full")
    alone = replace(UNIKERNEL, network="alone")
    made = machine.machine_of(SPEC, alone, unikernels.load("linux"), monitor, host, net)
    whole = plan.monitor(SPEC, monitor, made, host, net).operations
    (link,) = [operation for operation in whole if operation[0] == "link"]

    assert ("tap1_urunc", "eth0", 2, 1400) == link[2:6]
    assert [ETH0.mac] == [nic.mac for nic in made.nics]
    if monitor.takes_tap == "fd":
        assert [("keep", link[1], made.nics[0].fd)] == [operation for operation in whole if operation[0] == "keep"]
    else:
        assert ("tap1_urunc", -1) == (made.nics[0].tap, link[1])


@pytest.mark.parametrize(
    ("vcpus", "interfaces", "vhost", "queues"),
    [
        (1, 1, False, 1),
        (1, 1, True, 1),
        (4, 1, False, 4),
        (4, 2, True, 2),
        (64, 1, True, 5),
        (64, 1, False, 5),
        (2, 6, True, 1),
        (2, 11, False, 1),
    ],
)
def test_queues_of_an_interface(vcpus: int, interfaces: int, vhost: bool, queues: int) -> None:
    """One for each processor, as far as there are slots; with /dev/vhost-net a descriptor of it beside each."""
    qemu, linux = monitors.load("qemu"), unikernels.load("linux")
    net = Network(interfaces=(ETH0,) * interfaces, indexes=tuple(range(2, 2 + interfaces)))
    kernel = files("kernel", kinds=("bzimage",))
    host = replace(HOST, files=kernel, kvm="full", cpus=64, has_vhost_net=vhost)
    spec = replace(SPEC, cpu_quota_us=vcpus * 100_000, cpu_period_us=100_000)
    made = machine.machine_of(spec, UNIKERNEL, linux, qemu, host, net)
    whole = plan.monitor(spec, qemu, made, host, net).operations
    links: list[Any] = [operation for operation in whole if operation[0] == "link"]
    served: list[Any] = [operation[1] for operation in whole if operation[0] == "vhost_net"]
    kept = [operation[1:] for operation in whole if operation[0] == "keep"]
    is_served = vhost and interfaces < 6

    assert [queues] * interfaces == [link[-1] for link in links]
    assert (interfaces * queues if is_served else 0) == len(served)
    slots = [slot + queue for _, slot, *_ in links for queue in range(queues)] + served
    assert len(slots) == len(set(slots)) <= NIC_SLOTS
    assert set(range(NIC_SLOT, NIC_SLOT + NIC_SLOTS)) >= set(slots)
    assert [(slot, 3 + number) for number, slot in enumerate(sorted(slots))] == kept[: len(slots)]
    words = ",".join(qemu.argv(made))
    assert (queues > 1) == ("fds=" in words) == (f",mq=on,vectors={2 * queues + 2}" in words)
    assert is_served == ("vhost=on,vhostfd" in words)


def test_the_words_of_queues() -> None:
    qemu = monitors.load("qemu")
    nic = monitors.Nic(mac="02:00:00:00:00:01", fd=3, queues=2, vhost_fd=5)
    made = monitors.Machine(
        binary="q", accelerator="kvm", memory_mib=1, vcpus=2, kernel="/k", words=(), nics=(nic, replace(nic, queues=1))
    )

    assert ("tap,id=net0,fds=3:4,vhost=on,vhostfds=5:6", "tap,id=net1,fd=3,vhost=on,vhostfd=5") == tuple(
        word for word in qemu.argv(made) if word.startswith("tap,")
    )
    assert "virtio-net-device,netdev=net0,mac=02:00:00:00:00:01,mq=on" in qemu.argv(replace(made, type="microvm"))


@pytest.mark.parametrize(
    ("changes", "taps", "numbers"),
    [
        ({"network": "shared", "ports": "80"}, (), (0xAC100201, 30, 0xAC100202, 6 << 16 | 80)),
        ({}, ("tap0_urunc",), (0xAC100205, 30, 0xAC100206)),
    ],
)
def test_a_guest_that_shares_has_a_subnet(
    changes: dict[str, str], taps: tuple[str, ...], numbers: tuple[int, ...]
) -> None:
    """Whether its annotations say so, or another guest is there before it."""
    monitor, net = monitors.load("qemu"), Network(interfaces=(ETH0,), indexes=(2,), taps=taps)
    host, unikernel = replace(HOST, files=files("kernel", kinds=monitor.kernels)), replace(UNIKERNEL, **changes)
    made = machine.machine_of(SPEC, unikernel, unikernels.load("linux"), monitor, host, net)
    whole = plan.monitor(SPEC, monitor, made, host, net).operations
    (share,) = [operation for operation in whole if operation[0] == "share"]

    assert (f"tap{len(taps)}_urunc", "eth0", 2, 1400, 0, 12, numbers) == share[2:]
    assert [] == [operation for operation in whole if operation[0] == "link"]


def test_a_plan_never_shows_a_nul() -> None:
    assert "\0" not in golden_text(("linux", "qemu"), ("hooks",))


# --- the command line of a Linux guest, read as the kernel reads it

SPACES = frozenset(b" \t\n\v\f\r\xa0")  # isspace() of the kernel's lib/ctype.c


def next_words(line: bytes) -> list[bytes]:
    """Split a command line as next_arg() of the kernel's lib/cmdline.c does."""
    words: list[bytes] = []
    at = 0
    while True:
        while at < len(line) and line[at] in SPACES:
            at += 1
        if at == len(line):
            return words
        quoted = line[at] == ord('"')
        inside = quoted
        start = at = at + quoted
        while at < len(line) and (inside or line[at] not in SPACES):
            inside ^= line[at] == ord('"')
            at += 1
        word = line[start:at]
        words.append(word[:-1] if quoted and word.endswith(b'"') else word)


def boot_words(args: tuple[str, ...], env: tuple[str, ...] = ()) -> list[bytes]:
    (line,) = unikernels.load("linux").words(unikernels.Boot(monitor="qemu", args=args, env=env))
    return next_words(line.encode("utf-8", "surrogateescape"))


@given(st.lists(st.text(st.characters(exclude_characters='\0"\n\r', exclude_categories=["Cs"])), max_size=6))
def test_an_argument_arrives_as_it_is(args: list[str]) -> None:
    """Whatever is a blank to the kernel, the byte 0xa0 in `à` too, does not split it."""
    if "--" in args:
        return  # below
    words = boot_words(("/app", *args))

    assert [word.encode() for word in args] == words[words.index(b"--") + 1 :]


@pytest.mark.parametrize(
    "word", ["a b", "a\tb", "a\vb", "a\fb", "voilà", "a\xa0b", "", "x=a b", "'a'", "a\\b", "-", "漢"]
)
def test_an_argument_of_this_kind_arrives_as_it_is(word: str) -> None:
    words = boot_words(("/app", "first", word, "last"))

    assert [b"first", word.encode(), b"last"] == words[words.index(b"--") + 1 :]


@pytest.mark.parametrize("word", ['a"b', '"', "a\nb", "a\rb"])
def test_an_argument_that_cannot_arrive_is_refused(word: str) -> None:
    with pytest.raises(SpecError, match=r"process\.args"):
        boot_words(("/app", word))


def test_two_dashes_among_the_arguments_are_refused() -> None:
    """parse_args() of the kernel stops at the second `--`: the arguments after it would be lost without a word."""
    with pytest.raises(SpecError, match="--"):
        boot_words(("/app", "a", "--", "b"))


@pytest.mark.parametrize("count", [33, 100])
def test_more_arguments_than_the_kernel_takes_are_refused(count: int) -> None:
    """It panics: "Too many boot init vars" (CONFIG_INIT_ENV_ARG_LIMIT is 32)."""
    with pytest.raises(SpecError, match="argument"):
        boot_words(("/app", *("x" for _ in range(count))))


@pytest.mark.parametrize("count", [33, 100])
def test_more_variables_than_the_kernel_takes_are_refused(count: int) -> None:
    """It panics: "Too many boot env vars" (CONFIG_INIT_ENV_ARG_LIMIT is 32)."""
    with pytest.raises(SpecError, match="env"):
        boot_words(("/app",), tuple(f"V{number}=1" for number in range(count)))


# --- the wire format


def table() -> dict[int, tuple[str, str]]:
    """Code -> name and signature, as the C sources have them."""
    rows = re.findall(r'X\((\w+), "(\w+)", "([isbnv]*)"\)', HEADER.read_text())
    return {code: (name, signature) for code, (_, name, signature) in enumerate(rows)}


TABLE = table()
STAGES = tuple(
    name.lower()
    for name in re.findall(r"FP_STAGE_(\w+)", HEADER.read_text().split("enum fp_stage {")[1].split("}")[0])
    if name != "COUNT"
)


class Reader:
    """Reads the wire format by its description in plan.h."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, form: str) -> int:
        (value,) = struct.unpack_from("=" + form, self.data, self.at)
        self.at += struct.calcsize("=" + form)
        return int(value)

    def text(self) -> bytes:
        length = self.take("Q")
        data = self.data[self.at : self.at + length]
        padding = self.data[self.at + length : self.at + length + 8 - length % 8]
        assert (length, bytes(8 - length % 8)) == (len(data), padding)
        self.at += length + len(padding)
        return data

    def argument(self, kind: str) -> object:
        if kind == "i":
            return self.take("q")
        if kind == "b":
            return self.text()
        if kind == "s":
            return os.fsdecode(self.text())
        count = self.take("Q")
        if kind == "n":
            return tuple(self.take("q") for _ in range(count))
        return tuple(os.fsdecode(self.text()) for _ in range(count))


def unpacked(data: bytes) -> list[tuple[object, ...]]:
    reader = Reader(data)
    assert (0x4E4C5055, 1, 0, len(data)) == tuple(reader.take(form) for form in "IHHI")
    operations: list[tuple[object, ...]] = []
    for _ in range(reader.take("I")):
        begin = reader.at
        name, signature = TABLE[reader.take("H")]
        assert 0 == reader.take("H")
        size = reader.take("I")
        arguments = tuple(reader.argument(kind) for kind in signature)
        assert begin + size == reader.at
        if name == "stage":
            arguments = (STAGES[int(str(arguments[0]))],)
        operations.append((name, *arguments))
    assert len(data) == reader.at
    return operations


# what a command line or a JSON text can bring: any text without NUL, and bytes that are not UTF-8
WORD = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.binary().filter(lambda data: 0 not in data).map(os.fsdecode),
)
NUMBER = st.integers(-(2**63), 2**63 - 1)
ARGUMENTS = {
    "i": NUMBER,
    "s": WORD,
    "b": st.binary(),
    "n": st.lists(NUMBER, max_size=9).map(tuple),
    "v": st.lists(WORD, max_size=9).map(tuple),
}
OPERATION = st.sampled_from([row for row in TABLE.values() if row[0] != "stage"]).flatmap(
    lambda row: st.tuples(st.just(row[0]), *(ARGUMENTS[kind] for kind in row[1]))
)


@given(st.lists(OPERATION, max_size=12))
def test_packing_splits_and_merges_nothing(operations: list[tuple[object, ...]]) -> None:
    """Blanks, quotes, commas, empty words and bytes that are not UTF-8 are data."""
    assert operations == unpacked(_fastpath.pack(operations))


def test_the_extension_knows_the_operations_of_the_header() -> None:
    assert {name: (code, signature) for code, (name, signature) in TABLE.items()} == _fastpath.OPERATIONS
    assert {name: number for number, name in enumerate(STAGES)} == _fastpath.STAGES


@pytest.mark.parametrize(
    "operation",
    [("nope",), ("hostname",), ("hostname", "a", "b"), ("stage", "later"), ("umask", 2**63), ("umask", "x")],
    ids=repr,
)
def test_an_operation_that_does_not_exist_is_refused(operation: tuple[object, ...]) -> None:
    with pytest.raises((KeyError, ValueError, OverflowError)):
        _fastpath.pack([operation])
