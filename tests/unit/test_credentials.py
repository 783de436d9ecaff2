"""Who the monitor is: what of the spec it gets, and what in the spec is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_plan import SPEC

from urunc import cage, credentials, monitors
from urunc._record import replace
from urunc.cage import Cage, MemoryPolicy, Scheduler
from urunc.errors import SpecError
from urunc.spec import Capabilities

HEADERS = Path("/usr/include/linux")
ALL = tuple(f"CAP_{name}" for name in credentials.CAPABILITIES)
QEMU = monitors.load("qemu")
MACHINE = monitors.Machine(binary="q", accelerator="tcg", memory_mib=1, vcpus=1, kernel="/k", words=())


def defined(header: str, name: str) -> dict[str, int]:
    """The macros of a header of the kernel whose name matches."""
    text = (HEADERS / header).read_text()
    return {key: int(value, 0) for key, value in re.findall(rf"#define\s+({name})\s+(0x\w+|\d+)\s", text)}


def capabilities(**sets: tuple[str, ...]) -> Capabilities:
    empty: dict[str, Any] = dict.fromkeys(Capabilities.__slots__, ())
    return Capabilities(**(empty | sets))


def test_numbers_are_the_kernels() -> None:
    """By its own headers: an index that is off by one would give a monitor the wrong capability."""
    numbers = {f"CAP_{name}": number for number, name in enumerate(credentials.CAPABILITIES)}
    assert defined("capability.h", r"CAP_[A-Z_]+").items() >= numbers.items()
    policies = {
        "SCHED_OTHER" if key == "SCHED_NORMAL" else key: value
        for key, value in defined("sched.h", "SCHED_[A-Z]+").items()
    }
    assert policies.items() >= {name: number for name, number in cage.POLICIES.items() if name != "SCHED_ISO"}.items()
    flags = defined("sched.h", "SCHED_FLAG_[A-Z_]+")
    assert {name: 1 << bit for bit, name in enumerate(cage.SCHEDULER_FLAGS)}.items() <= flags.items()
    limits = {name: number for number, name in enumerate(credentials.RLIMITS)}
    text = Path("/usr/include/asm-generic/resource.h").read_text()
    assert limits == {key: int(value) for key, value in re.findall(r"#\s*define (RLIMIT_[A-Z]+)\s+(\d+)", text)}


def test_a_monitor_that_needs_nothing_gets_nothing() -> None:
    spec = replace(SPEC, capabilities=capabilities(**dict.fromkeys(Capabilities.__slots__, ALL)))

    assert 0 == credentials.granted(spec, QEMU, 0)


def test_a_monitor_gets_what_it_needs_and_the_spec_has() -> None:
    """In all of the three sets that count; names that do not exist are in none."""
    given = capabilities(bounding=ALL, effective=("CAP_CHOWN", "CAP_KILL"), permitted=("CAP_CHOWN", "CAP_NONSENSE"))
    needy = replace(QEMU, capabilities=("CAP_CHOWN", "CAP_FOWNER", "CAP_NONSENSE"))
    chown, fowner, fsetid = 1 << 0, 1 << 3, 1 << 4

    assert chown == credentials.granted(replace(SPEC, capabilities=given), needy, fsetid)
    assert 0 == credentials.granted(replace(SPEC, capabilities=capabilities(bounding=ALL)), needy, fsetid)
    assert chown | fowner | fsetid == credentials.granted(SPEC, needy, fsetid)


def test_capabilities_are_set_while_they_still_can_be() -> None:
    """Scheduling needs CAP_SYS_NICE, the bounding set CAP_SETPCAP: both come before the change of user."""
    scheduler = Scheduler(policy=1, flags=0, nice=0, priority=7, runtime_ns=0, deadline_ns=0, period_ns=0)
    asked = Cage(io_priority=(1, 3), scheduler=scheduler, personality=8, selinux_label="a:b:c", apparmor_profile="p")
    spec = replace(SPEC, cage=asked, uid=5, gid=6, groups=(7,))
    assert [
        ("no_core",),
        ("umask", 0o022),
        ("io_priority", 1, 3),
        ("scheduler", 1, 0, 0, 7, 0, 0, 0),
        ("personality", 8),
        ("bounding_set", 0),
        ("groups", (7,)),
        ("user", 5, 6),
        ("capabilities", 0, 0, 0, 0),
        ("no_new_privileges",),
        ("label", 28, "a:b:c"),
        ("label", 29, "exec p"),
    ] == credentials.operations(spec, QEMU, MACHINE, 0)
    assert [("keyring",), ("label_file", 28, "attr"), ("label_file", 29, "attr/apparmor")] == credentials.before(
        spec, credentials.DEFAULT
    )


def test_nothing_is_done_for_what_is_not_asked_for() -> None:
    """`unconfined` is what a process without a profile is."""
    spec = replace(SPEC, cage=Cage(apparmor_profile="unconfined"))
    words = [operation[0] for operation in credentials.operations(spec, QEMU, MACHINE, 0)]

    assert ["no_core", "umask", "bounding_set", "groups", "user", "capabilities", "no_new_privileges"] == words
    assert [] == credentials.before(spec, credentials.Confinement(keyring=False))


REFUSED = [
    (
        {"process": {"scheduler": {"policy": "SCHED_FAIR"}}},
        "process.scheduler.policy: SCHED_FAIR is none of SCHED_OTHER",
    ),
    ({"process": {"scheduler": {}}}, "process.scheduler.policy:  is none of SCHED_OTHER"),
    (
        {"process": {"scheduler": {"policy": "SCHED_RR", "flags": ["X"]}}},
        "process.scheduler.flags: X is no scheduler flag",
    ),
    ({"process": {"scheduler": {"policy": "SCHED_RR", "nice": 20}}}, "process.scheduler.nice must be a whole number"),
    (
        {"process": {"ioPriority": {"class": "IOPRIO_CLASS_FAST"}}},
        "process.ioPriority.class: IOPRIO_CLASS_FAST is none",
    ),
    ({"process": {"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 8}}}, "process.ioPriority.priority must be"),
    ({"process": {"execCPUAffinity": "0"}}, "process.execCPUAffinity must be an object"),
    ({"linux": {"personality": {"domain": "BSD"}}}, "linux.personality.domain: BSD is none of LINUX, LINUX32"),
    ({"linux": {"personality": {"domain": "LINUX", "flags": ["X"]}}}, "linux.personality.flags are not supported"),
    (
        {"linux": {"timeOffsets": {"realtime": {"secs": 1}}}},
        "linux.timeOffsets: realtime is no clock of a time namespace",
    ),
    ({"linux": {"timeOffsets": {"boottime": {"nanosecs": 10**9}}}}, "linux.timeOffsets.boottime.nanosecs must be"),
    ({"linux": {"seccomp": []}}, "linux.seccomp must be an object"),
    ({"linux": {"memoryPolicy": {}}}, "linux.memoryPolicy.mode: invalid memory policy mode"),
    ({"linux": {"memoryPolicy": {"mode": "BIND"}}}, "invalid memory policy mode BIND: none of MPOL_DEFAULT, MPOL_"),
    (
        {"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "flags": ["X"]}}},
        "linux.memoryPolicy.flags: invalid memory policy flag X",
    ),
    ({"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-9876543210"}}}, "invalid memory policy nodes 0-9"),
    ({"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-"}}}, "invalid memory policy nodes 0-"),
    ({"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "5,3-1"}}}, "invalid memory policy nodes 5,3-1"),
    ({"linux": {"memoryPolicy": {"mode": "MPOL_DEFAULT", "nodes": "0-7"}}}, "mode requires 0 nodes but got 8"),
]


@pytest.mark.parametrize(("document", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_cannot_be_honoured_is_refused_by_name(document: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        cage.load(document)

    assert words in str(caught.value)


def test_nodes_are_a_list_as_the_kernel_has_it() -> None:
    policy = {"mode": "MPOL_BIND", "nodes": "0-2, 7,1", "flags": ["MPOL_F_STATIC_NODES"]}

    assert (
        MemoryPolicy(mode=2 | 1 << 15, nodes=(0, 1, 2, 7))
        == cage.load({"linux": {"memoryPolicy": policy}}).memory_policy
    )


def test_a_document_without_any_of_it_asks_for_nothing() -> None:
    assert Cage() == cage.load({"process": {}, "linux": None})
