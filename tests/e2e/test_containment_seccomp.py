"""What a monitor may ask of the kernel: our filter, tried by a program in the monitor's place; the spec's profile."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.container import BOUND_S, CONFIG, UNIKERNEL, Runtime, exit_status, merged, read, until, write_bundle
from tests.e2e.containerd import Containerd
from tests.guests import build, multiboot_build, spt_build

from urunc import calls

MACHINE = os.uname().machine
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not calls.table(MACHINE), reason=f"nobody has recorded system calls on {MACHINE}: no filter of ours"
    ),
]

DENIED = 128 + 31  # SIGSYS
SPT = {"unikernelType": "mirage", "hypervisor": "spt", "accelerator": None}
Make = Callable[..., Path]


@pytest.fixture(scope="session")
def intruder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Who has taken a monitor over."""
    program = tmp_path_factory.mktemp("intruder") / "intruder"
    source = Path(build.__file__).parent / "intruder.c"
    subprocess.run(("gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-o", program, source), check=True)
    return program


@pytest.fixture
def bundle(tmp_path: Path, hello: Path) -> Make:
    """Makes the bundle of a guest: the hello guest, or one of the spt guests by its name."""

    def make(*args: str, spt: str = "", **changes: Any) -> Path:
        keys = {f"com.urunc.unikernel.{key}": value for key, value in SPT.items()} if spt else {}
        file = spt_build.build(build.default_cache())[spt] if spt else hello
        own = {"annotations": merged(UNIKERNEL, keys), "process": {"args": list(args)}}
        return write_bundle(tmp_path / "b", {"hello": file}, merged(merged(CONFIG, own), changes))

    return make


def in_its_place(urunc: Runtime, program: Path) -> None:
    """Have `program` run where QEMU would."""
    urunc.config.write_text(f'[monitors.qemu]\npath = "{program}"\n')


def errors(text: str) -> dict[str, int]:
    """What each call of the intruder's came to: errno, 0 for success."""
    pairs = (line.rsplit(": ", 1) for line in text.splitlines() if ": " in line)
    return {call: int(number) for call, number in pairs}


def test_what_an_intruder_reaches_by_calls_that_the_monitor_needs(urunc: Runtime, bundle: Make, intruder: Path) -> None:
    """No /proc, no file of the host, no writing, no new file or node, no way up, no privilege, no ring."""
    in_its_place(urunc, intruder)
    ended = urunc("run", "--bundle", bundle("/app", "reach"), "c")
    found = errors(ended.stdout)
    missing = {call for call, number in found.items() if number == 2}
    read_only = {call for call, number in found.items() if number == 30}

    assert (0, "") == (ended.returncode, ended.stderr)
    assert {"/proc/self/status", "/sys", "/etc/passwd", "/dev/kvm", "/dev/mem", "../../../../etc/passwd"} == {
        call.split('"')[1] for call in missing
    }
    assert 6 == len(read_only)
    assert {38} == {number for call, number in found.items() if call.startswith("syscall(")}  # ENOSYS
    assert ['openat(AT_FDCWD, "..", O_RDONLY | O_DIRECTORY)'] == [call for call, number in found.items() if number == 0]
    assert {1, 22} == {number for call, number in found.items() if call.startswith("prctl")}


def test_a_terminal_that_is_a_shells_too_cannot_be_typed_into(urunc: Runtime, bundle: Make, intruder: Path) -> None:
    """Nor taken: the monitor is in a session of its own, and has no privilege.  EIO: by nobody (LEGACY_TIOCSTI)."""
    in_its_place(urunc, intruder)
    master, slave = os.openpty()
    try:
        command = urunc.words("run", "--bundle", bundle("/app", "type"), "c")
        errors_path = urunc.directory / "errors"
        with errors_path.open("wb") as err, (urunc.directory / "said").open("wb") as out:
            # as a shell's job: its session has the terminal
            process = urunc.begin(("setsid", "--ctty", "--wait", *command), stdin=slave, stdout=out, stderr=err)
            assert 0 == process.wait(BOUND_S)
    finally:
        os.close(master)
        os.close(slave)
    found = errors(read(urunc.directory / "said"))

    assert found.pop('ioctl(0, TIOCSTI, "x")') in (errno.EPERM, errno.EIO)
    assert {"isatty(0) ? 0 : -1": 0} | dict.fromkeys(
        ("ioctl(0, TIOCSCTTY, 0)", "ioctl(0, TIOCSCTTY, 1)", "ioctl(0, TIOCCONS)"), errno.EPERM
    ) == found


CALLS = (
    *(
        "mount",
        "unshare",
        "setns",
        "ptrace",
        "setuid",
        "bpf",
        "fork",
        "kill",
        "keyctl",
        "chroot",
        "pivot_root",
        "socket",
    ),
    *("perf", "userfaultfd", "process_vm", "add_key", "by_handle", "pidfd_getfd", "shmget"),
    *(["int80"] if MACHINE == "x86_64" else []),
)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_the_monitor_does_not_need_ends_it(urunc: Runtime, bundle: Make, intruder: Path, call: str) -> None:
    in_its_place(urunc, intruder)
    ended = urunc("run", "--bundle", bundle("/app", call), "c")

    assert (DENIED, "") == (ended.returncode, ended.stdout)
    assert "the monitor was ended by its seccomp filter, which denies " in ended.stderr
    assert 1 == ended.stderr.count("\n")


def logged(pid: int) -> bool:
    """Whether the kernel has written a record about a process into its log: of many at once it drops some."""
    log = subprocess.run(("dmesg",), capture_output=True, text=True, check=False).stdout
    return any("type=1326" in line and f" pid={pid} " in line for line in log.splitlines())


def test_state_names_the_call_that_ended_a_container(urunc: Runtime, bundle: Make, intruder: Path) -> None:
    """The call, too, where the kernel has logged it and its pids are ours."""
    in_its_place(urunc, intruder)
    pid = urunc.running(bundle("/app", "keyctl"))
    urunc.await_status("stopped")
    found = urunc.state()
    is_initial = os.readlink("/proc/self/ns/pid") == "pid:[4026531836]"
    call = "the system call keyctl (" if is_initial and logged(pid) else "a"

    assert found["reason"].startswith(f"the monitor was ended by its seccomp filter, which denies {call}")
    assert DENIED == exit_status(pid)


@pytest.fixture
def watched(urunc: Runtime, bundle: Make, intruder: Path) -> Callable[[str], Path]:
    """Makes the bundle of an intruder that has a companion and makes `call`."""
    in_its_place(urunc, intruder)

    def make(call: str) -> Path:
        made = bundle("app", call, annotations={"com.urunc.unikernel.unikernelType": "mirage"})
        (made / "rootfs" / "hello").write_bytes(multiboot_build.image(build.default_cache(), "halt").read_bytes())
        return made

    return make


# what libseccomp calls it, where that is something else
NAMES = {
    "fork": "clone",
    "perf": "perf_event_open",
    "process_vm": "process_vm_readv",
    "by_handle": "open_by_handle_at",
}


@pytest.mark.parametrize("call", [call for call in CALLS if call != "int80"])
def test_a_companion_names_the_call_that_ended_its_monitor(
    urunc: Runtime, watched: Callable[[str], Path], call: str
) -> None:
    """Without the kernel's log: in a user's view, with many records, with an auditd."""
    ended = urunc("run", "--bundle", watched(call), "c")

    assert (DENIED, "") == (ended.returncode, ended.stdout)
    assert f"denies the system call {NAMES.get(call, call)} (" in ended.stderr
    assert 1 == ended.stderr.count("\n")


@pytest.mark.skipif(MACHINE != "x86_64", reason="i386's calls are those of an x86-64 kernel")
def test_a_companion_does_not_misname_a_call_of_another_architecture(
    urunc: Runtime, watched: Callable[[str], Path]
) -> None:
    ended = urunc("run", "--bundle", watched("int80"), "c")

    assert (DENIED, "") == (ended.returncode, ended.stdout)
    assert "denies a system call: " in ended.stderr


def test_state_names_a_call_that_a_companion_has_told(urunc: Runtime, watched: Callable[[str], Path]) -> None:
    """Also when its end has been waited for, as clients do at once."""
    pid = urunc.running(watched("keyctl"))

    assert DENIED == exit_status(pid)
    assert "denies the system call keyctl (" in urunc.state()["reason"]


@pytest.mark.parametrize(
    ("linux", "call", "words"),
    [
        ({"names": ["write"]}, "nothing", "the system call write ("),
        ({"names": ["execve"]}, "nothing", "the system call execve ("),  # by which it would have become the monitor
        ({"names": ["close"]}, "nothing", "the system call close ("),
        ({"names": ["sendmsg"]}, "keyctl", "a system call: "),  # by which the companion is told
        ({"names": ["write"], "flags": ["SECCOMP_FILTER_FLAG_LOG"]}, "nothing", "a system call: "),  # a filter apart
    ],
    ids=["joined", "before", "telling", "mute", "apart"],
)
def test_a_companion_tells_that_the_spec_has_denied_a_call(
    urunc: Runtime, watched: Callable[[str], Path], linux: dict[str, list[str]], call: str, words: str
) -> None:
    """By name where its filter is one with the monitor's, and leaves a way to tell."""
    made = watched(call)
    config = json.loads((made / "config.json").read_text())
    config["linux"] |= profile("SCMP_ACT_KILL", *linux["names"])
    config["linux"]["seccomp"] |= {"flags": linux.get("flags", [])}
    (made / "config.json").write_text(json.dumps(config))
    ended = urunc("run", "--bundle", made, "c")

    assert DENIED == ended.returncode
    assert f"denies {words}" in ended.stderr


# A filter that lets everything through, with a listener, around the command that follows.
LISTENED = """\
import ctypes, os, struct, subprocess, sys
row = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))  # SECCOMP_RET_ALLOW
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 1, ctypes.addressof(row)))
call = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
listener = ctypes.CDLL(None).syscall(call, 1, 8, program)  # SECCOMP_FILTER_FLAG_NEW_LISTENER
sys.exit(125 if listener < 0 else subprocess.run(sys.argv[1:]).returncode)
"""


def test_a_companion_within_a_filter_that_has_a_listener(urunc: Runtime, watched: Callable[[str], Path]) -> None:
    """As within a container whose manager answers for calls: there is one to a process, and the monitor's kills."""
    ended = urunc.run((sys.executable, "-c", LISTENED, *urunc.words("run", "--bundle", watched("keyctl"), "c")))

    assert (DENIED, "") == (ended.returncode, ended.stdout)
    assert "the monitor was ended by its seccomp filter, which denies " in ended.stderr


def test_with_debug_a_companion_has_nothing_to_tell(urunc: Runtime, watched: Callable[[str], Path]) -> None:
    ended = urunc("--debug", "run", "--bundle", watched("keyctl"), "c")

    assert 0 == ended.returncode
    assert "still here\n" in ended.stdout


def test_state_gives_no_reason_for_an_end_like_any_other(urunc: Runtime, bundle: Make) -> None:
    pid = urunc.running(bundle("one", spt="hello"))

    assert 0 == exit_status(pid)
    assert "reason" not in urunc.state()


def test_with_debug_a_denied_call_is_logged_and_made(urunc: Runtime, bundle: Make, intruder: Path) -> None:
    in_its_place(urunc, intruder)
    ended = urunc("--debug", "run", "--bundle", bundle("/app", "keyctl"), "c")

    assert 0 == ended.returncode
    assert "still here\n" in ended.stdout


ALLOW = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]}


def profile(action: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"seccomp": {**ALLOW, "syscalls": [{"names": list(names), "action": action, **more}]}}


def test_a_call_that_the_profile_of_the_spec_kills_ends_the_monitor(urunc: Runtime, bundle: Make) -> None:
    """Whatever the monitor's own list says; a name that does not exist is passed over, as by runc."""
    made = bundle("sleep", spt="wait", linux=profile("SCMP_ACT_KILL", "epoll_pwait", "no_such_call"))
    pid = urunc.running(made)

    assert DENIED == exit_status(pid)


def test_a_profile_can_give_an_error_instead(urunc: Runtime, bundle: Make) -> None:
    """With conditions: a write of 8 bytes to standard output fails, any other goes on."""
    condition = [{"index": 2, "value": len("waiting\n"), "op": "SCMP_CMP_EQ"}]
    rule = profile("SCMP_ACT_ERRNO", "write", errnoRet=5, args=condition)
    urunc.good("create", "--bundle", bundle("timer", spt="wait", linux=rule), "c")
    output = urunc.output
    pid = int(urunc.state()["pid"])
    urunc.good("start", "c")
    exit_status(pid)

    assert "waiting" not in read(output)


def test_the_second_start_finds_the_profile_compiled(urunc: Runtime, bundle: Make) -> None:
    made = bundle("sleep", spt="wait", linux=profile("SCMP_ACT_ERRNO", "ptrace", "mount", errnoRet=7))
    urunc.running(made)
    cache = Path("/run/urunc/@cache/seccomp")
    before = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    urunc.running(made, "d")

    assert before
    assert before == {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}


REFUSED = [
    ({"defaultAction": "SCMP_ACT_NOTIFY"}, "defaultAction: SCMP_ACT_NOTIFY cannot be used as default action"),
    (
        {**ALLOW, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]},
        "SCMP_ACT_NOTIFY is not supported: nobody answers for a monitor",
    ),
    ({**ALLOW, "architectures": ["SCMP_ARCH_Z80"]}, "linux.seccomp.architectures z80"),
    ({**ALLOW, "flags": ["SECCOMP_FILTER_FLAG_X"]}, "flags: SECCOMP_FILTER_FLAG_X is not supported"),
    ({}, "defaultAction:  is no action of seccomp"),
    ({**ALLOW, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG", "errnoRet": 1}]}, "errnoRet is for"),
]


@pytest.mark.parametrize(("seccomp", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_a_profile_that_cannot_be_honoured_is_an_error(
    urunc: Runtime, bundle: Make, seccomp: dict[str, Any], words: str
) -> None:
    ended = urunc("create", "--bundle", bundle("sleep", spt="wait", linux={"seccomp": seccomp}), "c")

    assert 1 == ended.returncode
    assert words in ended.stderr
    assert "gone" == urunc.status()


def test_a_profile_without_libseccomp_is_an_error(urunc: Runtime, bundle: Make) -> None:
    """And a container without a profile does not need it.  Its file is covered in a mount namespace of the test's."""
    listed = subprocess.run(("ldconfig", "-p"), capture_output=True, text=True, check=True).stdout
    paths = [line.split(" => ")[1] for line in listed.splitlines() if "libseccomp.so.2 " in line]
    cover = "".join(f"mount --bind /dev/null {path} && " for path in paths)
    with_profile = bundle("sleep", spt="wait", linux=profile("SCMP_ACT_ERRNO", "mount"))
    command = " ".join(urunc.words("create", "--bundle", with_profile, "c"))
    ended = urunc.run(("unshare", "--mount", "sh", "-c", f"{cover} rm -rf /run/urunc/@cache/seccomp; exec {command}"))

    assert paths
    assert 1 == ended.returncode
    assert "linux.seccomp needs libseccomp: install it" in ended.stderr


def test_monitors_run_with_containerds_default_profile(containerd: Containerd, tmp_path: Path, hello: Path) -> None:
    """The one that Kubernetes gives with RuntimeDefault: QEMU and our tender start, run and end under it."""
    from urunc.pack import File, pack

    wait = spt_build.build(build.default_cache())["hello"]
    guests = {
        "qemu": (hello, {"unikernelType": "linux", "accelerator": "tcg"}, "hello from a unikernel"),
        "spt": (wait, {"unikernelType": "mirage"}, "hello: one"),
    }
    for monitor, (file, keys, word) in guests.items():
        name = f"docker.io/library/seccomp-{monitor}:latest"
        annotations = {**keys, "hypervisor": monitor, "binary": "/guest"}
        pack(tmp_path / monitor, name, [File(source=str(file), path="/guest")], annotations, ["one"])
        containerd.import_image(tmp_path / monitor)
        words = (
            "run",
            "--rm",
            "--seccomp",
            "--runtime",
            "io.containerd.urunc.v2",
            name,
            f"seccomp-{os.getpid()}-{monitor}",
        )

        assert word in containerd.ctr(*words).stdout


def test_the_filters_of_a_monitor_are_the_monitors_ours_and_the_specs(urunc: Runtime, bundle: Make) -> None:
    """Stacked: the kernel takes the strictest answer.  Ours and the spec's are one, unless that has flags."""
    counts = []
    apart = profile("SCMP_ACT_ERRNO", "mount")
    apart["seccomp"]["flags"] = ["SECCOMP_FILTER_FLAG_LOG"]
    for number, linux in enumerate(({}, profile("SCMP_ACT_ERRNO", "mount"), apart)):
        made = bundle("sleep", spt="wait", linux=linux)
        urunc.good("create", "--bundle", made, f"c{number}")
        output = urunc.output
        urunc.good("start", f"c{number}")
        until(lambda output=output: "waiting" in read(output), "the guest waits")  # type: ignore[misc]
        status = read(Path(f"/proc/{urunc.state(f'c{number}')['pid']}/status"))
        counts.append([line.split()[1] for line in status.splitlines() if line.startswith("Seccomp")])
        made.rename(made.with_name(f"done{number}"))

    assert [["2", "2"], ["2", "2"], ["2", "3"]] == counts
