"""The C core for aarch64: all of it compiles, and what needs no kernel of that machine runs under qemu-user(1).

The one rule: only compiled and emulated here; what is not shown by that stands in docs/reference/conformance.md.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.fuzz import fuzzers

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
STRICT = ("-std=gnu11", "-O2", "-fPIE", "-Wall", "-Wextra", "-Werror", "-iquote", str(fuzzers.SOURCES))
SETS = (
    "INIT_SOURCES",
    "UINIT_SOURCES",
    "FASTPATH_SOURCES",
    "FRONT_SOURCES",
)  # of CMakeLists.txt; urunc-spt is x86_64's
REPLAYED = [name for name in fuzzers.TARGETS if name not in ("journal", "spt_image")]

pytestmark = pytest.mark.skipif(
    not shutil.which(COMPILER),
    reason=f"no {COMPILER} (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross): AARCH64 IS NOT COMPILED",
)


def sources(name: str) -> set[Path]:
    """The C files of a list of CMakeLists.txt, for aarch64."""
    text = (fuzzers.SOURCES / "CMakeLists.txt").read_text()
    (found,) = re.findall(rf"^set\({name}\s+([^)]*)\)", text, re.MULTILINE)
    files: set[Path] = set()
    for word in found.split():
        if word.startswith("${"):
            files |= sources(word[2:-1])
        elif word.endswith(".c"):
            path = fuzzers.SOURCES / word.replace("${CMAKE_SYSTEM_PROCESSOR}", "aarch64")
            files.add(path if path.exists() else fuzzers.SOURCES / "kvm_probe_other.c")
    return files


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name of each C file -> what it compiles to, without a warning."""
    directory = tmp_path_factory.mktemp("aarch64")
    files = sorted(set().union(*map(sources, SETS)))
    fuzzers.run("sh", "-ec", f'cd {directory}; exec {COMPILER} "$@"', "sh", *STRICT, "-c", *files)
    return {path.name: directory / f"{path.stem}.o" for path in files}


@pytest.mark.parametrize(("name", "program"), [("INIT_SOURCES", "urunc-init"), ("UINIT_SOURCES", "uinit")])
def test_the_static_programs_link(objects: dict[str, Path], tmp_path: Path, name: str, program: str) -> None:
    parts = [objects[path.name] for path in sources(name)]
    fuzzers.run(COMPILER, "-static-pie", *parts, "-o", tmp_path / program)

    assert b"\xb7\0" == (tmp_path / program).read_bytes()[18:20]  # EM_AARCH64


@pytest.fixture(scope="module")
def programs(objects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The targets of the fuzzers, each with a main function that gives it the files of its command line."""
    if not EMULATOR:
        pytest.skip("no qemu-aarch64 (Debian: qemu-user-static): NOTHING RUNS AS AARCH64")
    directory = tmp_path_factory.mktemp("targets")
    core = [objects[path.name] for path in sorted(sources("FASTPATH_SOURCES") | sources("UINIT_SOURCES"))]
    core = [path for path in core if not path.name.startswith(("uinit.o", "uinit_mount", "uinit_network", "uinit_run"))]
    fuzzers.run("aarch64-linux-gnu-ar", "rcs", directory / "core.a", *core)
    for name in REPLAYED:
        files = (fuzzers.HERE / f"{name}.c", fuzzers.HERE / "replay.c", directory / "core.a")
        fuzzers.run(COMPILER, *fuzzers.FLAGS, "-static", *files, "-o", directory / name)
    return {name: directory / name for name in REPLAYED}


@pytest.mark.parametrize("name", REPLAYED)
def test_what_reads_hostile_input_reads_it_as_elsewhere(programs: dict[str, Path], tmp_path: Path, name: str) -> None:
    """The corpora, whose promises the targets check themselves."""
    corpus = sorted((fuzzers.CORPUS / name).iterdir())
    command = [str(EMULATOR), str(programs[name]), *map(str, corpus)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)

    assert corpus
    assert 0 == ended.returncode, ended.stderr[-2000:]


CLONE = r"""
#define _GNU_SOURCE
#include "clone.h"
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static int child(void *argument) { return *(int *)argument + 2; }
static char stack[65536] __attribute__((aligned(16)));
int main(void)
{
    int five = 5, status = 0;
    struct fp_clone_args arguments = {.flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD,
                                      .stack = (uintptr_t)stack, .stack_size = sizeof(stack)};
    long pid = fp_clone3(&arguments, child, &five);
    if (pid < 0)
        return printf("clone3: %ld\n", pid), 0;
    waitpid((pid_t)pid, &status, 0);
    return printf("child: %d\n", WEXITSTATUS(status)), 0;
}
"""


def test_clone3_says_that_an_emulator_has_none(objects: dict[str, Path], tmp_path: Path) -> None:
    """qemu-user has no clone3: the call returns to its caller with the error; the child's half is not run here."""
    if not EMULATOR:
        pytest.skip("no qemu-aarch64 (Debian: qemu-user-static): NOTHING RUNS AS AARCH64")
    (tmp_path / "clone.c").write_text(CLONE)
    fuzzers.run(
        COMPILER, *STRICT, "-static", tmp_path / "clone.c", objects["clone_aarch64.c"], "-o", tmp_path / "clone"
    )
    ended = subprocess.run((EMULATOR, tmp_path / "clone"), capture_output=True, text=True, check=False, timeout=60)

    assert ended.stdout in ("clone3: -38\n", "child: 7\n")
