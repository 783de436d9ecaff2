"""The table of table.py against runc, which proves the rows, then against urunc, with a guest and with a process."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.cgroups import NAME
from tests.cli.table import ROWS, Row
from tests.container import CONFIG, PROGRAM, RUNC, UNIKERNEL, Runtime, merged, write_bundle

MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
]
SLEEP = {"process": {"args": ["/bin/busybox", "sleep", "1000"]}, "mounts": MOUNTS}
# of runc's kind and of ours: a container that stays until it is killed
CHANGES: dict[str, dict[str, Any]] = {
    # one of its own choice in cgroup2 would not be below that of this session
    "runc": {**SLEEP, "linux": {"cgroupsPath": f"/{NAME}/c"}},
    "process": SLEEP,  # the same bundle under the process monitor
    "urunc": {"process": {"args": ["/app", "exit=halt"]}, "annotations": UNIKERNEL},
}


def deleted(runtime: Runtime, bundle: Path) -> None:
    runtime.create(bundle)
    runtime.good("delete", "c")


def killed(runtime: Runtime, bundle: Path) -> None:
    """End the container's process behind the runtime's back."""
    os.kill(runtime.running(bundle), signal.SIGKILL)
    runtime.await_status("stopped")


def without_its_bundle(runtime: Runtime, bundle: Path) -> None:
    runtime.stopped(bundle)
    shutil.rmtree(bundle)
    bundle.mkdir()  # the command stands there


STATES: dict[str, Callable[[Runtime, Path], object]] = {
    "": lambda runtime, bundle: None,
    "created": Runtime.create,
    "running": Runtime.running,
    "paused": Runtime.paused,
    "stopped": Runtime.stopped,
    "deleted": deleted,
    "killed": killed,
    "without its bundle": without_its_bundle,
}


@pytest.fixture(params=["runc", "urunc", "process"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def runtime(kind: str, tmp_path: Path, subreaper: None) -> Iterator[Runtime]:
    if kind != "runc":
        assert PROGRAM.exists(), f"{PROGRAM} is not built: run ci/build"
        runtime = Runtime(PROGRAM, tmp_path)
        if kind == "process":
            runtime.allow_process_monitor()
    else:
        runtime = Runtime(RUNC, tmp_path)
    with runtime.emptied():
        yield runtime


def prepared(row: Row, kind: str, runtime: Runtime, hello: Path) -> Path:
    """Make the bundle of a row."""
    config = merged(merged(CONFIG, CHANGES[kind]), row.changes)
    files = {"bin/busybox": Path("/bin/busybox")} if kind != "urunc" else {"hello": hello}
    bundle = write_bundle(runtime.directory / "b", files, config)
    if kind != "urunc":
        for directory in ("proc", "dev"):
            (bundle / "rootfs" / directory).mkdir()
    if row.text is not None:
        (bundle / "config.json").write_text(row.text)
    if "config.json" not in row.files:
        (bundle / "config.json").unlink()
    return bundle


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_of_the_table(kind: str, runtime: Runtime, hello: Path, row: Row) -> None:
    """Status, words on both streams, and what the container is afterwards."""
    if row.program and kind == "urunc":
        pytest.skip("it is about a program of the host's kernel")
    if kind != "runc":
        row = replace(row, **row.urunc)
    if kind == "urunc":
        row = replace(row, **row.unikernel)
    bundle = prepared(row, kind, runtime, hello)
    STATES[row.before](runtime, bundle)
    words = {"{bundle}": str(bundle), "{long}": "x" * 300}
    ended = runtime(*(filled(word, words) for word in row.words), cwd=bundle)

    assert row.status == ended.returncode, ended.stderr
    message = runtime.unwarned(ended.stderr).replace('\\"', '"')  # as logrus quotes it
    for word in row.says:
        assert word in message
    for word in row.prints:
        assert words.get(word, word) in compact(ended.stdout)
    assert bool(row.says) or not message
    if row.after:
        expected = row.after
        (runtime.await_status(expected) if expected == "stopped" else check(runtime, expected))


def filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def compact(text: str) -> str:
    """The text, and once more without the blanks that JSON may have or not."""
    try:
        return text + json.dumps(json.loads(text), separators=(",", ":"))
    except ValueError:
        return text


def check(runtime: Runtime, expected: str) -> None:
    assert expected == runtime.status()
    if expected == "gone":
        assert [] == runtime.remains()


def test_rows_have_names_of_their_own() -> None:
    """And whatever differs has its reason, unless it is only more or fewer words."""
    names = [row.name for row in ROWS]

    assert sorted(set(names)) == sorted(names)
    assert [] == [
        row.name for row in ROWS if "status" in row.urunc and row.urunc["status"] != row.status and not row.reason
    ]


def test_runc_is_here_to_prove_the_table() -> None:
    assert os.access(RUNC, os.X_OK), f"{RUNC} is missing: run ci/setup"
