"""Limits are changed together or not at all."""

from pathlib import Path

import pytest

from urunc import update
from urunc.errors import SpecError, UruncError
from urunc.limits import writes
from urunc.resources import Resources


@pytest.mark.parametrize(
    ("refused", "kind", "words"),
    [
        (Resources(memory_limit=2 << 20, cpus="0"), SpecError, "no cgroup of the container has the controller cpuset"),
        (Resources(memory_limit=2 << 20, pids_limit=3), UruncError, "pids.max"),
    ],
    ids=["a hierarchy that it is not in", "a file that is not there"],
)
def test_one_that_cannot_be_kept_changes_none(
    tmp_path: Path, refused: Resources, kind: type[Exception], words: str
) -> None:
    """The directories stand for those of version 1."""
    limit = tmp_path / "memory.limit_in_bytes"
    limit.write_text("1048576\n")
    groups = (("memory", str(tmp_path)), ("pids", str(tmp_path)))
    with pytest.raises(kind, match=words):
        update.apply(writes(refused, 0, unified=False), groups)

    assert "1048576" == limit.read_text().strip()
