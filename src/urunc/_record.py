"""The base class of every record: slotted, frozen, compared by value.

The one rule: importing this costs nothing.  Dataclasses take 11 ms to import and
up to 1 ms per class (docs/adr/0002-records.md); type checkers treat a Record as a
frozen dataclass all the same, through PEP 681.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, TypeVar, dataclass_transform

    _Any = TypeVar("_Any", bound="Record")
else:

    def dataclass_transform(**_: object):  # noqa: ANN202  typing is not there
        return lambda cls: cls


_MISSING = object()


@dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=True)
class _RecordType(type):
    """Turns the annotations of a class body into slots, its values into defaults."""

    def __new__(mcs, name: str, bases: "tuple[type, ...]", body: "dict[str, Any]") -> "_RecordType":
        annotations = body.get("__annotations__")
        if annotations is None:  # Python 3.14 keeps a function instead (PEP 649); 1 asks it for values
            annotate = body.get("__annotate_func__")
            annotations = annotate(1) if annotate else ()
        fields = tuple(field for field in annotations if field[0] != "_")
        defaults = {field: body.pop(field) for field in fields if field in body}
        body["__slots__"] = fields
        body["_defaults"] = defaults
        return super().__new__(mcs, name, bases, body)


class Record(metaclass=_RecordType):
    """A frozen value with named fields.  Fields are not inherited; values should be hashable."""

    if TYPE_CHECKING:
        __slots__: ClassVar[tuple[str, ...]]
        _defaults: ClassVar[dict[str, Any]]

    def __init__(self, **values: "Any") -> None:
        put = object.__setattr__
        take = values.pop
        defaults = self._defaults
        for field in self.__slots__:
            value = take(field, _MISSING)
            if value is _MISSING:
                if field not in defaults:
                    raise TypeError(f"{type(self).__name__} needs {field}")
                value = defaults[field]
            put(self, field, value)
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")

    def __setattr__(self, field: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {field}")

    def __delattr__(self, field: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {field}")

    def _values(self) -> "tuple[Any, ...]":
        return tuple(getattr(self, field) for field in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{field}={getattr(self, field)!r}" for field in self.__slots__)
        return f"{type(self).__name__}({fields})"


def replace(record: "_Any", **changes: "Any") -> "_Any":
    """Return a copy of `record` with `changes` made; TypeError for a field it does not have."""
    made = object.__new__(type(record))
    put = object.__setattr__
    for field in record.__slots__:
        put(made, field, changes.pop(field) if field in changes else getattr(record, field))
    if changes:
        raise TypeError(f"{type(record).__name__} has no {', '.join(changes)}")
    return made
