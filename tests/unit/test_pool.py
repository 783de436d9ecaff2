"""The pool of prepared sandboxes, with containers that are none."""

import errno
from typing import TYPE_CHECKING

import pytest

from urunc.errors import HostError
from urunc.pool import Pool

if TYPE_CHECKING:
    from typing import Any, Self


class Fake:
    """A container whose state cannot be asked for at first."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.faults = [errno.EMFILE]
        self.is_deleted = False

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.is_deleted = True

    def is_waiting(self) -> bool:
        if self.faults:
            raise HostError(f"open: {self.faults.pop()}")
        return True


def test_a_sandbox_that_cannot_be_asked_stays_in_the_pool() -> None:
    """Else nobody would know of it any more, and it would wait for ever."""
    made: list[Fake] = []

    def create(name: str) -> "Any":
        made.append(Fake(name))
        return made[-1]

    with Pool(create, 1, "p") as pool:
        assert pool.await_full(10)
        with pytest.raises(HostError):
            pool.take()
        taken = pool.take()

    assert made[0].id == taken.id
    assert [False] + [True] * (len(made) - 1) == [container.is_deleted for container in made]
