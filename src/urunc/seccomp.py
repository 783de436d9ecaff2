"""linux.seccomp, the profile of a spec, to a filter of the kernel (config-linux.md#seccomp).

The one rule: a profile is read, compiled, and made short (bpf.py), once.  What came of it is kept in the cache with
the text it came of, which is compared whole: a name in the cache alone proves nothing.
"""

import os

from . import _fastpath
from ._record import Record
from .errors import HostError, SpecError
from .jsontext import known, records, rows, strings, text, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# SCMP_ACT_* of seccomp.h, and what of it takes a number from errnoRet
_ERRNO, _TRACE, _ALLOW = 0x00050000, 0x7FF00000, 0x7FFF0000
ACTIONS = {
    "SCMP_ACT_KILL": 0x80000000,  # the process: a monitor that has lost a thread is of no use to anybody
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_TRACE": _TRACE,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": _ALLOW,
}
NOTIFY = "SCMP_ACT_NOTIFY"
_USER_NOTIF = 0x7FC00000
OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")  # enum scmp_compare, from 1
FLAGS = {  # SECCOMP_FILTER_FLAG_* of linux/seccomp.h
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
LISTENER_FLAGS = {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32}  # of a filter that asks an agent
_FLAGS_SIZE = 4  # bytes, in the cache
_EPERM = 1
_JOINED, _ALONE = b"+", b"-"  # in the cache, before the program
_MAX_KEPT = 16 << 20  # bytes
_MAX_U32, _MAX_U64 = 2**32 - 1, 2**64 - 1


class Condition(Record):
    """syscalls[].args[]: an argument (0 to 5) compared with a value; the second is for MASKED_EQ."""

    argument: int
    value: int
    second: int
    operator: int


class Rule(Record):
    """syscalls[]: what happens to the calls `names`."""

    names: "tuple[str, ...]"
    action: str
    number: "int | None"  # errnoRet
    conditions: "tuple[Condition, ...]"


def asks(profile: "_fastpath.Json | None") -> bool:
    """Whether an agent is to answer for some calls."""
    text = profile.text() if profile else b""
    if profile is None or (NOTIFY.encode() not in text and b"\\" not in text):
        return False
    rules = profile.value().get("syscalls")
    return isinstance(rules, list) and any(isinstance(rule, dict) and rule.get("action") == NOTIFY for rule in rules)


def filters(
    profile: "_fastpath.Json", cache: str, ours: bytes = b"", *, answered: bool = False
) -> "tuple[tuple[int, bytes], ...]":
    """Return what is to be loaded, one after the other: flags for seccomp(2) and struct sock_filter[].

    `ours` is a filter that holds beside the profile's, b"" for none: the two are made one where that can be. `cache` is
    a directory of ours, made if need be; `answered` = there can be an agent.  SpecError for a profile that cannot be
    honoured, HostError without libseccomp.
    """
    place = "config.json: linux.seccomp"
    asked = asks(profile)
    if asked and not answered:
        raise SpecError(f"{place}: {NOTIFY} is not supported: nobody answers for a monitor, use another action")
    wish = b"urunc seccomp 4 %b %d %b\n" % (os.uname().machine.encode(), len(ours), profile.text()) + ours
    path = f"{cache}/{_fastpath.digest(wish):016x}"
    kept = _read(cache, path)
    if kept.startswith(wish):
        kept = kept[len(wish) :]
        kind, flags, program = kept[:1], int.from_bytes(kept[1 : 1 + _FLAGS_SIZE], "little"), kept[1 + _FLAGS_SIZE :]
    else:
        wanted = profile.value()
        flags = _flags(wanted.get("flags"), f"{place}.flags", FLAGS | LISTENER_FLAGS if asked else FLAGS)
        # what flags say is of the profile's filter alone
        kind, program = _made(_compiled(wanted, place), b"" if flags else ours)
        _keep(cache, path, wish + kind + flags.to_bytes(_FLAGS_SIZE, "little") + program)
    return ((flags, program),) if kind == _JOINED or not ours else ((0, ours), (flags, program))


def _flags(value: object, where: str, names: "Mapping[str, int]") -> int:
    flags = 0
    for name in strings(value, where):
        flags |= names[known(name, where, tuple(names), "%s is not supported")]
    return flags


def _made(program: bytes, beside: bytes) -> "tuple[bytes, bytes]":
    from . import bpf

    joined = bpf.joined(beside, program) if beside else b""
    return (_JOINED, joined) if joined else (_ALONE, bpf.shortened(program))


def _compiled(profile: "Mapping[str, object]", place: str) -> bytes:
    default = _action(profile.get("defaultAction"), profile.get("defaultErrnoRet"), f"{place}.defaultAction")
    architectures = [
        known(name, f"{place}.architectures", (name,) if name.startswith("SCMP_ARCH_") else (), "%s is none")
        .removeprefix("SCMP_ARCH_")
        .lower()
        for name in strings(profile.get("architectures"), f"{place}.architectures")
    ]
    rules = []
    for rule in records(profile.get("syscalls"), f"{place}.syscalls", Rule, _RULE):
        action = _action(rule.action, rule.number, f"{place}.syscalls.action")
        if action == _USER_NOTIF and "write" in rule.names:  # by which urunc-init says where the agent's end is
            raise SpecError(f"{place}: {NOTIFY} cannot be used for the write syscall: use another action for it")
        if action != default:  # libseccomp has no rule for what happens anyway
            rules += [(action, name, group) for name in rule.names for group in _groups(rule.conditions)]
    try:
        fd = _fastpath.seccomp(default, architectures, rules)
    except FileNotFoundError:
        raise HostError(
            "linux.seccomp needs libseccomp: install it (Debian: libseccomp2), or remove the profile"
        ) from None
    with open(fd, "rb", buffering=0) as file:
        file.seek(0)
        return file.read()


def _action(value: object, number: object, where: str) -> int:
    if value == NOTIFY and where.endswith("defaultAction"):
        raise SpecError(f"{where}: {NOTIFY} cannot be used as default action: name the calls that an agent answers for")
    if value == NOTIFY and number is None:
        return _USER_NOTIF
    name = known(value, where, tuple(ACTIONS), "%s is no action of seccomp")
    action = ACTIONS[name]
    if action in (_ERRNO, _TRACE):
        return action | whole(number, f"{where}: errnoRet", 0, 0xFFFF, _EPERM)
    if number is not None:
        raise SpecError(f"{where}: errnoRet is for SCMP_ACT_ERRNO and SCMP_ACT_TRACE: remove it from {name}")
    return action


def _groups(conditions: "tuple[Condition, ...]") -> "list[list[tuple[int, int, int, int]]]":
    """Return which conditions must hold together: all, or each alone if two are about one argument, as in runc."""
    rows = [(c.argument, c.operator, c.value, c.second) for c in conditions]
    return [[row] for row in rows] if len({row[0] for row in rows}) < len(rows) else [rows]


def _operator(value: object, where: str) -> int:
    names = tuple(f"SCMP_CMP_{name}" for name in OPERATORS)
    return names.index(known(value, where, names, "%s is no operator of seccomp")) + 1


def _number(value: object, where: str) -> "int | None":
    return None if value is None else whole(value, where, 0, 0xFFFF)


_CONDITION = rows(
    ("argument", "index", whole, 0, 5),
    ("value", "value", whole, 0, _MAX_U64),
    ("second", "valueTwo", whole, 0, _MAX_U64),
    ("operator", "op", _operator),
)
_RULE = rows(
    ("names", "names", strings),
    ("action", "action", text),
    ("number", "errnoRet", _number),
    ("conditions", "args", records, Condition, _CONDITION),
)


def _read(cache: str, path: str) -> bytes:
    try:
        status = os.lstat(cache)
        if status.st_mode & 0o170022 != 0o040000 or status.st_uid != os.geteuid():
            return b""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        return os.read(fd, min(os.fstat(fd).st_size, _MAX_KEPT))  # `open` takes 0.3 ms to be there at all
    finally:
        os.close(fd)


def _keep(cache: str, path: str, content: bytes) -> None:
    """Write it under another name first; a cache that cannot be written is none."""
    temporary = f"{path}.{os.urandom(4).hex()}"
    try:
        os.makedirs(cache, mode=0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                while content:
                    content = content[os.write(fd, content) :]
            finally:
                os.close(fd)
            os.rename(temporary, path)
        except OSError:
            os.unlink(temporary)
    except OSError:
        pass
