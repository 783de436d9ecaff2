"""Whose ids a container has: the maps of its user namespace, new or joined.

The one rule: an id that a map does not have is refused here; the kernel would make it nobody's.
"""

from . import _fastpath
from ._record import Record
from .errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import Spec

    Map = tuple[tuple[int, int, int], ...]  # inside, outside, count


class Maps(Record):
    """Of users and of groups: first id inside, first id outside, how many; () = ids are the host's."""

    users: "Map" = ()
    groups: "Map" = ()


def maps(spec: "Spec") -> Maps:
    """Return the maps of the container's user namespace; SpecError if there is one that does not serve it."""
    namespaces = [namespace for namespace in spec.namespaces if namespace.type == "user"]
    if not namespaces:
        return Maps()
    path = namespaces[0].path
    if path:
        found = Maps(users=_read(path, "uid_map"), groups=_read(path, "gid_map"))
    else:
        found = Maps(
            users=tuple([(row.container_id, row.host_id, row.size) for row in spec.uid_mappings]),
            groups=tuple([(row.container_id, row.host_id, row.size) for row in spec.gid_mappings]),
        )
    for name, rows, ids in (
        ("uid", found.users, (0, spec.uid)),
        ("gid", found.groups, (0, spec.gid, *spec.groups)),
    ):
        missing = [number for number in ids if outside(rows, number) < 0]
        if not rows or missing:
            what = f"{name} {missing[0]}" if missing else f"{name}s"
            place = f"the user namespace {path}" if path else f"linux.{name}Mappings"
            raise SpecError(f"config.json: {place} must map {what}: a container has root and its own user")
    return found


def outside(rows: "Map", number: int) -> int:
    """Return the id that the host knows `number` by, -1 if none."""
    if not rows:
        return number
    for inside, first, count in rows:
        if inside <= number < inside + count:
            return first + number - inside
    return -1


def foreign(found: Maps, uid: int) -> bool:
    """Whether a file of `uid` is nobody's in the namespace, and somebody's if its ids are mapped (mount_setattr(2))."""
    theirs = any(first <= uid < first + count for _, first, count in found.users)
    return not theirs and outside(found.users, uid) >= 0


def _read(path: str, file: str) -> "Map":
    try:
        lines = _fastpath.user_map(path, file).splitlines()
    except OSError as error:
        raise SpecError(f"config.json: linux.namespaces: {path}: {str(error.strerror).lower()}") from None
    rows = [[int(word) for word in line.split()] for line in lines]
    return tuple([(inside, first, count) for inside, first, count in rows])
