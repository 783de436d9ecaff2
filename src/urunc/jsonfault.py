"""What is wrong with a JSON text, and where: for texts that jsontext.decode has refused.

The one rule: only here is the scanner of the standard library asked, whose exceptions know the position.
"""

from . import _fastpath
from .errors import SpecError

_INFINITE = (float("inf"), float("-inf"))
_BLANKS = " \t\n\r"  # what RFC 8259 allows between tokens


class _RefusedError(Exception):
    """A token that Python would take and JSON, or Go, would not; `str()` of it is the token."""


def _refuse(token: str) -> "object":
    raise _RefusedError(token)


def _float(token: str) -> float:
    value = float(token)
    if value in _INFINITE:  # 1e999: Go refuses it as well
        raise _RefusedError(token)
    return value


def _int(token: str) -> int:
    try:
        return int(token)
    except ValueError:  # more than 4300 digits, which int() takes quadratic time for
        raise _RefusedError(token) from None


class _Rules:
    """What make_scanner asks its argument for; array_hook since Python 3.15."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None
    parse_constant = staticmethod(_refuse)
    parse_float = staticmethod(_float)
    parse_int = staticmethod(_int)


def check_characters(text: bytes, what: str) -> None:
    """Raise SpecError for bytes that are not UTF-8, or begin with a byte order mark."""
    try:
        characters = text.decode()
    except UnicodeDecodeError as error:
        before = text[: error.start].decode()
        raise _fault(before + "?", what, len(before), f"byte 0x{text[error.start]:02x} is not UTF-8") from None
    if characters[:1] == "\ufeff":
        raise _fault(characters, what, 0, "a byte order mark is not allowed")


def _first_token(text: str, start: int) -> int:
    """Return where the first character from `start` on is that is not blank."""
    return len(text) - len(text[start:].lstrip(_BLANKS)) if text[start : start + 1] in _BLANKS else start


def explained(text: str, what: str) -> SpecError:
    """Scan a bad text again, by the scanner of the standard library, whose exception knows the position."""
    import _json
    import json.decoder  # noqa: F401  # the scanner looks for it in sys.modules

    try:
        _, end = _json.make_scanner(_Rules)(text, _first_token(text, 0))  # type: ignore[arg-type]
    except _RefusedError as refused:
        token = str(refused)
        shown = _fastpath.quote(token if len(token) <= 64 else token[:64] + "...")
        return _fault(text, what, _outside_strings(text, token), f"{shown} is no number of JSON, or too large")
    except StopIteration as stop:
        return _fault(text, what, stop.value, "expecting value")
    except ValueError as error:
        message = str(getattr(error, "msg", error)).removesuffix(" at").removesuffix(" starting")
        return _fault(text, what, getattr(error, "pos", 0), message[:1].lower() + message[1:])
    except RecursionError:  # one frame deeper than the first scan
        return SpecError(f"{what}: invalid JSON: nested too deeply")
    return _fault(text, what, _first_token(text, end), "nothing may follow the value")


def _outside_strings(text: str, token: str) -> int:
    """Return where `token` first stands outside a string; all text before it is known to be good."""
    from _json import scanstring

    position = 0
    while True:
        quote = text.find('"', position)
        found = text.find(token, position, quote if quote >= 0 else len(text))
        if found >= 0 or quote < 0:
            return max(found, 0)
        position = scanstring(text, quote + 1)[1]


def _fault(text: str, what: str, position: int, message: str) -> SpecError:
    """Count as editors do: lines and columns from 1, columns in characters."""
    if position >= len(text):
        message = "unexpected end of the text"
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return SpecError(f"{what}: invalid JSON at line {line} column {column}: {message}")
