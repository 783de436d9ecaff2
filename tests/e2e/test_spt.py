"""Solo5 guests of the spt kind under urunc-spt, and under solo5-spt where that is installed: the same verdicts.

The other tender is looked for at $SOLO5_SPT and on PATH; Solo5's own test guests in $SOLO5_TESTS.
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.spt_images import BAD_IMAGES, BASE, BLOCK, GOOD, NET, PAGE, Load, abi, device, elf, manifest
from tests.guests import build as guest_cache
from tests.guests import spt_build

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
X86 = platform.machine() == "x86_64"

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not X86, reason="urunc-spt is written for x86-64")]

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces and taps")


@dataclass(frozen=True)
class Ended:
    """What is left of a tender: wait status as Python has it, what it wrote."""

    status: int
    out: str
    err: str

    @property
    def verdict(self) -> tuple[int, str]:
        return self.status, self.out


Run = Callable[..., Ended]


def execute(*command: str | Path, timeout: float = 120) -> Ended:
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout, check=False)
    return Ended(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """urunc-spt of the sources as they are; $URUNC_SPT names one that is built already."""
    if "URUNC_SPT" in os.environ:
        return Path(os.environ["URUNC_SPT"])
    directory = tmp_path_factory.mktemp("urunc-spt")
    options = (f"-DPython_EXECUTABLE={sys.executable}", "-DCYTHON=/bin/true", "-GNinja")
    subprocess.run(["cmake", "-S", ROOT, "-B", directory, *options], check=True, stdout=subprocess.DEVNULL)
    built = execute("cmake", "--build", directory, "--target", "urunc-spt", timeout=600)

    assert built.status == 0, built.out + built.err

    return directory / "src" / "_fastpath" / "urunc-spt"


def find_solo5() -> Path:
    found = os.environ.get("SOLO5_SPT") or shutil.which("solo5-spt")
    if not found:
        pytest.skip("no solo5-spt to compare with: neither $SOLO5_SPT nor on PATH")
    probe = execute(found, "--version")
    if "ABI version 2" not in probe.out + probe.err:
        pytest.skip(f"{found} is no solo5-spt of ABI version 2: {probe.out + probe.err}")
    return Path(found)


@pytest.fixture(params=["urunc-spt", "solo5-spt"])
def tender(request: pytest.FixtureRequest, ours: Path) -> Path:
    return ours if request.param == "urunc-spt" else find_solo5()


@pytest.fixture(scope="session")
def images() -> dict[str, Path]:
    return spt_build.build(guest_cache.default_cache())


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(b"first sector    " + bytes(16 * 1024 - 16))
    return path


# The guests of tests/guests/spt, under both tenders.


def test_hello(tender: Path, images: dict[str, Path]) -> None:
    """Arguments are joined by blanks; memory, bss, data, stack and heap are as the ABI says."""
    ended = execute(tender, "--mem=4", "--", images["hello"], "one", "two  three", "--four")
    expected = (
        "hello: one two  three --four\nmemory 4194304\ndevices 0\nbytes of bss that are set 0\n"
        "stack in the last page 1\nheap can be written 1\nData\n"
    )

    assert ended.verdict == (0, expected)
    assert ended.err == ""


def test_hello_without_options(tender: Path, images: dict[str, Path]) -> None:
    """512 MiB, no arguments, no dashes."""
    out = execute(tender, images["hello"]).out

    assert out.startswith("hello: \nmemory 536870912\n")


@pytest.mark.parametrize(("named", "status"), [(0, 0), (7, 7), (254, 254), (255, 255), (256, 0), (300, 44)])
def test_exit_status_is_the_guests(tender: Path, images: dict[str, Path], named: int, status: int) -> None:
    assert execute(tender, "--mem=2", images["exit"], str(named)).verdict == (status, "exiting\n")


def test_timer(tender: Path, images: dict[str, Path]) -> None:
    assert execute(tender, "--mem=2", images["wait"], "timer").verdict == (0, "waiting\n" + 3 * "in time\n")


FAULTS = {
    **dict.fromkeys(("write-text", "write-rodata", "run-data", "run-rodata", "run-stack", "run-heap"), signal.SIGSEGV),
    **dict.fromkeys(("read-null", "read-above"), signal.SIGSEGV),
    "illegal": signal.SIGILL,
    "no-stack": signal.SIGILL,
    "divide": signal.SIGFPE,
    "breakpoint": signal.SIGTRAP,
    "bad-stack": signal.SIGBUS,
}
CALLS = {"getpid": 0x27, "open": 2, "mmap": 9, "mprotect": 10, "sigreturn": 15, "read-stdin": 0, "write-stderr": 1,
         "set-gs": 0x9E, "cpu-clock": 0xE4, "other-timer": 0x11E}  # fmt: skip
KILLED = ("x32", "i386")  # system calls that are not of this machine: nothing of ours runs after them


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_ends_the_guest(tender: Path, images: dict[str, Path], fault: str) -> None:
    assert execute(tender, "--mem=2", images["fault"], fault).verdict == (-FAULTS[fault], fault + "\n")


@pytest.mark.parametrize("call", [*CALLS, *KILLED])
def test_forbidden_call_ends_the_guest(tender: Path, images: dict[str, Path], call: str) -> None:
    ended = execute(tender, "--mem=2", images["fault"], f"call-{call}")

    assert ended.verdict == (-signal.SIGSYS, f"call-{call}\n")


@pytest.mark.parametrize("sector", [512, 4096])
def test_block_device(tender: Path, images: dict[str, Path], disk: Path, sector: int) -> None:
    """The last sector is written, and nothing else."""
    options = (f"--block:disk={disk}", f"--block-sector-size:disk={sector}")
    ended = execute(tender, "--mem=2", *options, "--", images["block"], "copy")
    pattern = bytes(ord("a") + i % 26 for i in range(sector))

    assert ended.verdict == (
        0,
        f"capacity 16384\nsector {sector}\nattached 1\nread {sector}\nfirst sector    \nwritten {sector}\n",
    )
    assert disk.read_bytes() == (b"first sector    " + bytes(16384 - 16))[:-sector] + pattern


REACHES = ("read-beyond", "read-partly-beyond", "read-far-beyond", "read-negative", "write-beyond", "write-long",
           "write-very-long", "write-plain")  # fmt: skip


@pytest.mark.parametrize("reach", REACHES)
def test_reach_beyond_the_disk_ends_the_guest(tender: Path, images: dict[str, Path], disk: Path, reach: str) -> None:
    before = disk.read_bytes()
    ended = execute(tender, "--mem=2", f"--block:disk={disk}", "--", images["block"], reach)

    assert ended.verdict == (-signal.SIGSYS, "capacity 16384\nsector 512\nattached 1\n")
    assert disk.read_bytes() == before


@pytest.mark.parametrize(("argument", "status"), [("within", 0), ("beyond", -signal.SIGSYS)])
def test_largest_manifest(tender: Path, images: dict[str, Path], tmp_path: Path, argument: str, status: int) -> None:
    """63 block devices of different sizes: the filter has room for the conditions of all, and keeps to the last's."""
    options, marks = [], "".join(chr(ord("0") + number) for number in range(63))
    for number, mark in enumerate(marks):
        path = tmp_path / f"disk{number // 9 + 1}{number % 9 + 1}"
        path.write_bytes(bytes(512 * number) + mark.encode().ljust(512, b"\0"))
        options.append(f"--block:{path.name}={path}")
    ended = execute(tender, "--mem=2", *options, "--", images["devices"], argument)

    assert ended.verdict == (status, f"devices 63\n{marks}\n")


def in_a_network(kind: str, tender: Path, image: Path) -> dict[str, object]:
    ended = execute("unshare", "--net", sys.executable, HERE / "spt_net.py", kind, tender, image, timeout=600)
    assert ended.status == 0, ended.err
    found: dict[str, object] = json.loads(ended.out)
    return found


GREETING = "mtu 1400\nfirst byte of the address 2\nattached 1\n"
ANSWERED = {"status": 0, "out": f"{GREETING}answered\n", "err": "", "answered": 3}


@ROOT_ONLY
def test_net_by_name(tender: Path, images: dict[str, Path]) -> None:
    """ARP and ping from the kernel's own stack, in a network namespace of the test's."""
    assert in_a_network("name", tender, images["net"]) == ANSWERED


@ROOT_ONLY
def test_net_by_descriptor(ours: Path, images: dict[str, Path]) -> None:
    """As by name.  Ours alone: solo5-spt 0.12 takes no descriptor, as it asks it for an MTU and gets none."""
    assert in_a_network("fd", ours, images["net"]) == ANSWERED


# What is ours alone.


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named(ours: Path, images: dict[str, Path], fault: str) -> None:
    """One line on stderr, with the address and the instruction."""
    name = signal.Signals(FAULTS[fault]).name
    pattern = rf"urunc-spt: guest fault: {name} at 0x[0-9a-f]+, instruction at 0x[0-9a-f]+\n"

    assert re.fullmatch(pattern, execute(ours, "--mem=2", images["fault"], fault).err)


@pytest.mark.parametrize("call", CALLS)
def test_forbidden_call_is_named(ours: Path, images: dict[str, Path], call: str) -> None:
    pattern = r"urunc-spt: guest fault: SIGSYS: system call 0x([0-9a-f]+), instruction at 0x10[0-9a-f]+\n"
    named = re.fullmatch(pattern, execute(ours, "--mem=2", images["fault"], f"call-{call}").err)

    assert named
    assert CALLS[call] == int(named[1], 16)


@pytest.mark.parametrize("wrong", ["read-tls", "call-wait-masked"])
def test_stricter_than_solo5(ours: Path, images: dict[str, Path], wrong: str) -> None:
    """No thread-local storage of the tender's to read, no signal mask while waiting."""
    assert execute(ours, "--mem=2", images["fault"], wrong).status in {-signal.SIGSEGV, -signal.SIGSYS}


def test_abort_is_named(ours: Path, images: dict[str, Path]) -> None:
    assert execute(ours, "--mem=2", images["exit"], "255").err == "urunc-spt: guest aborted\n"


def test_block_by_descriptor(ours: Path, images: dict[str, Path], disk: Path) -> None:
    with disk.open("r+b") as file:
        fd = file.fileno()
        command = (ours, "--mem=2", f"--block:disk=@{fd}", "--", images["block"], "copy")
        done = subprocess.run(command, pass_fds=(fd,), capture_output=True, check=False)

    assert done.returncode == 0
    assert disk.read_bytes()[-512:].startswith(b"abcdefgh")


@pytest.mark.parametrize("doing", ["sleep", "spin"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("first", [False, pytest.param(True, marks=ROOT_ONLY)], ids=["any-pid", "pid-1"])
def test_signal_stops_it(ours: Path, images: dict[str, Path], doing: str, stop: signal.Signals, first: bool) -> None:
    """With 128 + n, also as the first process of a namespace, which has no default actions."""
    heard = ("env", "--default-signal=INT,TERM")  # what the tests are run by may ignore one, as nohup and shells do
    command: tuple[str | Path, ...] = (*heard, ours, "--mem=2", images["wait"], doing)
    if first:
        command = ("unshare", "--pid", "--fork", "--kill-child", *command)
    guest = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert guest.stdout
        assert guest.stdout.readline() == b"waiting\n"
        children = Path(f"/proc/{guest.pid}/task/{guest.pid}/children").read_text().split() if first else [guest.pid]
        os.kill(int(children[0]), stop)

        assert guest.wait(timeout=60) == 128 + stop
    finally:
        guest.kill()
        guest.communicate()


@ROOT_ONLY
@pytest.mark.parametrize("fault", ["write-text", "call-getpid"])
def test_fault_as_pid_1(ours: Path, images: dict[str, Path], fault: str) -> None:
    ended = execute("unshare", "--pid", "--fork", ours, "--mem=2", images["fault"], fault)
    died_of = signal.SIGSEGV if fault == "write-text" else signal.SIGSYS

    assert ended.status in {-died_of, 128 + died_of}  # unshare dies as its child did
    assert f"guest fault: {died_of.name}" in ended.err


def test_term_that_was_blocked_or_ignored_still_stops_it(ours: Path, images: dict[str, Path]) -> None:
    deaf = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); "
        "signal.signal(15, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = (sys.executable, "-c", deaf, ours, "--mem=2", images["wait"], "sleep")
    guest = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert guest.stdout
        guest.stdout.readline()
        guest.terminate()

        assert guest.wait(timeout=60) == 128 + signal.SIGTERM
    finally:
        guest.kill()
        guest.communicate()


def test_guest_memory_is_as_its_segments_say(ours: Path, images: dict[str, Path]) -> None:
    """Nothing below 4 GiB but the guest's; no page of it both writable and executable; the filter is on."""
    guest = subprocess.Popen((ours, "--mem=2", images["wait"], "sleep"), stdout=subprocess.PIPE)
    try:
        assert guest.stdout
        guest.stdout.readline()
        status = Path(f"/proc/{guest.pid}/status").read_text()
        maps = [line.split() for line in Path(f"/proc/{guest.pid}/maps").read_text().splitlines()]
    finally:
        guest.kill()
        guest.communicate()
    low = [(span, rights) for span, rights, *_ in maps if int(span.split("-")[0], 16) < 1 << 32]

    assert [rights for _, rights in low] == ["rw-p", "r-xp", "r--p", "rw-p"]
    assert low[0][0].startswith("00010000-00100000")
    assert low[-1][0].endswith("-00200000")
    assert not [rights for _, rights, *_ in maps if "w" in rights and "x" in rights]
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)


# Images that nobody should run: spt_images.py.


def assert_refused(ended: Ended, words: str) -> None:
    """One line that says why, on stderr alone; status 1."""
    assert (1, "") == ended.verdict
    assert re.fullmatch(r"urunc-spt: [^\n]+\n", ended.err), ended.err
    assert words in ended.err


def test_the_image_that_all_bad_ones_come_from_is_good(tender: Path, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(GOOD)

    assert execute(tender, "--mem=2", path).verdict == (9, "")


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_image_is_refused(ours: Path, tmp_path: Path, name: str) -> None:
    contents, words = BAD_IMAGES[name]
    path = tmp_path / "image"
    path.write_bytes(contents)

    assert_refused(execute(ours, "--mem=2", path), words)


def test_nothing_executable_is_mapped_for_a_bad_image(ours: Path, tmp_path: Path) -> None:
    """The last segment is the wrong one: none before it is loaded either."""
    path = tmp_path / "image"
    path.write_bytes(elf(Load(), Load(BASE + PAGE, flags=7)))
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    done = execute("strace", "-e", "trace=mmap,mprotect", ours, "--mem=2", path)

    assert "0x100000" not in done.err
    assert "0x10000," not in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--block:disk={disk}"], "net device: attach one"),
        (["--net:net=@9", "--block:disk={disk}"], "not a tap"),
        (["--net:net=@1", "--block:disk={disk}"], "not a descriptor above 2"),
        (["--net:net=@3", "--block:disk={disk}"], "not a tap"),  # the image itself
        (["--net:net=@x", "--block:disk={disk}"], "not a descriptor"),
        (["--net:net=@99999999999999999999"], "not a descriptor"),
        (["--net:net=no-such-tap"], "No such device"),
        (["--net:net=lo%d"], "not a name"),
        (["--net:net=a-name-that-is-far-too-long"], "not a name"),
        (["--net:net="], "NAME=VALUE"),
        (["--net:=tap0"], "NAME=VALUE"),
        (["--net:other=tap0"], "declares no such device"),
        (["--net:disk=tap0"], "declares no such device"),
        (["--block:net={disk}"], "declares no such device"),
        (["--net-mac:net=02:00:00:00:00"], "not an address"),
        (["--net-mac:net=02:00:00:00:00:zz"], "not an address"),
        (["--net-mac:net=02:00:00:00:00:000"], "not an address"),
        (["--net-mac:net= 2:00:00:00:00:00"], "not an address"),
        (["--block:disk={disk}", "--block:disk={disk}"], "attached already"),
        (["--block:disk=/nonexistent"], "No such file"),
        (["--block:disk=/"], "Is a directory"),
        (["--block:disk=@3"], "not open for reading and writing"),  # the image itself
        (["--block:disk={disk}", "--block-sector-size:disk=0"], "a power of two"),
        (["--block:disk={disk}", "--block-sector-size:disk=521"], "a power of two"),
        (["--block:disk={disk}", "--block-sector-size:disk=256"], "a power of two"),
        (["--block:disk={disk}", "--block-sector-size:disk=65536"], "a power of two"),
        (["--mem=0"], "memory is a number of MiB"),
        (["--mem=-1"], "memory is a number of MiB"),
        (["--mem=1x"], "memory is a number of MiB"),
        (["--mem="], "memory is a number of MiB"),
        (["--mem=18446744073709551616"], "memory is a number of MiB"),
        (["--mem=17592186044417"], "memory is a number of MiB"),
        (["--x-exec-heap"], "no such option"),
        (["--dumpcore=/tmp"], "no such option"),
        (["-"], "no such option"),
        (["--two\nlines"], "no such option"),
    ],
    ids=lambda value: " ".join(value).replace("\n", "-") if isinstance(value, list) else "",
)
def test_bad_option_is_refused(ours: Path, tmp_path: Path, disk: Path, options: list[str], words: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(elf(notes=(abi(), manifest(device(b"net", NET), device(b"disk", BLOCK)))))
    command = [option.format(disk=disk) for option in options]

    assert_refused(execute(ours, "--mem=2", *command, "--", path), words)


def test_device_not_attached_is_refused(tender: Path, images: dict[str, Path]) -> None:
    """Under both, each in its words."""
    ended = execute(tender, "--mem=2", images["block"], "copy")

    assert ended.verdict == (1, "")
    assert "disk" in ended.err


@pytest.mark.parametrize("size", [0, 100, 513])
def test_disk_of_an_odd_size_is_refused(ours: Path, images: dict[str, Path], tmp_path: Path, size: int) -> None:
    path = tmp_path / "odd"
    path.write_bytes(bytes(size))

    assert_refused(execute(ours, "--mem=2", f"--block:disk={path}", "--", images["block"]), "multiple of its sector's")


def test_memory_beyond_the_tender_is_refused(ours: Path, images: dict[str, Path]) -> None:
    assert_refused(execute(ours, "--mem=4294967295", images["hello"]), "--mem")


def test_long_command_line_is_refused(ours: Path, images: dict[str, Path]) -> None:
    """8191 bytes are the most."""
    fits = execute(ours, "--mem=2", images["hello"], "a" * 8000, "b" * 190)

    assert fits.out.startswith(f"hello: {'a' * 8000} {'b' * 190}\n")
    assert_refused(execute(ours, "--mem=2", images["hello"], "a" * 8000, "b" * 191), "longer than 8191")


def test_no_image_is_refused(ours: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    for path, words in ((tmp_path / "none", "No such file"), (tmp_path, "regular"), (tmp_path / "fifo", "regular")):
        assert_refused(execute(ours, path), words)
    assert_refused(execute(ours), "IMAGE: missing")


def test_personality_makes_no_data_executable(ours: Path, images: dict[str, Path]) -> None:
    """READ_IMPLIES_EXEC ends with exec, as the program says that it needs no executable stack."""
    ended = execute("setarch", "-X", ours, "--mem=2", images["fault"], "run-heap")

    assert ended.verdict == (-signal.SIGSEGV, "run-heap\n")


def test_without_address_randomisation(ours: Path, images: dict[str, Path]) -> None:
    """The tender sits above 4 GiB whatever the kernel does."""
    assert execute("setarch", "-R", ours, "--mem=3072", images["hello"]).status == 0


def test_closed_stderr_is_refused(ours: Path, images: dict[str, Path]) -> None:
    """A descriptor of the tender's would become the guest's console."""
    ended = execute("sh", "-c", '"$0" --mem=2 "$1" >&-', ours, images["hello"])

    assert_refused(ended, "must be open")


def test_help_and_version(ours: Path) -> None:
    assert execute(ours, "--help").out.startswith("usage: urunc-spt")
    assert execute(ours, "--version").verdict == (0, "urunc-spt, Solo5 spt ABI version 2\n")


# Solo5's own guests, kept nowhere near here.

SOLO5_TESTS = sorted(Path(os.environ["SOLO5_TESTS"]).glob("**/*.spt")) if "SOLO5_TESTS" in os.environ else []


def solo5_options(image: Path, directory: Path) -> list[str]:
    names = {"test_blk": ["storage"], "test_mft_maxdevices": [f"storage{i}" for i in range(63)]}
    options = []
    for name in names.get(image.stem, ()):
        path = directory / name
        path.write_bytes(bytes(1 << 22 if name == "storage" else 4096))
        options.append(f"--block:{name}={path}")
    return options


def without_times(out: str) -> list[str]:
    return [re.sub(r"\d{4,}", "N", line) for line in out.splitlines()]


@pytest.mark.skipif(not SOLO5_TESTS, reason="no $SOLO5_TESTS, a directory with Solo5's built test guests")
@pytest.mark.parametrize("image", SOLO5_TESTS, ids=lambda path: path.stem)
def test_solo5_guest_ends_alike_under_both(ours: Path, tmp_path: Path, image: Path) -> None:
    argument = {"test_hello": "Hello_Solo5", "test_quiet": "--solo5:quiet"}.get(image.stem, "x")
    tenders = (ours, find_solo5())
    if image.stem.startswith("test_net"):
        if os.geteuid() != 0:
            pytest.skip("makes namespaces and taps")
        found = [in_a_network("flood", tender, image) for tender in tenders]
        ends = [Ended(int(str(it["status"])), str(it["out"]), "") for it in found]
    else:
        options = solo5_options(image, tmp_path)
        ends = [execute(tender, "--mem=2", *options, "--", image, argument) for tender in tenders]

    assert -signal.SIGKILL not in {end.status for end in ends}, "the guest did not come to its end"
    assert ends[0].status == ends[1].status
    assert without_times(ends[0].out) == without_times(ends[1].out)
