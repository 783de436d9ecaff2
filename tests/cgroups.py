"""The control groups that the tests run in, and what containers have left in them.

The one rule: a session has a cgroup of its own in each hierarchy, so that containers of two sessions on one machine
do not meet, and all that lies below it is of this session's containers.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OURS = "s"  # where the session's process is, below NAME; containers without a path are beside or below it
NAME = f"urunc-tests-{os.getpid()}-{time.time_ns():x}"
# read at the start: views of the tests change what a command sees, not what there is
HIERARCHIES: dict[str, tuple[Path, str]] = {}  # controllers ("" = cgroup2) -> mount, the session's own cgroup


def hierarchies() -> dict[str, tuple[Path, str]]:
    """Where each hierarchy is mounted, and the cgroup of this process in it."""
    mounts: dict[frozenset[str], Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            mounts[frozenset(options.split(",")) if kind == "cgroup" else frozenset(("",))] = Path(left.split()[4])
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for names, mount in mounts.items():
            if set(controllers.split(",")) <= names:
                found[controllers] = (mount, path)
    return found


def cgroup_of(controller: str, path: str) -> Path:
    """The directory of the cgroup `path` in the hierarchy that has `controller` ("" = cgroup2)."""
    for controllers, (mount, _) in HIERARCHIES.items():
        if controller in controllers.split(","):
            return mount / path.lstrip("/")
    raise LookupError(controller)


def has_controller(controller: str) -> bool:
    """Whether a hierarchy of version 1 has it."""
    return any(controller in controllers.split(",") for controllers in HIERARCHIES)


def left() -> list[str]:
    """Cgroups of containers, those of containers that run too."""
    found = []
    for mount, _ in HIERARCHIES.values():
        top = mount / NAME
        found += [str(path) for path in sorted(top.rglob("*")) if path.is_dir() and path != top / OURS]
    return found


def _fill_cpuset(path: Path, mount: Path) -> None:
    for file in ("cpuset.cpus", "cpuset.mems"):
        if (path / file).exists() and path != mount and not (path / file).read_text().strip():
            _fill_cpuset(path.parent, mount)
            (path / file).write_text((path.parent / file).read_text())


@contextmanager
def session() -> Iterator[None]:
    """Be in a cgroup of one's own in every hierarchy; in the old ones afterwards, and the own ones are gone."""
    HIERARCHIES.update(hierarchies())
    for mount, _ in HIERARCHIES.values():
        place = mount / NAME / OURS
        place.mkdir(parents=True)
        _fill_cpuset(place, mount)
        (place / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        for mount, own in HIERARCHIES.values():
            (mount / own.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))
            _remove(mount / NAME)


def _remove(top: Path) -> None:
    """Remove a tree of cgroups; one that a process of a failed test is in stays, and so does what is above it."""
    for path in sorted(top.rglob("*"), reverse=True):
        if path.is_dir():
            try:
                path.rmdir()
            except OSError:
                continue
    try:
        top.rmdir()
    except OSError:
        return
