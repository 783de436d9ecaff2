"""The interpreter that is prepared when urunc is built: its state is whole, and the same wherever it is built."""

import re
import subprocess
from pathlib import Path

import pytest
from tests.container import REPOSITORY

BUILT = next(iter(sorted(REPOSITORY.glob("build/*/src/_fastpath/urunc-unprepared"))), None)
pytestmark = pytest.mark.skipif(BUILT is None, reason="no static library of CPython 3.11 was at hand to ci/build")


def symbols() -> dict[str, tuple[str, int]]:
    """Name -> kind and address, of what the program is linked from."""
    lines = subprocess.run(["nm", str(BUILT)], capture_output=True, text=True, check=True).stdout.splitlines()
    return {
        name: (kind, int(address, 16)) for address, kind, name in (line.split() for line in lines if line[0] != " ")
    }


def test_everything_that_python_writes_to_is_kept() -> None:
    """A section that embedded.lds does not know would start anew in each process, and its other half would not."""
    found = symbols()
    kept = range(found["fp_embedded_start"][1], found["fp_embedded_end"][1] + 1)
    writable = {name: address for name, (kind, address) in found.items() if kind in "bBdD"}
    lost = [name for name, at in writable.items() if re.match("_?Py|fp_|__pyx", name) and at not in kept]

    assert [] == lost
    assert {"_PyRuntime", "_Py_NoneStruct", "_Py_HashSecret", "PyImport_FrozenModules"} <= writable.keys()


def test_libc_starts_anew() -> None:
    found = symbols()
    kept = range(found["fp_embedded_start"][1], found["fp_embedded_end"][1])

    for name in ("environ", "_IO_2_1_stderr_", "__libc_enable_secure", "_rtld_global_ro"):
        assert name not in found or found[name][1] not in kept, name


def test_the_same_sources_give_the_same_state(tmp_path: Path) -> None:
    """Addresses that the kernel draws, the build's environment and its signals leave no trace."""
    script = 'trap "" INT PIPE HUP; exec env -i TZ=UTC0 "$@"'
    subprocess.run(["sh", "-c", script, "sh", str(BUILT), tmp_path / "state"], check=True, cwd=tmp_path)

    assert BUILT is not None
    assert BUILT.with_name("urunc-embedded.state").read_bytes() == (tmp_path / "state").read_bytes()
