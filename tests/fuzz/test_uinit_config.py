"""A second of hostile configurations for uinit, with sanitizers."""

import random
import subprocess
from pathlib import Path

from tests.fuzz.test_spt_image import FLAGS, HERE, SECONDS, SOURCES


def test_hostile_configurations_are_refused_or_stay_inside(tmp_path: Path) -> None:
    """The seed is printed when something is found; it decides all that is tried."""
    seed, program = random.randrange(1 << 32), tmp_path / "uinit_config"
    sources = [HERE / "uinit_config.c", *(SOURCES / name for name in ("uinit_config.c", "error.c"))]
    built = subprocess.run(
        ["gcc", *FLAGS, "-iquote", SOURCES, *sources, "-o", program], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr

    done = subprocess.run([program, str(SECONDS), str(seed)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, f"{SECONDS} s with seed {seed}:\n{done.stdout}{done.stderr}"
