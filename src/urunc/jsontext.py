"""JSON text to values and back, by a reader in C; values to their types.

The one rule: the json package (5 ms to import) is never loaded for a text that is right (jsonfault.py).
"""

from . import _fastpath
from .errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    _Strings = Sequence[str]
    Row = tuple[str, str, str, str, Callable[..., Any], tuple[Any, ...]]
else:
    _Strings = object

_INFINITE = (float("inf"), float("-inf"))
_SHOWN = 64  # characters of a value in an error


def decode(text: "bytes | str", what: str, later: "Mapping[str, Any] | None" = None) -> object:
    r"""Return the value of one JSON text (RFC 8259); `what` names the text in errors.

    Bytes are strict UTF-8 without a byte order mark.  NaN, Infinity, numbers out of range and
    anything after the value are refused; of a key given twice the last value wins, as in Go.  A
    string may hold a lone surrogate ("\ud800"): who uses it decides.  Every fault is a SpecError
    "<what>: invalid JSON at line L column C: ...".  `later` says what may stay text for now (_fastpath.decode);
    `later_strings`, `pairs_unread` and `table_unread` take it.
    """
    if isinstance(text, bytes):
        raw = text
        if not raw.isascii():
            from . import jsonfault

            jsonfault.check_characters(raw, what)
    else:
        raw = text.encode("utf-8", "surrogatepass")
    try:
        return _fastpath.decode(raw, later)
    except RecursionError:
        raise SpecError(f"{what}: invalid JSON: nested too deeply") from None
    except ValueError:
        from . import jsonfault

        raise jsonfault.explained(text.decode() if isinstance(text, bytes) else text, what) from None


def encode(value: object) -> str:
    """Return `value` as compact ASCII JSON; a tuple is an array, a Json goes in as it stands.

    TypeError for a type or a key that JSON does not have, ValueError for NaN and Infinity.
    """
    if isinstance(value, str):
        return _fastpath.quote(value)
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        if value != value or value in _INFINITE:  # noqa: PLR0124  # NaN is unequal to itself
            raise ValueError(f"{value} is not JSON")
        return float.__repr__(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([encode(item) for item in value]) + "]"
    if isinstance(value, dict):
        return "{" + ",".join([f"{_key(key)}:{encode(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, _fastpath.Json):
        return value.text().decode()
    raise TypeError(f"{type(value).__name__} is not JSON")


def text(value: object, where: str) -> str:
    """Return a string that can be an argument or a path: no NUL byte, encodable; "" for None (null or absent).

    As in all of these, `where` names the file and the field, and a fault is a SpecError "<where> must ...".
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SpecError(f"{where} must be a string")
    if "\0" in value:
        raise SpecError(f"{where} must not contain a NUL byte")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SpecError(f"{where} must not contain a lone surrogate") from None
    return value


def absolute(value: object, where: str, required: bool = False) -> str:
    """Return an absolute path; "" for None or an empty string unless it is `required`."""
    path = text(value, where)
    if path[:1] != "/" and (path or required):
        raise SpecError(f"{where} must be an absolute path")
    return path


def known(value: object, where: str, names: "tuple[str, ...]", fault: str) -> str:
    """Return one of `names`; else the error says `fault`, with the value in place of its %s."""
    name = text(value, where)
    if name not in names:
        raise SpecError(f"{where}: {fault % quote(name)[1:-1]}")
    return name


def strings(value: object, where: str) -> "tuple[str, ...]":
    """Return a list of `text`; () for None."""
    if value is None:
        return ()
    if isinstance(value, list) and _fastpath.are_texts(value):
        return tuple(value)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SpecError(f"{where} must be a list of strings")
    return tuple([text(item, f"{where}[{index}]") for index, item in enumerate(value)])


class Later(_Strings):
    """A list of strings that stays JSON text until somebody looks at it; then it is as good as a tuple."""

    def __init__(self, unread: "_fastpath.Json") -> None:
        self._unread = unread
        self._values: tuple[str, ...] | None = None

    def _read(self) -> "tuple[str, ...]":
        if self._values is None:
            self._values = tuple(self._unread.value())
        return self._values

    def __iter__(self) -> "Iterator[str]":
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __getitem__(self, index: "Any") -> "Any":
        return self._read()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (tuple, Later)) and self._read() == tuple(other)

    def __hash__(self) -> int:
        return hash(self._read())

    def __repr__(self) -> str:
        return repr(self._read())


def later_strings(value: object, where: str) -> "Sequence[str]":
    """Return the same, read when somebody looks at it."""
    return Later(value) if isinstance(value, _fastpath.Json) else strings(value, where)


def pairs(value: object, where: str) -> "tuple[tuple[str, str], ...]":
    """Return an object whose values are `text`, sorted by key; () for None."""
    given = table(value, where)
    if _fastpath.are_texts(given) and _fastpath.are_texts(given.values()):
        return tuple([(key, given[key]) for key in sorted(given)])  # type: ignore[misc]
    found = []
    for key, item in given.items():
        place = f"{where}[{quote(key)}]"
        if item is None:
            raise SpecError(f"{place} must be a string")
        found.append((text(key, place), text(item, place)))
    return tuple(sorted(found))


def pairs_unread(value: object, where: str) -> "_fastpath.Json":
    """Return the same as JSON, no key twice; as it stands where it is."""
    return (
        value
        if isinstance(value, _fastpath.Json)
        else _fastpath.Json(_fastpath.quote_pairs(pairs(value, where)).encode())
    )


def table_unread(value: object, where: str) -> "_fastpath.Json":
    """Return an object as JSON, as it stands where it is."""
    return value if isinstance(value, _fastpath.Json) else _fastpath.Json(encode(table(value, where)).encode())


def whole(value: object, where: str, least: int, most: int, absent: int = 0) -> int:
    """Return an integer from `least` to `most`, `absent` for None; true, 1.0 and "1" are none."""
    if value is None:
        return absent
    if type(value) is not int or not least <= value <= most:
        raise SpecError(f"{where} must be a whole number from {least} to {most}")
    return value


def wholes(value: object, where: str, least: int, most: int) -> "tuple[int, ...]":
    """Return a list of `whole`; () for None."""
    if value is None:
        return ()
    if not isinstance(value, list) or None in value:
        raise SpecError(f"{where} must be a list of whole numbers")
    return tuple([whole(item, f"{where}[{index}]", least, most) for index, item in enumerate(value)])


def flag(value: object, where: str) -> bool:
    """Return true or false, false for None."""
    if value is not None and not isinstance(value, bool):
        raise SpecError(f"{where} must be true or false")
    return bool(value)


def table(value: object, where: str) -> "Mapping[str, object]":
    """Return an object; an empty one for None."""
    if value is not None and not isinstance(value, dict):
        raise SpecError(f"{where} must be an object")
    return value or {}


def rows(*given: "tuple[Any, ...]") -> "tuple[Row, ...]":
    """Return the table for `fields`: of rows of field, dotted path, accessor, further arguments of the accessor.

    Paths are taken apart here, which is when a module is imported.
    """
    made = []
    for field, path, accessor, *limits in given:
        outer, _, last = path.rpartition(".")
        made.append((field, outer, last, path, accessor, tuple(limits)))
    return tuple(made)


def fields(document: "Mapping[str, object]", prefix: str, table_of: "Iterable[Row]") -> "dict[str, Any]":
    """Return the fields of a record, each by its row; `prefix` is what stands before a path in errors."""
    found = {}
    holders = {"": document}
    for field, outer, last, path, accessor, limits in table_of:
        holder = holders.get(outer)
        if holder is None:
            holder = holders[outer] = _inside(document, prefix, outer)
        found[field] = accessor(holder.get(last), prefix + path, *limits)
    return found


def _inside(holder: "Mapping[str, object]", walked: str, path: str) -> "Mapping[str, object]":
    for key in path.split("."):
        walked += key
        holder = table(holder.get(key), walked)
        walked += "."
    return holder


def records(value: object, where: str, record: "Any", table_of: "Iterable[Row]") -> "tuple[Any, ...]":
    """Return a list of objects as records, by `fields`; () for None."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise SpecError(f"{where} must be a list of objects")
    return tuple([record(**fields(item, f"{where}[{index}].", table_of)) for index, item in enumerate(value)])


def quote(value: str) -> str:
    """Return `value` as an error shows it: in double quotes, on one line, its first 64 characters."""
    return encode(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key must be a string, not {type(key).__name__}")
    return _fastpath.quote(key)
