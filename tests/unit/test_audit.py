"""The kernel's log, searched for the system call that ended a monitor."""

import os
from pathlib import Path

import pytest

from urunc import audit

RECORD = (
    "5,1000,{at},-;audit: type={kind} audit(1795625490.675:30): auid=4294967295 uid=0 gid=0 ses=4294967295 pid={pid}"
    ' comm="qemu-system-x86" exe="/.monitor/usr/bin/qemu" sig=31 arch=c000003e syscall={number} compat=0'
    " ip=0x7f894d6fcbe7 code=0x80000000\n"
)
SINCE = 1795625490.0


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the place of /dev/kmsg; this process seems to be in the initial pid namespace."""
    path = tmp_path / "kmsg"
    really = os.open
    monkeypatch.setattr(os, "open", lambda name, flags: really(path if name == "/dev/kmsg" else name, flags))
    monkeypatch.setattr(os, "readlink", lambda _: "pid:[4026531836]")
    monkeypatch.setattr(audit, "_lines", lambda _: iter(path.read_text().splitlines()))
    return path


def record(pid: int, number: int, kind: int = 1326) -> str:
    return RECORD.format(at=5, kind=kind, pid=pid, number=number)


def test_the_record_of_the_process_is_found(log: Path) -> None:
    log.write_text(record(7, 41) + record(8, 165) + "4,1,1,-;something else\n" + record(9, 42))

    assert "denies the system call mount (165): run with --debug" in audit.message(8, SINCE)


@pytest.mark.parametrize("since", [SINCE + 1, SINCE + 10**6])
def test_a_record_from_before_is_somebody_elses(log: Path, since: float) -> None:
    """A pid comes again."""
    log.write_text(record(8, 165))

    assert "denies a system call: run with --debug" in audit.message(8, since)


def test_a_log_that_cannot_be_read_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refused)

    assert "denies a system call: run with --debug" in audit.message(8, SINCE)
