"""Every command in every status, for real: what the table of lifecycle.py says is what happens."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import Runtime

from urunc import lifecycle

pytestmark = pytest.mark.e2e

Make = Callable[..., Path]
STATES: dict[str, Callable[[Runtime, Path], object]] = {
    "created": Runtime.create,
    "running": Runtime.running,
    "paused": Runtime.paused,
    "stopped": Runtime.stopped,
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "start": ("start", "c"),
    "kill": ("kill", "c", "0"),
    "pause": ("pause", "c"),
    "resume": ("resume", "c"),
    "update": ("update", "--pids-limit", "50", "c"),
    "events": ("events", "--stats", "c"),
    "exec": ("exec", "c", "true"),
    "delete": ("delete", "c"),
    "state": ("state", "c"),
    "ps": ("ps", "-f", "json", "c"),
}


@pytest.mark.parametrize("status", STATES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_does_what_the_table_says(urunc: Runtime, bundle: Make, status: str, command: str) -> None:
    """A refused one changes nothing; exec has nothing to execute in, whatever the status."""
    STATES[status](urunc, bundle())
    ended = urunc(*COMMANDS[command])
    refused = lifecycle.REFUSED.get((status, command), "")

    assert bool(refused) or command == "exec" or (0, "") == (ended.returncode, ended.stderr)
    assert not refused or (ended.returncode != 0 and refused.split("{id}")[0] in ended.stderr)
    assert (status if refused else lifecycle.NEXT.get((status, command), status)) == urunc.status()


def test_the_table_leads_from_a_status_to_another_only_by_what_is_allowed() -> None:
    for key in lifecycle.NEXT:
        assert key not in lifecycle.REFUSED
