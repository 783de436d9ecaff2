"""The kernel's log, searched for the system call that ended a monitor."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI

SOURCES = Path(__file__).parents[2] / "src" / "_fastpath"
RECORD = (
    "<5>[  12.{at:06}] audit: type={kind} audit(1795625490.675:30): auid=4294967295 uid=0 gid=0 ses=1 pid={pid}"
    ' comm="qemu-system-x86" exe="/.monitor/usr/bin/qemu" sig=31 arch=c000003e syscall={number} compat=0'
    " ip=0x7f894d6fcbe7 code=0x80000000\n"
)
SINCE = 1795625490.0

Find = Callable[[str, int, float], int]


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Find:
    library = tmp_path_factory.mktemp("audit") / "audit.so"
    sources = [SOURCES / name for name in ("audit.c", "process.c", "error.c")]
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{SOURCES}"]
    subprocess.run(["gcc", *flags, "-o", library, *sources], check=True)
    ffi = FFI()
    ffi.cdef("int fp_audit_find(const char *log, int pid, double since_s);")
    core: Any = ffi.dlopen(str(library))
    return lambda log, pid, since_s: int(core.fp_audit_find(log.encode(), pid, since_s))


def record(pid: int, number: int, kind: int = 1326) -> str:
    return RECORD.format(at=5, kind=kind, pid=pid, number=number)


def test_the_record_of_the_process_is_found(find: Find) -> None:
    assert 165 == find(
        record(7, 41) + record(88, 43) + record(8, 165) + "<4>something else\n" + record(9, 42), 8, SINCE
    )


def test_the_last_of_its_records_counts(find: Find) -> None:
    """With --debug calls are only logged: the one that ended it is behind them."""
    assert 41 == find(record(8, 165) + record(8, 41), 8, SINCE)


@pytest.mark.parametrize("since_s", [SINCE + 1, SINCE + 10**6])
def test_a_record_from_before_is_somebody_elses(find: Find, since_s: float) -> None:
    """A pid comes again."""
    assert -1 == find(record(8, 165), 8, since_s)


@pytest.mark.parametrize(
    "log", ["", "type=1326 audit(", record(8, 165, kind=1400), record(18, 1), "type=1326 audit(\n"]
)
def test_what_is_no_record_of_it_is_passed_over(find: Find, log: str) -> None:
    assert -1 == find(log, 8, SINCE)
