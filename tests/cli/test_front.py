"""The program's two faces: an ELF file that serves the ordinary case by itself, and an archive that python3 runs."""

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.container import Runtime, exit_status

Make = Callable[..., Path]
PYTHON = "/usr/bin/python3"
# where no interpreter can be executed
WITHOUT_PYTHON = (
    *("unshare", "--mount", "--propagation", "private"),
    *("sh", "-c", f'mount --bind /bin/false {PYTHON} && exec "$@"', "sh"),
)
STATES: dict[str, Callable[[Runtime, Path], object]] = {
    "gone": lambda runtime, bundle: runtime.root.mkdir(),
    "created": Runtime.create,
    "running": Runtime.running,
    "stopped": Runtime.stopped,
}


def without_python(urunc: Runtime, *words: object) -> "subprocess.CompletedProcess[str]":
    return urunc.run([*WITHOUT_PYTHON, *urunc.words(*words)])


def test_it_is_a_program_and_an_archive(urunc: Runtime) -> None:
    with urunc.program.open("rb") as file:
        assert b"\x7fELF" == file.read(4)
    with zipfile.ZipFile(urunc.program) as archive:
        assert archive.testzip() is None
        assert {"__main__.py", "urunc/cli.py"} <= set(archive.namelist())
    assert urunc.good("--version") == urunc.run([PYTHON, str(urunc.program), "--version"]).stdout
    assert urunc.good("--version") == urunc.run([sys.executable, str(urunc.program), "--version"]).stdout


def test_the_ordinary_case_needs_no_interpreter(urunc: Runtime, bundle: Make) -> None:
    pid = urunc.create(bundle())
    assert "created" in without_python(urunc, "state", "c").stdout
    for words in (
        ("start", "c"),
        ("kill", "c", "KILL"),
        ("kill", "--all", "c", "9"),
        ("delete", "c"),
        ("delete", "--force", "c"),
    ):
        if words[0] == "kill" and "--all" in words:
            assert 128 + 9 == exit_status(pid)
        ended = without_python(urunc, *words)

        assert (0, "", "") == (ended.returncode, ended.stdout, ended.stderr), words
    assert "gone" == urunc.status()


def test_create_brings_its_interpreter_along(urunc: Runtime, bundle: Make) -> None:
    """It has no standard library: what wants some goes to python3, here /bin/false."""
    path = bundle()
    ended = without_python(urunc, "create", "--bundle", path, "c")

    assert (0, "", "") == (ended.returncode, ended.stdout, ended.stderr)
    assert "created" == urunc.status()
    (path / "config.json").write_text("{")
    assert (1, "") == ((broken := without_python(urunc, "create", "--bundle", path, "d")).returncode, broken.stderr)
    assert "line 1 column 2" in urunc("create", "--bundle", path, "d").stderr


def test_create_says_the_same_by_both(urunc: Runtime, bundle: Make) -> None:
    """Faults of every layer: the bundle, the machine, the host, the state."""
    keys = {"com.urunc.unikernel.binary": "/nowhere", "com.urunc.unikernel.cmdline": "\udc80 é"}
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"annotations": keys},
        {"hostname": 7},
        {"process": None},
        {"linux": {"namespaces": [{"type": "no"}]}},
    )
    paths = [bundle(name=f"b{number}", **change) for number, change in enumerate(changes)]
    urunc.create(paths[0])
    for path in (*paths, urunc.directory / "none"):
        words = urunc.words("create", "--bundle", path, "c")
        seen = [urunc.run([*interpreter, *words]) for interpreter in ((), (PYTHON, "-IS"))]

        assert 1 == seen[0].returncode == seen[1].returncode
        assert without_times(seen[0].stderr) == without_times(seen[1].stderr) != ""


def test_a_container_with_hooks_is_left_to_python(urunc: Runtime, bundle: Make) -> None:
    """The front does not know hooks, Python runs them."""
    witness = urunc.directory / "witness"
    urunc.create(bundle(hooks={"poststop": [{"path": "/bin/cp", "args": ["cp", "/proc/self/stat", str(witness)]}]}))
    urunc.good("delete", "--force", "c")

    assert witness.exists()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    "words",
    [
        ("start", "c"),
        ("state", "c"),
        ("kill", "c", "0"),
        ("kill", "c", "63"),
        ("kill", "--all", "c", "0"),
        ("delete", "c"),
        ("delete", "--force", "c"),
        ("--log-format", "json", "--log", "/dev/full", "delete", "c"),
        ("--log", "/no/such/directory/log", "state", "c"),
    ],
    ids=" ".join,
)
def test_both_say_the_same(urunc: Runtime, bundle: Make, state: str, words: tuple[str, ...]) -> None:
    """By the front and by python3, on containers in the same state: status, both streams, the status afterwards."""
    seen = []
    path = bundle()
    for interpreter in ((), (PYTHON, "-IS")):
        STATES[state](urunc, path)
        ended = urunc.run([*interpreter, *urunc.words(*words)])
        if "63" in words and state in {"created", "running"}:
            urunc.await_status("stopped")
        seen.append((ended.returncode, without_times(ended.stdout), without_times(ended.stderr), urunc.status()))
        urunc.clean()
        shutil.rmtree(urunc.root)

    assert seen[0] == seen[1]


def without_times(text: str) -> str:
    """Leave out what differs from run to run."""
    return re.sub(r'"(?:created|time|pid)": ?"?[-\w:.]+"?|time="[^"]*"', "", text)
