"""The filters of the monitors: their lists by the kernel's own numbers, their instructions by an interpreter."""

import os
import re
import struct
import subprocess
from pathlib import Path

import pytest
from tests.unit.test_bundle import spec_of

from urunc import calls, launch, monitors
from urunc._record import replace
from urunc.errors import HostError

MACHINES = {"x86_64": 0xC000003E}
MACHINE = os.uname().machine
ALLOW, LOG, KILL, ENOSYS = 0x7FFF0000, 0x7FFC0000, 0x80000000, 0x00050026
LISTS = [(machine, monitor) for machine in MACHINES for monitor in calls.table(machine)]


def answer(program: bytes, architecture: int, number: int, first: int = 0) -> int:
    """What the kernel would answer to a system call (Documentation/networking/filter.rst)."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, first, *(0,) * 5)
    rows = list(struct.iter_unpack("<HBBI", program))
    at, value = 0, 0
    while True:
        code, true, false, k = rows[at]
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("<I", data, k)
            case 0x06:
                return int(k)
            case 0x15 | 0x35 | 0x45:
                holds = {0x15: value == k, 0x35: value >= k, 0x45: value & k != 0}[code]
                at += true if holds else false
            case _:
                raise AssertionError(f"instruction {code:#x}")


def numbers_of_the_kernel() -> dict[str, int]:
    command = ("gcc", "-E", "-dM", "-include", "asm/unistd.h", "-x", "c", "/dev/null")
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}


@pytest.mark.parametrize(("machine", "monitor"), LISTS)
def test_a_filter_allows_its_list_and_nothing_else(machine: str, monitor: str) -> None:
    program, architecture = calls.program(monitor, machine), MACHINES[machine]
    lists = calls._lists(machine)
    expected = {**lists.REVIEWED, **lists.ALLOWED[monitor]}
    hidden = {lists.HIDDEN[name] for name in calls.HIDDEN}
    allowed = {expected[name] for name in expected} - hidden - {lists.REVIEWED["clone"]}
    answers = {number: answer(program, architecture, number) for number in range(lists.LAST + 1)}

    assert allowed == {number for number, given in answers.items() if given == ALLOW}
    assert hidden == {number for number, given in answers.items() if given == ENOSYS}
    assert {ALLOW, ENOSYS, KILL} == set(answers.values())


@pytest.mark.parametrize(("machine", "monitor"), LISTS)
def test_what_a_filter_cannot_know_is_no_way_round_it(machine: str, monitor: str) -> None:
    """Another architecture's calls, numbers of the future and of x32, processes in place of threads."""
    program, architecture = calls.program(monitor, machine), MACHINES[machine]
    lists = calls._lists(machine)
    read, clone = lists.REVIEWED["read"], lists.REVIEWED["clone"]

    assert KILL == answer(program, 0x40000003, read)  # AUDIT_ARCH_I386
    assert {ENOSYS} == {answer(program, architecture, number) for number in (lists.LAST + 1, 0x40000000 | read, -1)}
    assert KILL == answer(program, architecture, clone, 17)  # SIGCHLD: a fork
    assert ALLOW == answer(program, architecture, clone, calls.CLONE_THREAD | 0x3D0F00)


@pytest.mark.parametrize(("machine", "monitor"), LISTS)
def test_with_log_nothing_is_denied(machine: str, monitor: str) -> None:
    """What does not exist still does not."""
    program, lists = calls.program(monitor, machine, log=True), calls._lists(machine)
    answers = {answer(program, MACHINES[machine], number) for number in range(lists.LAST + 2)}

    assert {ALLOW, LOG, ENOSYS} == answers


def test_a_monitor_or_machine_without_a_list_has_no_filter_of_ours() -> None:
    """Which is for monitors that bring one."""
    without = [name for name in monitors.MODULES if not calls.program(name, "x86_64")]

    assert b"" == calls.program("qemu", "pdp11")
    assert all(monitors.load(name).seccomp or name == "cloud-hypervisor" for name in without)


UNAME = type(os.uname())
QEMU = monitors.load("qemu")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that nobody has recorded anything on."""
    monkeypatch.setattr(os, "uname", lambda: UNAME(("Linux", "host", "6.1", "#1", "aarch64")))


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("monitor", monitors.MODULES)
def test_a_machine_without_lists_is_told_of(monitor: str) -> None:
    rows, notices = launch.filters(spec_of(Path("/b")), monitors.load(monitor), "", debug=False)

    assert ((), 1) == (rows, len(notices))
    assert f"{monitor} is held by its own seccomp filter alone: its system calls on aarch64 are" in notices[0]


@pytest.mark.usefixtures("elsewhere")
def test_a_monitor_that_nothing_would_filter_is_refused() -> None:
    """But for --debug, by which its calls are recorded."""
    bare, spec = replace(QEMU, seccomp=False), spec_of(Path("/b"))
    with pytest.raises(HostError, match="qemu has no seccomp filter, and its system calls on aarch64 are not recorded"):
        launch.filters(spec, bare, "", debug=False)

    assert ((), ("qemu is held by no seccomp filter: --debug",)) == launch.filters(spec, bare, "", debug=True)


@pytest.mark.skipif(not calls.table(MACHINE), reason=f"no list for {MACHINE}")
def test_a_monitor_with_a_list_is_not_told_of() -> None:
    rows, notices = launch.filters(spec_of(Path("/b")), QEMU, "/usr/bin/qemu-system-x86_64", debug=False)

    assert (1, ()) == (len(rows), notices)


@pytest.mark.skipif(MACHINE not in MACHINES, reason=f"no list for {MACHINE}: its numbers are not compared")
def test_numbers_are_the_kernels() -> None:
    numbers, lists = numbers_of_the_kernel(), calls._lists(MACHINE)

    for named in (lists.REVIEWED, lists.HIDDEN, *lists.ALLOWED.values()):
        assert named == {name: numbers[name] for name in named}
    assert max(numbers.values()) >= lists.LAST
    assert {name for names in calls.REVIEWED.values() for name in names.split()} == set(lists.REVIEWED)
    assert set(calls.HIDDEN) == set(lists.HIDDEN)


# Ways to other processes, other namespaces, the kernel itself, or round the filter: nothing that a monitor does.
OUTWARD = (
    *(
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "process_madvise",
        "pidfd_open",
        "pidfd_getfd",
        "pidfd_send_signal",
    ),
    *("kcmp", "kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "setns", "unshare", "fork", "vfork", "clone3"),
    *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount"),
    *("fspick", "mount_setattr", "open_by_handle_at", "name_to_handle_at", "fanotify_init", "add_key", "request_key"),
    *(
        "keyctl",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "init_module",
        "finit_module",
        "delete_module",
    ),
    *("kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "quotactl", "acct", "syslog", "settimeofday"),
    *("clock_settime", "adjtimex", "clock_adjtime", "sethostname", "setdomainname", "iopl", "ioperm", "modify_ldt"),
    *("vhangup", "shmget", "shmat", "semget", "msgget", "mq_open", "setuid", "setgid", "setreuid", "setregid"),
    *("setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid", "capset", "personality", "lookup_dcookie"),
    *("nfsservctl", "migrate_pages", "move_pages", "vmsplice", "memfd_secret"),
)
NEEDED = {"cloud-hypervisor": {"tkill"}, "firecracker": {"tkill"}, "hvt": {"personality"}}


@pytest.mark.skipif(MACHINE not in MACHINES, reason=f"no list for {MACHINE}: its numbers are not known")
@pytest.mark.parametrize("monitor", calls.table(MACHINE))
def test_no_filter_leads_out(monitor: str) -> None:
    known, program = numbers_of_the_kernel(), calls.program(monitor, MACHINE)
    made = {name for name in OUTWARD if name in known and answer(program, MACHINES[MACHINE], known[name]) == ALLOW}

    assert made == NEEDED.get(monitor, set())


@pytest.mark.parametrize("monitor", calls.OWN)
def test_a_list_of_ours_holds_what_the_monitors_own_filter_lets_through(monitor: str) -> None:
    """Where the machine has such a call at all."""
    names = calls.OWN[monitor].split()

    assert len(names) == len(set(names))
    assert set(names) == set(names) & set(calls.table("x86_64")[monitor])
    assert not {"clone", "fork", "vfork", "execve", "ptrace", "mount", "setns", "unshare", "bpf"} & set(names)
