"""The machine of these tests.  Where User-Mode Linux does not work, by use, they are skipped with its reason."""

import pytest
from tests.devmapper import machine


@pytest.fixture(scope="session")
def uml() -> None:
    reason = machine.unusable()
    if reason:
        pytest.skip(f"no machine with a thin pool: {reason}")
