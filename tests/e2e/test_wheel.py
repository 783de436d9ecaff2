"""The first command of docs/how-to/embed.md: the package built, installed into an environment of its own, and used.

Five seconds, for all of C is compiled, if without optimisation: nothing else shows that the build that pip runs works.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from tests.e2e.embedding import MakeBundle

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, urunc, urunc.aio
runtime = urunc.Runtime(*sys.argv[1:3])
with runtime.create("one", sys.argv[3], stdout=urunc.PIPE) as container:
    container.start()
    print(urunc.__file__, container.wait(), container.stdout.read().decode())
"""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]


def output(*command: "str | Path") -> str:
    """What the command prints; its messages are part of the failure if it fails."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    return ended.stdout


def test_the_wheel_is_whole(tmp_path: Path, spt_bundle: MakeBundle) -> None:
    """With the tools that are there already: an index of packages is not asked."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir")
    fast = ("--config-settings=cmake.build-type=None", "--config-settings=cmake.define.CMAKE_C_FLAGS=-O0")
    output(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", *fast, "-w", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    output(*pip, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)

    shown = output(python, "-I", "-c", PROGRAM, tmp_path / "root", tmp_path / "none.toml", spt_bundle("hello", "wheel"))
    assert shown.startswith(f"{tmp_path}/venv/lib/")
    assert "__init__.py 0 hello: wheel\n" in shown
    assert output(tmp_path / "venv" / "bin" / "urunc", "--version").startswith("urunc version ")
    with ZipFile(wheel) as archive:
        assert {"urunc/py.typed", "urunc/_fastpath.pyi"} <= set(archive.namelist())
