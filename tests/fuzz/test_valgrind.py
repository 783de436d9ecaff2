"""Records, journals, plans and images under valgrind: what no sanitizer sees is the use of what was never set.

The tool of Debian 12, 3.19, knows neither pidfd_open(2) nor openat2(2): `kill` and `delete` have the sanitizers only.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.fastpath.network_rig import LIBRARY
from tests.fuzz import fuzzers

VALGRIND = ("valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--track-fds=no", "--track-origins=yes")
FAULT = 99  # of VALGRIND
TARGETS = [name for name in fuzzers.TARGETS if name != "uinit_config"]  # which is no part of the library


@pytest.fixture(scope="module", autouse=True)
def _valgrind() -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed (ci/setup installs it)")


def program(directory: Path, *names: str) -> Path:
    """A program of C files here, with the core as ci/build has left it."""
    assert LIBRARY.exists(), f"{LIBRARY} is not built: run ci/build"
    made = directory / names[0]
    sources = [fuzzers.HERE / f"{name}.c" for name in names]
    fuzzers.run("gcc", *fuzzers.FLAGS, *sources, LIBRARY, f"-Wl,-rpath,{LIBRARY.parent}", "-o", made)
    return made


def execute(directory: Path, *command: str | Path, caged: bool = False) -> str:
    work = directory / "work"
    work.mkdir()
    whole = [*VALGRIND, *command]
    if caged:
        whole = [*fuzzers.CAGE, fuzzers.BARS, str(directory), *whole]
    ended = subprocess.run(whole, cwd=work, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                           timeout=900)  # fmt: skip

    assert 0 == ended.returncode, f"$ {' '.join(map(str, whole))}\n{ended.stderr}"
    return ended.stdout


def test_it_finds_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "bad.c").write_text("#include <stdlib.h>\nint main(void) { return *(char *)malloc(1) ? 1 : 0; }\n")
    fuzzers.run("gcc", "-g", "-w", tmp_path / "bad.c", "-o", tmp_path / "bad")
    ended = subprocess.run([*VALGRIND, tmp_path / "bad"], capture_output=True, check=False)

    assert FAULT == ended.returncode


def test_record_and_journal_make_a_round(tmp_path: Path) -> None:
    assert "round\n" == execute(tmp_path, program(tmp_path, "roundtrip"))


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(tmp_path: Path, name: str) -> None:
    """What the fuzzers have found, once each."""
    if name == "journal" and os.geteuid() != 0:
        pytest.skip("what undoes a journal needs a cage of namespaces")
    files = sorted((fuzzers.CORPUS / name).iterdir())
    said = execute(tmp_path, program(tmp_path, name, "replay"), *files, caged=name == "journal")

    assert f"{len(files)} files\n" == said
