"""The KVM probe: its answer agrees with this machine, and its guest program is a good one."""

import errno
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src" / "_fastpath"
X86 = platform.machine() == "x86_64"
FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
NAMES = ("none", "limited", "full")
STEP_DONE = 10

only_x86 = pytest.mark.skipif(not X86, reason="the guest program is written for x86-64")
needs_qemu = pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="qemu-system-x86_64 is not installed")


def build(directory: Path, source: str = "kvm_probe_x86_64.c" if X86 else "kvm_probe_other.c") -> Path:
    program = directory / "kvm_probe"
    sources = [HERE / "kvm_probe_main.c", SOURCES / source, SOURCES / "error.c"]
    subprocess.run(["gcc", *FLAGS, "-o", program, *sources], check=True)
    return program


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("kvm_probe"))


def test_status_and_words_agree(probe: Path) -> None:
    """The exit status is the verdict; a verdict below full comes with a reason."""
    done = subprocess.run([probe, "--verbose"], capture_output=True, text=True, timeout=10, check=False)
    quiet = subprocess.run([probe], capture_output=True, text=True, timeout=10, check=False)
    lines = done.stdout.splitlines()

    assert quiet.returncode == done.returncode
    assert quiet.stdout == ""
    assert lines[0] == NAMES[done.returncode]
    assert len(lines) == (1 if lines[0] == "full" else 2)


def test_the_answer_comes_quickly(probe: Path) -> None:
    """Far below the alarm: a vCPU is not stuck."""
    start = time.monotonic()
    subprocess.run([probe], timeout=10, check=False)

    assert time.monotonic() - start < 2


@pytest.mark.parametrize("source", ["kvm_probe_x86_64.c", "kvm_probe_other.c"])
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="hides /dev/kvm in a mount namespace")
def test_without_dev_kvm_the_answer_is_none(tmp_path: Path, source: str) -> None:
    """With the path in the reason."""
    if not X86 and source == "kvm_probe_x86_64.c":
        pytest.skip("not this machine's")
    program = build(tmp_path, source=source)
    hidden = 'mount -t tmpfs none /dev && exec "$0" --verbose'
    done = subprocess.run(["unshare", "-m", "sh", "-c", hidden, program], capture_output=True, text=True, check=False)

    assert (0, f"none\nopen: /dev/kvm: {os.strerror(errno.ENOENT)}\n") == (done.returncode, done.stdout)


def guest_program(directory: Path) -> tuple[bytes, int]:
    """The bytes of the guest's code and the offset of the kernel-like program in them."""
    compiled, section = directory / "probe.o", directory / "rodata"
    subprocess.run(["gcc", *FLAGS, "-c", "-o", compiled, SOURCES / "kvm_probe_x86_64.c"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".rodata", compiled, section], check=True)
    words = subprocess.run(["nm", compiled], check=True, capture_output=True, text=True).stdout
    at = {
        line.split()[2]: int(line.split()[0], 16)
        for line in words.splitlines()
        if "fp_kvm_" in line and " r " in line.lower()
    }
    code = section.read_bytes()[at["fp_kvm_simple"] : at["fp_kvm_end"]]
    return code, at["fp_kvm_kernel"] - at["fp_kvm_simple"]


def announced_under_tcg(directory: Path, code: bytes, entry: int, cpu: str) -> list[int]:
    """Run `code` on an emulated CPU from the state the probe starts it in; the steps it announces."""
    blob, kernel = directory / "blob", directory / "kernel"
    blob.write_bytes(code)
    subprocess.run(
        [
            "gcc",
            "-m32",
            "-nostdlib",
            "-static",
            "-no-pie",
            "-Wl,-Ttext=0x100000",
            "-Wl,--build-id=none",
            f'-DBLOB="{blob}"',
            f"-DENTRY={entry}",
            "-o",
            kernel,
            HERE / "kvm_probe_stub.S",
        ],
        check=True,
    )
    qemu = subprocess.Popen(
        [
            "qemu-system-x86_64",
            "-accel",
            "tcg",
            "-cpu",
            cpu,
            "-m",
            "16",
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-chardev",
            "stdio,id=steps",
            "-device",
            "isa-debugcon,iobase=0xf4,chardev=steps",
            "-kernel",
            str(kernel),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    steps = []
    assert qemu.stdout
    with qemu, qemu.stdout as output:
        while (byte := output.read(1)) and byte[0] != STEP_DONE:  # a triple fault ends QEMU: -no-reboot
            steps.append(byte[0])
        qemu.kill()
    return steps + list(byte)


@only_x86
@needs_qemu
def test_the_guest_program_reaches_its_end_on_a_complete_cpu(tmp_path: Path) -> None:
    """So that "limited" is the machine's fault, not the program's."""
    code, entry = guest_program(tmp_path)

    assert announced_under_tcg(tmp_path, code, entry, "max") == list(range(1, STEP_DONE + 1))


@only_x86
@needs_qemu
@pytest.mark.parametrize(("cpu", "last"), [("max,-cx16", 3), ("max,-fxsr", 2), ("max,-sse", 1)])
def test_the_guest_program_stops_where_the_cpu_lacks_something(tmp_path: Path, cpu: str, last: int) -> None:
    """Each missing feature ends it at that step, by a fault."""
    code, entry = guest_program(tmp_path)
    steps = announced_under_tcg(tmp_path, code, entry, cpu)

    assert steps[-1] == last


@only_x86
@needs_qemu
def test_a_wrong_result_stops_the_guest_program(tmp_path: Path) -> None:
    """The comparisons compare: without the store its value is missed."""
    code, entry = guest_program(tmp_path)
    store = b"\x0f\x11\x4f\x21"  # movups %xmm1, 33(%rdi)
    assert code.count(store) == 1
    broken = code.replace(store, b"\x90" * len(store))

    assert announced_under_tcg(tmp_path, broken, entry, "max") == [1]
