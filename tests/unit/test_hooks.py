"""Hooks: what they read, what the plan says of those that urunc-init runs, what a failing one does."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_plan import SPEC

from urunc import hooks
from urunc._fastpath import Json
from urunc._record import replace
from urunc.spec import Hook

HOOK = Hook(path="/bin/true", args=("true", "a b"), env=("A=1",), timeout_s=3)


def shell(script: str, env: tuple[str, ...] = ("PATH=/bin:/usr/bin",), timeout_s: int = 0) -> Hook:
    return Hook(path="/bin/sh", args=("sh", "-c", script), env=env, timeout_s=timeout_s)


def test_the_state_is_that_of_the_specification() -> None:
    spec = replace(SPEC, annotations=Json('{"a":"b", "c\\n": "é"}'.encode()))

    assert {
        "ociVersion": "1.0.2",
        "id": "c",
        "status": "creating",
        "pid": 42,
        "bundle": "/b",
        "annotations": {"a": "b", "c\n": "é"},
    } == json.loads(hooks.state(spec, "c", "creating", 42))


def test_a_container_without_a_process_has_no_pid() -> None:
    assert "pid" not in json.loads(hooks.state(SPEC, "c", "stopped", 0))


def test_hooks_inside_are_operations_of_the_plan() -> None:
    """createContainer's before the root changes, startContainer's in the rootfs that is in the slot."""
    spec = replace(SPEC, create_container=(HOOK,), start_container=(replace(HOOK, args=()), HOOK))
    waiting, starting = hooks.inside(spec, "c", 32, 7)
    creating, text = (hooks.state(spec, "c", status, 7) for status in ("creating", "created"))

    assert (
        ("hook", -1, "/bin/true", ("true", "a b"), ("A=1",), 3, creating, "/b", "createContainer hook #0"),
    ) == waiting
    assert ("hook", 32, "/bin/true", ("/bin/true",), ("A=1",), 3, text, "/", "startContainer hook #0") == starting[0]
    assert 2 == len(starting)


def test_hooks_run_one_after_the_other(tmp_path: Path) -> None:
    log = tmp_path / "log"
    hooks.run((shell(f"sleep 0.1; echo 1 >>{log}"), shell(f"echo 2 >>{log}")), b"{}", str(tmp_path), "prestart")

    assert "1\n2\n" == log.read_text()


def test_a_hook_reads_the_text_and_stands_in_the_directory(tmp_path: Path) -> None:
    """All of it, though it is more than a pipe holds."""
    text = b'{"a":"' + b"x" * 200_000 + b'"}'
    hooks.run(
        (shell("cat >in; pwd >at; env >env", env=("PATH=/bin:/usr/bin", "B= c")),), text, str(tmp_path), "prestart"
    )

    assert text == (tmp_path / "in").read_bytes()
    assert f"{tmp_path}\n" == (tmp_path / "at").read_text()
    assert {"B= c", "PATH=/bin:/usr/bin", f"PWD={tmp_path}"} == set((tmp_path / "env").read_text().splitlines()) - {
        "SHLVL=0",
        "_=/usr/bin/env",
        "OLDPWD=/",
    }


def test_the_first_that_fails_stops_the_others(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  the errno is what is asserted
        hooks.run((shell("echo oops >&2; exit 5"), shell("touch second")), b"{}", str(tmp_path), "prestart")

    assert errno.ECHILD == caught.value.errno
    assert "exit status 5, output: oops" in caught.value.filename
    assert [] == os.listdir(tmp_path)


def test_a_signal_is_told_from_a_status(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="signal 9"):
        hooks.run((shell("kill -9 $$"),), b"{}", str(tmp_path), "prestart")


def test_a_hook_past_its_timeout_is_killed(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        hooks.run((shell("echo $$ >pid; exec sleep 100", timeout_s=1),), b"{}", str(tmp_path), "prestart")

    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("path", "number"), [("/nope", errno.ENOENT), ("/etc/passwd", errno.EACCES), ("bin/true", errno.EINVAL)]
)
def test_a_hook_that_cannot_start_is_named(tmp_path: Path, path: str, number: int) -> None:
    with pytest.raises(OSError, match=path) as caught:
        hooks.run((replace(HOOK, path=path),), b"{}", str(tmp_path), "prestart")

    assert number == caught.value.errno


def test_no_hook_is_no_work() -> None:
    hooks.run((), b"{}", "/nonexistent", "prestart")


def kept(directory: Path, *given: Hook) -> dict[str, Any]:
    rows = [{"path": h.path, "args": list(h.args), "env": h.env, "timeout": h.timeout_s} for h in given]
    return {"bundle": str(directory), "version": "1.0.2", "annotations": {"a": "b"}, "poststop": rows}


def test_a_late_hook_that_fails_is_told_and_the_others_run(tmp_path: Path) -> None:
    warnings = hooks.run_kept(kept(tmp_path, shell("exit 5"), shell("cat >state")), "poststop", "c", "stopped", 0)

    assert 1 == len(warnings)
    assert "error running poststop hook #0: error running hook: /bin/sh" in warnings[0]
    assert "exit status 5" in warnings[0]
    assert {
        "ociVersion": "1.0.2",
        "id": "c",
        "status": "stopped",
        "bundle": str(tmp_path),
        "annotations": {"a": "b"},
    } == json.loads((tmp_path / "state").read_text())


def test_a_late_hook_runs_though_the_bundle_has_gone(tmp_path: Path) -> None:
    gone = kept(tmp_path / "gone", shell(f"pwd >{tmp_path}/at"))

    assert () == hooks.run_kept(gone, "poststop", "c", "stopped", 0)
    assert "/\n" == (tmp_path / "at").read_text()
