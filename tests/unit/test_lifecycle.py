"""Which command may be given in which status."""

import pytest

from urunc import lifecycle
from urunc.errors import StateError

STATUSES = ("creating", "created", "running", "paused", "stopped")
# command -> statuses in which it may be given (runtime-spec, runtime.md#operations; oci.md, section 3)
ALLOWED = {
    "start": ("created",),
    "kill": ("created", "running", "paused"),
    "delete": ("created", "stopped"),
    "pause": ("creating", "created", "running"),
    "resume": ("paused",),
    "update": ("creating", "created", "running", "paused"),
    "events": ("creating", "created", "running", "paused"),
    "exec": ("creating", "created", "running"),
}
# what clients look for in the text
WORDS = {
    ("running", "start"): "cannot start an already running container",
    ("stopped", "start"): "cannot start a container that has stopped",
    ("stopped", "kill"): "container not running",
    ("stopped", "pause"): "container not running",
    ("paused", "pause"): "container not running",
    ("created", "resume"): "container not paused",
    ("running", "resume"): "container not paused",
    ("stopped", "resume"): "container not paused",
    ("stopped", "update"): "container not running",
    ("stopped", "events"): "container with id c is not running",
    ("paused", "exec"): "cannot exec in a paused container",
    ("stopped", "exec"): "cannot exec in a stopped container",
    ("running", "delete"): "cannot delete container c that is not stopped: running",
    ("paused", "delete"): "cannot delete container c that is not stopped: paused",
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("command", ALLOWED)
def test_a_command_is_allowed_as_the_specification_says(command: str, status: str) -> None:
    if status in ALLOWED[command]:
        lifecycle.check(status, command, "c")
        return
    with pytest.raises(StateError) as caught:
        lifecycle.check(status, command, "c")

    assert WORDS.get((status, command), "container") in str(caught.value)
    assert "c" in str(caught.value).replace(":", " ").split()


def test_every_row_is_of_a_status_and_a_command_that_exist() -> None:
    for status, command in lifecycle.REFUSED:
        assert (True, True) == (status in STATUSES, command in ALLOWED)


@pytest.mark.parametrize("name", ["{id}", "%s", "a{0}b"])
def test_an_id_is_data_in_a_message(name: str) -> None:
    with pytest.raises(StateError) as caught:
        lifecycle.check("stopped", "start", name)

    assert name in str(caught.value)
