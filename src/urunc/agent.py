"""The agent that answers for system calls of a container (runtime-spec, config-linux.md#containerprocessstate).

The one rule: who asks one gets one, or an error: nothing waits for an answer that nobody gives.
"""

from . import hooks, seccomp
from .errors import SpecError
from .jsontext import absolute, encode, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import Spec

    Operation = tuple[object, ...]
    Filters = tuple[tuple[int, bytes], ...]

_PLACE = "config.json: linux.seccomp."


def path_of(spec: "Spec") -> str:
    """Return where the agent listens, "" if the profile asks none; SpecError for one that is not named."""
    profile = spec.cage.seccomp
    if profile is None or not seccomp.asks(profile):
        return ""
    path = absolute(profile.value().get("listenerPath"), _PLACE + "listenerPath")
    if not path:
        raise SpecError(f"{_PLACE}listenerPath is missing, and {seccomp.NOTIFY} asks who listens there: name a socket")
    return path


def connected(spec: "Spec", container_id: str, status: str, pids: "tuple[int, int]") -> "tuple[Operation, ...]":
    """Return the operation of stage root for a process with an agent; nothing for one without.

    `pids` are that of the process and that of the container's, which may be another.
    """
    path = path_of(spec)
    if not path or spec.cage.seccomp is None:
        return ()
    state = {
        "ociVersion": spec.version,
        "fds": ["seccompFd"],
        "pid": pids[0],
        "metadata": text(spec.cage.seccomp.value().get("listenerMetadata"), _PLACE + "listenerMetadata"),
        "state": hooks.document(spec, container_id, status, pids[1]),
    }
    return (("listener", path, encode(state)),)


def loaded(spec: "Spec", filters: "Filters") -> "tuple[tuple[Operation, ...], Filters]":
    """Return the operation that ends stage wait of a process with an agent, and the filters that are loaded later."""
    if not path_of(spec):
        return (), filters
    return tuple(("notify", flags, program) for flags, program in filters), ()
