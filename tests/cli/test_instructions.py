"""How many instructions `create` takes until it opens the guest: the same count on every machine with this toolchain.

Noise cannot break it; a module that comes on the path of every create, or a long config.json that is read, does.
"""

import shutil
from pathlib import Path

import pytest
from bench import cold, instructions
from bench.bundle import CONFIG
from tests.container import PROGRAM, write_bundle
from tests.fastpath.test_embedded import BUILT

MOST = 3_300_000  # 2.2 million when this was written, half above for other compilers
MOST_OF_LONG = 2_500_000  # what 190 kB may add; 1.3 million
pytestmark = [
    pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed"),
    pytest.mark.skipif(BUILT is None, reason="create starts a python3: no static library of CPython 3.11 was at hand"),
]


def test_create_takes_no_more_instructions_than_it_did(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", {}, CONFIG)
    small, large = (
        instructions.of_create(str(PROGRAM), cold.grown(bundle, tmp_path, size), tmp_path) for size in (10_000, 200_000)
    )

    assert 1_000_000 < small < MOST
    assert small < large < small + MOST_OF_LONG
