"""The words about a monitor that its filter has ended."""

import pytest

from urunc import audit


@pytest.mark.parametrize(
    ("call", "words"),
    [(-1, "denies a system call: run with --debug"), (100_000, "denies the system call 100000: run with --debug")],
)
def test_a_call_that_has_no_name_is_told_without_one(call: int, words: str) -> None:
    assert words in audit.message(call)


def test_a_call_is_told_by_name_and_number() -> None:
    pytest.importorskip("ctypes").CDLL("libseccomp.so.2")

    assert "denies the system call read (0)" in audit.message(0) or "(63)" in audit.message(63)
