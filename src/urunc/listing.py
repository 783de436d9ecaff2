"""list and ps: what there is under --root, ours and the fallback runtime's.

The one rule: one broken entry does not hide the others.
"""

import os

from . import _fastpath, config, runtime
from . import state as stored
from .arguments import ID_CHARACTERS
from .errors import UruncError
from .jsontext import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .request import Request

    Row = dict[str, Any]

COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def list_(request: "Request") -> str:
    """Return the containers as JSON, as ids or as a table."""
    rows, foreign = [], False
    for name in names(request.root):
        with stored.open_(request.root, name, locked=False) as container:
            owner = container.owner()
            foreign = foreign or owner == "fallback"
            if owner == "urunc":
                rows += _row(container)
    if foreign:
        rows += _foreign_rows(request)
    if request.quiet:
        return "\n".join(row["id"] for row in rows)
    if request.format == "json":
        import json

        return json.dumps(rows, separators=(",", ":"))  # as runc: there are readers by patterns
    return _table(rows)


def ps(request: "Request") -> str:
    """Return the processes of the container's cgroup, none when it has stopped."""
    with runtime.open_(request, locked=False) as container:
        record = container.record()
        pids = () if container.status(record) == "stopped" else _members(record)
    if request.format == "json":
        return "[" + ",".join(str(pid) for pid in pids) + "]"
    import subprocess

    listed = subprocess.run(["ps", *(request.args or ("-ef",))], capture_output=True, text=True, check=False).stdout
    head, *lines = listed.splitlines() or ["UID PID PPID C STIME TTY TIME CMD"]
    column = head.split().index("PID") if "PID" in head.split() else 1
    wanted = {str(pid) for pid in pids}
    return "\n".join([head, *(line for line in lines if line.split()[column] in wanted)])


def names(root: str) -> "list[str]":
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if set(name) <= ID_CHARACTERS and os.path.isdir(f"{root}/{name}"))


def _row(container: "stored.Container") -> "list[Row]":
    try:
        record = container.record()
        row = decode(record.json(container.status(record)), container.id)
    except (UruncError, OSError):
        # deleted meanwhile, or not readable: state says why.  Without a time of creation: "" is none for Go's json
        return [{"id": container.id, "pid": 0, "status": "unknown"}] if container.owner() == "urunc" else []
    return [row] if isinstance(row, dict) else []


def _foreign_rows(request: "Request") -> "list[Row]":
    import json
    import subprocess

    try:
        fallback = runtime.fallback_runtime(config.load(request.config))
        command = [fallback, "--root", request.root, "list", "-f", "json"]
        rows = json.loads(subprocess.run(command, capture_output=True, check=False).stdout) or []
    except (UruncError, OSError, ValueError):
        return []  # no such runtime, or it does not answer: ours are listed all the same
    ours = {name for name in names(request.root) if os.path.exists(f"{request.root}/{name}/record")}
    return [row for row in rows if row.get("id") not in ours]


def _table(rows: "list[Row]") -> str:
    cells = [[key.upper() for key in COLUMNS]] + [[str(row.get(key, "")) for key in COLUMNS] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    return "\n".join("   ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def _members(record: "_fastpath.State") -> "tuple[int, ...]":
    cgroups = record.cgroups()
    return tuple(sorted(_fastpath.cgroup_processes(cgroups[0][1]))) if cgroups else (record.pid,)
