"""The life of a container: which command may be given in which status, what follows, and what it says otherwise.

The one rule: what depends on the status is a row here (runtime-spec, runtime.md#lifecycle).
"""

from .errors import StateError

# (status, command) that is refused -> message; the words are runc's, clients match them
REFUSED = {
    ("creating", "start"): "cannot start container {id}: its create has not ended",
    ("running", "start"): "cannot start an already running container: {id}",
    ("paused", "start"): "cannot start an already running container: {id}",
    ("stopped", "start"): "cannot start a container that has stopped: {id}",
    ("creating", "kill"): "container not running: {id} is being created",
    ("stopped", "kill"): "container not running: {id} has stopped",
    ("stopped", "pause"): "container not running: {id} has stopped",
    ("paused", "pause"): "container not running: {id} is paused already",
    ("creating", "resume"): "container not paused: {id} is being created",
    ("created", "resume"): "container not paused: {id} has not been started",
    ("running", "resume"): "container not paused: {id} is running",
    ("stopped", "resume"): "container not paused: {id} has stopped",
    ("stopped", "update"): "container not running: {id} has stopped",
    ("stopped", "events"): "container with id {id} is not running",
    ("stopped", "exec"): "cannot exec in a stopped container: {id}",
    ("paused", "exec"): "cannot exec in a paused container (use --ignore-paused to override): {id}",
    ("creating", "delete"): "cannot delete container {id} that is not stopped: creating",
    ("running", "delete"): "cannot delete container {id} that is not stopped: running",
    ("paused", "delete"): "cannot delete container {id} that is not stopped: paused",
}
# (status, command) that is not refused -> what the status is then; what is not here leaves it as it is.  A signal that
# kills, and delete --force, lead from everywhere to stopped and out.
NEXT = {
    ("created", "start"): "running",
    ("created", "pause"): "paused",
    ("running", "pause"): "paused",
    ("paused", "resume"): "running",  # or created, if it has not been started
    ("created", "delete"): "gone",
    ("stopped", "delete"): "gone",
}


def check(status: str, command: str, container_id: str) -> None:
    """Raise StateError if `command` cannot be given to a container in `status`."""
    message = REFUSED.get((status, command))
    if message:
        raise StateError(message.format(id=container_id))
