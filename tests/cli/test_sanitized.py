"""The life of containers once more, by a C core with the address and undefined-behaviour sanitizers.

valgrind cannot follow these commands: Debian 12's knows neither pidfd_open(2) nor openat2(2).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.container import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers are root's here")

PYTHON = "/usr/bin/python3"  # whom ci/build builds for
HOOKS = ("hooks_run_in_their_order", "a_hook_that_is_missing_is_named", "a_hook_killed_by_a_signal_is_an_error")
SUITE = ("tests/cli/test_lifecycle.py", *(f"tests/cli/test_hooks.py::test_{name}" for name in HOOKS))
# setarch: the sanitizers of GCC 12 do not start with all that newer kernels vary of the addresses
PROGRAM = """\
#!/bin/sh
export LD_PRELOAD={libraries} ASAN_OPTIONS=detect_leaks=0:log_path={reports}/asan UBSAN_OPTIONS=log_path={reports}/ubsan
exec setarch -R {python} -I -c 'import sys; sys.path.insert(0, "{directory}"); {code}' "$@"
"""
MAIN = "from urunc.__main__ import main; main()"
PROOF = 'import urunc._fastpath as core; print(core.__file__, "libasan" in open("/proc/self/maps").read())'


def script(path: Path, code: str, reports: Path) -> Path:
    """A program that runs `code` with the package beside it and the sanitizers' libraries."""
    found = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    fields = {"libraries": ":".join(found), "reports": reports, "directory": path.parent, "python": PYTHON}
    path.write_text(PROGRAM.format(code=code, **fields))
    path.chmod(0o755)
    return path


def test_the_life_of_containers_is_clean_under_sanitizers(tmp_path: Path) -> None:
    subprocess.run([REPOSITORY / "ci/build", "--sanitize"], check=True, stdin=subprocess.DEVNULL)
    (module,) = (REPOSITORY / "build/sanitize").glob("_fastpath.*.so")
    shutil.copytree(REPOSITORY / "src/urunc", tmp_path / "urunc", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(module, tmp_path / "urunc")
    reports = tmp_path / "reports"
    reports.mkdir()
    proof = subprocess.run([script(tmp_path / "proof", PROOF, reports)], capture_output=True, text=True, check=False)
    assert f"{tmp_path / 'urunc' / module.name} True\n" == proof.stdout, proof.stderr

    program = script(tmp_path / "program", MAIN, reports)
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITE)
    environment = os.environ | {"URUNC_TEST_PROGRAM": str(program)}
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
                           stdin=subprocess.DEVNULL)  # fmt: skip

    assert [] == [path.read_text() for path in sorted(reports.iterdir())]
    assert 0 == ended.returncode, ended.stdout + ended.stderr
