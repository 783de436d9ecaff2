"""Fixtures of the tests of command lines."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.container import PROGRAM, RUNC, Runtime


@pytest.fixture(params=["runc", "process"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path, subreaper: None) -> Iterator[Runtime]:
    """runc, which proves the test, then ours with the process monitor."""
    runtime = Runtime(RUNC if request.param == "runc" else PROGRAM, tmp_path)
    if request.param == "process":
        runtime.allow_process_monitor()
    with runtime.emptied():
        yield runtime
