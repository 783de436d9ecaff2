"""A few seconds of hostile bundles, annotations, urunc.json and config.toml; their corpora first."""

import sys
from pathlib import Path

import pytest
from tests.fuzz import fuzzers

pytest.importorskip("atheris", reason="atheris is not installed (ci/setup installs it): NOTHING IS FUZZED")


@pytest.mark.parametrize("name", ["annotations", "bundle", "config", "urunc_json"])
def test_hostile_bytes_are_refused_in_one_line_or_keep_their_promises(tmp_path: Path, name: str) -> None:
    command = (sys.executable, fuzzers.HERE / "hostile.py", name)

    assert "DONE" in fuzzers.fuzz(command, tmp_path, fuzzers.CORPUS / name, fuzzers.SECONDS)
