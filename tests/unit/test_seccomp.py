"""The cache of compiled profiles."""

import errno
import os
from pathlib import Path

import pytest

from urunc import _fastpath, seccomp
from urunc.errors import HostError

PROFILE = _fastpath.Json(
    b'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]}'
)


def filters(cache: Path) -> "tuple[tuple[int, bytes], ...]":
    try:
        return seccomp.filters(PROFILE, str(cache))
    except HostError as error:
        pytest.skip(str(error))


def test_what_is_written_in_parts_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that fills up: write(2) takes less and says so."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:100]))
    found = filters(tmp_path)
    (kept,) = tmp_path.iterdir()

    assert kept.read_bytes().endswith(found[0][1])
    assert found == filters(tmp_path)


def test_a_full_cache_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)

    assert filters(tmp_path)
    assert [] == list(tmp_path.iterdir())
