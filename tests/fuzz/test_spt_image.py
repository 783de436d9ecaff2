"""A few seconds of hostile images for the reader of spt guests, with sanitizers; libFuzzer takes spt_image.c, too."""

import os
import random
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "src" / "_fastpath"
FLAGS = ("-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=undefined", "-DSTANDALONE")  # fmt: skip
SECONDS = int(os.environ.get("URUNC_FUZZ_SECONDS", "2"))


@pytest.fixture(scope="session")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("fuzz") / "spt_image"
    sources = [SOURCES / name for name in ("elf.c", "elf_dependencies.c", "elf_image.c", "elf_solo5.c", "error.c")]
    command: list[str | Path] = ["gcc", *FLAGS, "-iquote", SOURCES, HERE / "spt_image.c", *sources, "-o", program]
    built = subprocess.run(command, capture_output=True, text=True, check=False)

    assert built.returncode == 0, built.stderr

    return program


def test_hostile_images_are_refused_or_kept_to_their_word(fuzzer: Path) -> None:
    """The seed is printed when something is found; it decides all that is tried."""
    seed = random.randrange(1 << 32)
    corpus = sorted((HERE / "corpus" / "spt").iterdir())
    command: list[str | Path] = [fuzzer, str(SECONDS), str(seed), *corpus]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert corpus
    assert done.returncode == 0, f"{SECONDS} s with seed {seed}:\n{done.stdout}{done.stderr}"
