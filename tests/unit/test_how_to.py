"""The guides to a new framework and to a new monitor, followed to the letter in a copy of the sources.

Of a page its code blocks count, and the paths that stand before them in the text.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHOLE = re.compile(r"^   `([^`]+)`:$")
TABLE = re.compile(r"^   In `([A-Z_]+)` of `([^`]+)`:$")
FILES = re.compile(r"`([^` ]+/[^` ]+\.py)`")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the guides touch and what its tests need: no repository, no caches."""
    ignore = shutil.ignore_patterns("__pycache__", "fuzz", "torture", "devmapper", "cages")
    for name in ("src", "ci", "docs", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("page", "new"),
    [
        ("add-a-framework", "tests/unit/goldens/hermit-qemu.txt"),
        ("add-a-monitor", "tests/unit/goldens/linux-crosvm.txt"),
    ],
)
def test_guide_works_as_written(copy: Path, page: str, new: str) -> None:
    follow((ROOT / "docs" / "how-to" / f"{page}.md").read_text(), copy)

    assert (copy / new).read_text().startswith("network ")


def follow(text: str, copy: Path) -> None:
    parts = re.split(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    for before, language, block in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        if language == "sh":
            for line in block.splitlines():
                run(line, copy)
        elif language == "diff":
            change(before, block, copy)
        else:
            place(before, block, copy)


def place(before: str, block: str, copy: Path) -> None:
    """A new file, or lines at the top of a table."""
    line = before.rstrip().splitlines()[-1]
    if found := WHOLE.match(line):
        (copy / found[1]).write_text(block)
        return
    table = TABLE.match(line)
    assert table, f"the page does not say where this goes:\n{block}"
    path = copy / table[2]
    made, count = re.subn(
        rf"^({table[1]}\b.* = \{{\n)", lambda head: head[1] + block, path.read_text(), flags=re.MULTILINE
    )
    assert count == 1, f"{table[2]} has no table {table[1]}"
    path.write_text(made)


def change(before: str, block: str, copy: Path) -> None:
    """Lines in place of others, each in the one of the named files that has it."""
    paths = {copy / name for name in FILES.findall(before)}
    lines = block.splitlines()
    for old, new in zip(lines[::2], lines[1::2], strict=True):
        assert (old[0], new[0]) == ("-", "+")
        (path,) = (path for path in paths if path.read_text().count(f"\n{old[1:]}\n") == 1)
        path.write_text(path.read_text().replace(f"\n{old[1:]}\n", f"\n{new[1:]}\n"))


def run(line: str, copy: Path) -> None:
    """A command of the page, by the interpreter and with the packages of this one."""
    words = line.split()
    changed = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    program, *arguments = words[len(changed) :]
    command = {"pytest": ["-m", "pytest", "-q", "-p", "no:cacheprovider"], "python": []}[program]
    environment = {**os.environ, "PYTHONPATH": f"{copy}/src:{copy}", "PYTHONDONTWRITEBYTECODE": "1", **changed}
    ended = subprocess.run(
        (sys.executable, *command, *arguments), cwd=copy, env=environment, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, f"{line}\n{ended.stdout[-4000:]}\n{ended.stderr[-2000:]}"
