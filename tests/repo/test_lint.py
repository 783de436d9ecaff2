"""The linters, as tests: what continuous integration asks is what `pytest` asks."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
C_FILES = tuple(str(path.relative_to(ROOT)) for path in sorted((ROOT / "src" / "_fastpath").glob("*.[ch]")))

COMMANDS = {
    "ruff": (sys.executable, "-m", "ruff", "check", "."),
    "mypy": (sys.executable, "-m", "mypy"),
    "clang-format": ("clang-format", "--dry-run", "-Werror", *C_FILES),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_linter_is_content(name: str) -> None:
    command = COMMANDS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (ci/setup installs it)")

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    assert ended.returncode == 0, f"$ {' '.join(command)}\n{ended.stdout}{ended.stderr}"
