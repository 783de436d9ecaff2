"""Words of a command line -> Request, by the tables of request.py; all that can be checked without a container is.

The one rule: pure but for the working directory; what is wrong is a UsageError with runc's words.  No argparse:
its import takes 6 ms, and it does not read options as Go's flag package does.
"""

import os

from .errors import UsageError
from .request import GLOBALS, OPTIONS, VERBS, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    type_table = Mapping[str, tuple[str, str, str, str]]

# Linux numbers these alike on x86_64, aarch64 and riscv64; the index is the number
_SIGNALS = (
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
    "WINCH", "IO", "PWR", "SYS",
)  # fmt: skip
_SIGNAL_ALIASES = {"IOT": 6, "CLD": 17, "POLL": 29}
ID_CHARACTERS = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")
# strconv.ParseBool
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_MILLISECONDS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_GO_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
    "\v": "\\v",
}  # fmt: skip


def global_options(argv: "list[str]") -> "tuple[dict[str, Any], list[str]]":
    """Return the global options (field: value) at the head of `argv` and the words from the verb on."""
    for number, word in enumerate(argv, 1):
        try:
            raw = os.fsencode(word)
        except UnicodeEncodeError:
            raise UsageError(f"argument {number} is not text that a system call could have passed") from None
        if b"\0" in raw:
            raise UsageError(f"argument {number} contains a NUL byte")
    options: dict[str, Any] = {}
    rest = _take_options(argv, GLOBALS, options, mixed=False)
    if options.get("log_format", "text") not in ("text", "json"):
        raise UsageError(f"invalid log-format: {options['log_format']}")
    return options, rest


def parse(argv: "list[str]", options: "dict[str, Any]", words: "list[str]", environ: "Mapping[str, str]") -> Request:
    """Return the Request of the global `options` and of `words`, a verb and what follows it (both are of `argv`).

    check() has yet to look at the id: errors about it are errors of the verb, no misuse of options.
    """
    values = dict(options)
    if values.pop("version", False):
        return Request(verb="version")
    if values.pop("help", False) or not words:
        return Request(verb="help")
    verb = words[0]
    if verb not in VERBS:
        raise UsageError(f"No help topic for '{verb}'", status=3)
    _, _, least, most, names = VERBS[verb]
    table = {name: OPTIONS[name] for name in (*names.split(), "help")}
    # what follows the id is not ours to read in exec (a command line) and ps (options of ps)
    rest = _take_options(words[1:], table, values, mixed=most >= 0)
    if values.pop("help", False):
        return Request(verb="help", topic=verb)
    _check_count(verb, len(rest), least, most)
    if verb == "help":
        return Request(verb="help", topic="".join(rest))
    values |= _paths(values, environ, needs_bundle="bundle" in table)
    if verb == "kill" and rest[1:]:
        values["signal"] = _signal(rest[1])
    return Request(verb=verb, id="".join(rest[:1]), args=tuple(rest[1:]), argv=tuple(argv), **values)


def check(request: Request) -> None:
    """Raise UruncError if the id or a value of `request` is wrong whatever the container."""
    if request.format not in ("table", "json"):
        raise UsageError("invalid format option")
    if request.interval_ms <= 0:
        raise UsageError("duration interval must be greater than 0")
    if request.verb not in VERBS or not VERBS[request.verb][2]:
        return
    check_id(request.id)


def check_id(container_id: str) -> None:
    """Raise UsageError for an id that could not be the name of a directory of `--root`, and of none elsewhere."""
    if not container_id:
        raise UsageError("container id cannot be empty")
    if container_id in (".", "..") or not set(container_id) <= ID_CHARACTERS:
        given = go_quoted(container_id)
        raise UsageError(f"invalid container ID format: {given} (letters, digits and _ + - . are allowed)")
    if len(container_id) > 255:
        raise UsageError(f"container id {container_id[:16]}...: file name too long")


def go_quoted(text: str) -> str:
    """Return `text` as Go's strconv.Quote writes it; bytes that are not UTF-8 come as surrogate escapes."""
    return '"' + "".join(_GO_ESCAPES.get(character) or go_escaped(character) for character in text) + '"'


def go_escaped(character: str) -> str:
    """Return `character`, or its escape sequence in Go if it cannot be printed."""
    code = ord(character)
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _take_options(words: "list[str]", table: "type_table", options: "dict[str, Any]", *, mixed: bool) -> "list[str]":
    """Put the options of `table` among `words` into `options` (field: value); return the other words.

    Options are read as by Go's flag package: one dash or two, `-name value` or `-name=value`.  Without `mixed`
    the first other word ends them.
    """
    rest: list[str] = []
    queue = iter(words)
    for word in queue:
        if word == "--":
            return [*rest, *queue]
        if len(word) < 2 or word[0] != "-" or (rest and word[1:].isdigit()):  # the latter: `kill ID -1`
            rest.append(word)
            if not mixed:
                return [*rest, *queue]
            continue
        given, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
        name, kind, field = _find(given, word, table)
        if kind == "flag":
            value = value if equals else "true"
        elif not equals:
            value = next(queue, "\0")  # no word contains one
            if value == "\0":
                raise UsageError(f"flag needs an argument: -{given}")
        converted = _convert(name, kind, value)
        if field:
            options[field] = (*options.get(field, ()), converted) if kind == "list" else converted
    return rest


def _find(given: str, word: str, table: "type_table") -> "tuple[str, str, str]":
    if given[:1] in ("", "-"):
        raise UsageError(f"bad flag syntax: {word}")
    for name, (short, kind, field, _) in table.items():
        if given in (name, short):
            return name, kind, field
    raise UsageError(f"flag provided but not defined: -{given}")


def _convert(name: str, kind: str, value: str) -> "str | int | bool":
    if kind == "flag":
        if value not in _TRUE + _FALSE:
            raise UsageError(f"invalid boolean value {go_quoted(value)} for -{name}: parse error")
        return value in _TRUE
    try:
        if kind in ("count", "number"):
            return _integer(value, least=0 if kind == "count" else -(2**63))
        if kind == "size":
            return _size(value)
        return _duration_ms(value) if kind == "duration" else value
    except (ValueError, OverflowError):
        if kind == "size":
            raise UsageError(f"invalid value for {name}: invalid size: '{value}'") from None
        raise UsageError(f"invalid value {go_quoted(value)} for flag -{name}: parse error") from None


def _integer(text: str, least: int) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    number = int(text) if digits.isascii() and digits.isdigit() else least - 1
    if not least <= number < 2**63:
        raise ValueError(text)
    return number


def _size(text: str) -> int:
    """Return the bytes of 64m, 1.5GiB, 4096 or -1 (unlimited), as Docker's units.RAMInBytes reads them."""
    import re

    if text == "-1":
        return -1
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)(?:i?b)?", text, re.ASCII | re.IGNORECASE)
    if not match:
        raise ValueError(text)
    number, unit = match[1], match[2].lower()
    size = int((float if "." in number else int)(number) * 1024 ** " kmgtp".index(unit or " "))
    if size >= 2**63:
        raise ValueError(text)
    return size


def _duration_ms(text: str) -> int:
    """Return the milliseconds of 5s, 1m30s or 500ms, as Go's time.ParseDuration reads them."""
    import re

    parts = re.findall(r"([0-9]+(?:\.[0-9]*)?)(ns|us|µs|ms|s|m|h)", text)
    milliseconds = sum(float(number) * _MILLISECONDS[unit] for number, unit in parts)
    if not parts or text != "".join(number + unit for number, unit in parts) or milliseconds >= 2**63 / 1e6:
        raise ValueError(text)
    return int(milliseconds)


def _check_count(verb: str, count: int, least: int, most: int) -> None:
    if least == most != count:
        raise UsageError(f'"{verb}" requires exactly {least} argument(s)')
    if count < least:
        raise UsageError(f'"{verb}" requires a minimum of {least} argument(s)')
    if 0 <= most < count:
        raise UsageError(f'"{verb}" requires a maximum of {most} argument(s)')


def _paths(values: "dict[str, Any]", environ: "Mapping[str, str]", *, needs_bundle: bool) -> "dict[str, str]":
    paths = {"config": environ.get("URUNC_CONFIG_FILE") or "/etc/urunc/config.toml"}
    if "root" in values:
        if not values["root"]:
            raise UsageError("invalid value for --root: it must not be empty")
        paths["root"] = _absolute(values["root"])
    if needs_bundle:  # only then: the working directory may be gone, which must not make a delete fail
        paths["bundle"] = _absolute(values.get("bundle") or ".")
    return paths


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: the working directory has been removed: give a path that begins with /") from None


def _signal(text: str) -> int:
    name = text.upper().removeprefix("SIG")
    if text.isascii() and text.isdigit() and len(text) <= 2 and int(text) <= 64:
        return int(text)
    if name in _SIGNALS and name:
        return _SIGNALS.index(name)
    if name in _SIGNAL_ALIASES:
        return _SIGNAL_ALIASES[name]
    if not text:
        return 15
    raise UsageError(f"unknown signal {go_quoted(text)}")
