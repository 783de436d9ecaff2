"""A network that came between create and start, as `ctr run --cni` and Docker 28 make it: the monitor is planned again.

The one rule: what create has done and cannot be done twice stays as it is.
"""

import os

from . import _fastpath, facts, plan
from .errors import StateError
from .jsontext import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .facts import Host
    from .launch import Launch
    from .monitors import Machine, Monitor
    from .state import Container

_ONCE = ("console", "control", "snapshot")  # the terminal and the power button are there, the snapshot is noted


def bundle_of(container: "Container", record: "_fastpath.State") -> str:
    """Return the container's bundle; StateError if its config.json is not the one that the container was made of.

    The container's socket is as old as its process, which was made when config.json had been read.
    """
    path = str(decode(record.json("created").encode("utf-8", "surrogateescape"), container.id)["bundle"])  # type: ignore[index]
    config = f"{path}/config.json"
    try:
        is_newer = os.stat(config).st_mtime_ns > os.stat("start.sock", dir_fd=container.fd).st_mtime_ns
    except OSError as error:
        raise StateError(f"{config}: {os.strerror(error.errno or 0).lower()}: start needs it for a network") from None
    if is_newer:
        raise StateError(
            f"{config} has changed since create, and start needs it for a network that came late: recreate"
        )
    return path


def complete(launch: "Launch", chosen: "Monitor", host: "Host", machine: "Callable[[facts.Network], Machine]") -> bytes:
    """Build the monitor's root again, in the network that is there now; return the plan of what is left for start.

    The executor of `launch` has adopted the container's process; its slots go with the plan.
    """
    sandbox, spec = launch.sandbox, launch.spec
    sandbox.lock_network()
    launch.network = facts.network(spec, sandbox.pid, again=True)
    whole = launch.plan(chosen, host, machine(launch.network))
    wait, enter = (whole.operations.index(("stage", name)) for name in ("wait", "enter"))
    again = [operation for operation in whole.operations[1:wait] if operation[0] not in _ONCE]
    users = f"/proc/{sandbox.pid}/ns/user"
    joins = [
        ("join", plan.CLONE_NEW[namespace.type], namespace.path or users)
        for namespace in spec.namespaces
        if namespace.type == "user" or (namespace.type == "network" and namespace.path)
    ]
    files = tuple(file.fd for file in whole.files)
    sandbox.execute(_fastpath.pack([("stage", "root"), *joins, *again]), files)
    return _fastpath.pack(whole.operations[enter:])
