"""Hooks of ordinary containers, as runc has them: against runc first, then against the process monitor."""

from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_exec import make
from tests.container import RUNC, Runtime, read


def hook(script: str, **fields: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **fields}


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "poststart", "poststop"])
def test_without_env_a_hook_of_the_host_has_that_of_the_command(runtime: Runtime, tmp_path: Path, stage: str) -> None:
    runtime.environment |= {"GIVEN": "to the command"}
    log = tmp_path / "log"
    bundle = make(runtime, hooks={stage: [hook(f'echo "$GIVEN" >{log}')]})
    runtime.running(bundle)
    runtime.good("delete", "--force", "c")

    assert "to the command\n" == read(log)


def test_an_empty_env_is_one(runtime: Runtime, tmp_path: Path) -> None:
    runtime.environment |= {"GIVEN": "to the command"}
    log = tmp_path / "log"
    runtime.create(make(runtime, hooks={"createRuntime": [hook(f'echo "${{GIVEN-none}}" >{log}', env=[])]}))

    assert "none\n" == read(log)


@pytest.mark.parametrize("stage", ["createContainer", "startContainer"])
def test_a_hook_of_the_container_has_nothing_of_the_command(runtime: Runtime, stage: str) -> None:
    """The caller's environment is no business of what runs in the container."""
    runtime.environment |= {"GIVEN": "to the command"}
    script = 'test -z "$GIVEN"'
    runtime.running(make(runtime, hooks={stage: [hook(script)]}))

    assert "running" == runtime.status()


def test_a_hook_of_the_container_without_env_has_that_of_its_process(runtime: Runtime) -> None:
    """It is the container's, A=1 too: what env it is given takes the place of all of it."""
    runtime.running(make(runtime, hooks={"startContainer": [hook('test "$A" = 1'), hook('test -z "$A"', env=[])]}))

    assert "running" == runtime.status()


def test_a_createcontainer_hook_stands_in_the_rootfs_that_the_process_will_see(runtime: Runtime) -> None:
    bundle = make(runtime, hooks={"createContainer": [hook("test -e proc/self/stat && echo made >tmp/by-hook")]})
    runtime.running(bundle)

    assert "made\n" == runtime.good("exec", "c", "cat", "/tmp/by-hook")


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
def test_the_message_says_which_hook_failed(runtime: Runtime, stage: str) -> None:
    """runc 1.1 its number, later ones its stage too."""
    bundle = make(runtime, hooks={stage: [hook("exit 0"), hook("exit 5")]})
    ended = runtime("create", "--bundle", bundle, "c")

    assert (1, []) == (ended.returncode, runtime.remains())
    assert "hook #1: error running hook: " in ended.stderr
    assert (f"running {stage} hook" in ended.stderr) is (runtime.program != RUNC)


def test_a_poststart_hook_that_fails_destroys_the_container(runtime: Runtime) -> None:
    """Whatever version of the specification the bundle is of; runc 1.1 runs it in create."""
    bundle = make(runtime, hooks={"poststart": [hook("exit 5")]})
    ended = runtime("create", "--bundle", bundle, "c")
    if not ended.returncode:
        ended = runtime("start", "c")

    assert (1, "gone", []) == (ended.returncode, runtime.status(), runtime.remains())
    assert "exit status 5" in ended.stderr
