"""Which devices the processes of a container may open or make: the rules of the spec, the usual ones, the monitor's.

The one rule: rules become one default and the exceptions from it, so that both versions of cgroups mean the same.
"""

from ._record import Record
from .errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .resources import Device

    Key = tuple[str, int, int]
    Nodes = tuple[tuple[str, int, int], ...]  # b or c, major, minor (-1: any)

ALL = "rwm"
ACCESS_BITS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_*
# what runc allows in every container: to make any node, to open what is in every /dev
USUAL: "tuple[tuple[str, int, int, str], ...]" = (
    ("c", -1, -1, "m"),
    ("b", -1, -1, "m"),
    ("c", 1, 3, ALL),  # null
    ("c", 1, 5, ALL),  # zero
    ("c", 1, 7, ALL),  # full
    ("c", 1, 8, ALL),  # random
    ("c", 1, 9, ALL),  # urandom
    ("c", 5, 0, ALL),  # tty
    ("c", 5, 2, ALL),  # ptmx
    ("c", 136, -1, ALL),  # pts
)


class Rules(Record):
    """`allowed` is the default; `exceptions` (type, major, minor, access) say the opposite of it."""

    allowed: bool
    exceptions: "tuple[tuple[str, int, int, str], ...]"


def rules(wanted: "tuple[Device, ...]", nodes: "Nodes") -> Rules:
    """Return what the spec's rules come to, with the usual devices and the monitor's `nodes` allowed after them."""
    allowed = False
    found: dict[Key, str] = {}
    for rule in wanted:
        kind, access = rule.type or "a", rule.access or ALL
        if kind == "a":
            allowed = rule.allow
            found.clear()
            continue
        key = ("c" if kind == "u" else kind, rule.major, rule.minor)
        _apply(found, key, access, add=rule.allow != allowed)
    for kind, major, minor, access in (*USUAL, *((*node, ALL) for node in nodes)):
        _apply(found, (kind, major, minor), access, add=not allowed)
    return Rules(allowed=allowed, exceptions=tuple([(*key, access) for key, access in found.items()]))


def access(wanted: "tuple[Device, ...]", kind: str, major: int, minor: int) -> str:
    """Return what the spec's rules let the container do with one device: letters of ALL, in that order."""
    letters: set[str] = set()
    for rule in wanted:
        if rule.type in ("", "a"):
            letters = set(ALL) if rule.allow else set()
        elif rule.type == kind and rule.major in (-1, major) and rule.minor in (-1, minor):
            given = set(rule.access or ALL)
            letters = letters | given if rule.allow else letters - given
    return "".join(letter for letter in ALL if letter in letters)


def _apply(found: "dict[Key, str]", key: "Key", access: str, *, add: bool) -> None:
    """Add an exception, or take it away; what a wider one covers cannot be taken from it alone."""
    if add:
        before = found.get(key, "")
        found[key] = "".join(letter for letter in ALL if letter in before + access)
        return
    for other, letters in found.items():
        if other != key and other[0] == key[0] and _covers(other, key) and set(letters) & set(access):
            shown = f"{key[0]} {_number(key[1])}:{_number(key[2])} {access}"
            raise SpecError(f"linux.resources.devices: {shown} cannot be an exception from an exception: reorder them")
    left = "".join(letter for letter in found.pop(key, "") if letter not in access)
    if left:
        found[key] = left


def _covers(wide: "Key", narrow: "Key") -> bool:
    return all(a in (-1, b) for a, b in zip(wide[1:], narrow[1:], strict=True))


def _number(value: int) -> str:
    return "*" if value < 0 else str(value)


def lines(given: Rules) -> "tuple[tuple[str, tuple[str, ...]], ...]":
    """Return file and lines for the controller of version 1, from the state that a new cgroup has."""
    rows = given.exceptions
    texts = tuple([f"{kind} {_number(major)}:{_number(minor)} {access}" for kind, major, minor, access in rows])
    default, exception = ("devices.allow", "devices.deny") if given.allowed else ("devices.deny", "devices.allow")
    return ((default, ("a",)), *([(exception, texts)] if texts else ()))


def words(given: Rules) -> "tuple[int, ...]":
    """Return the same as numbers for cgroup2's program (cgroup.h, fp_cgroup_devices)."""
    numbers = [int(given.allowed)]
    for kind, major, minor, access in given.exceptions:
        numbers += (ord(kind), major, minor, sum(ACCESS_BITS[letter] for letter in access))
    return tuple(numbers)
