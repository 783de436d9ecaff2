"""/etc/urunc/config.toml: what the host's administrator decides.

The one rule: what is read is checked by the same tables whether it comes from the file or from the cache
of its tables, so that a cache can be old, broken or gone, but never wrong.
"""

from ._record import Record
from .errors import HostError, UruncError
from .jsontext import decode, encode, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT_PATH = "/etc/urunc/config.toml"
# what can be found out again; '@' is in no container id, so it may lie beside the containers of the default --root
CACHE = "/run/urunc/@cache"
_CACHE_NAME = "config.cache"
_CACHE_MAX = 1 << 20  # bytes; ours are far smaller
PROCESS = "process"  # as `fallback`
_ACCELERATORS = ("auto", "kvm", "tcg")
_ROOTS = ("virtiofs", "9pfs", "initrd")
_MAX_MEMORY_MIB = 1 << 24  # 16 TiB
_UNSAFE_MODE = 0o022  # S_IWGRP | S_IWOTH
_S_IFMT, _S_IFDIR, _S_IFREG = 0o170000, 0o040000, 0o100000  # inode(7)


class MonitorConfig(Record):
    """[monitors.NAME]: where the monitor's program and its data are, "" for the usual places."""

    name: str
    path: str = ""
    data_path: str = ""


class KernelConfig(Record):
    """[linux.kernels.NAME]: a kernel of the host that the annotation `kernel` can choose."""

    name: str
    path: str
    initrd: str = ""
    cmdline: str = ""
    root: str = ""  # what / of an ordinary image is to be on: one of _ROOTS; "" is the best that the monitor has
    machine: str = ""


class Config(Record):
    """The configuration; every field has a default.

    `fallback` is the runtime for ordinary containers, "" to look for one, PROCESS for the process monitor;
    `timestamps` is the file that they are written to, "" for none; `process_monitor` permits hypervisor=process, which
    is no VM.
    """

    fallback: str = ""
    accelerator: str = "auto"
    default_memory_mib: int = 256
    memory_overhead_mib: int = 128
    process_monitor: bool = False
    timestamps: str = ""
    monitors: "tuple[MonitorConfig, ...]" = ()
    kernels: "tuple[KernelConfig, ...]" = ()


def load(path: str = DEFAULT_PATH, cache_directory: str = CACHE) -> Config:
    """Return the host's configuration; the defaults if there is no file at `path`.

    HostError names file, key, value and what is allowed.  TOML is parsed only when the file has changed
    (path, device, inode, mtime, size); its tables are kept in `cache_directory`, which must belong to the
    caller's user and be writable for nobody else, and which a cache that cannot be written leaves as it is.
    """
    import posix  # os takes 1 ms to import

    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise HostError(f"{path}: {str(error.strerror).lower()}") from None
    try:
        status = posix.fstat(fd)
        if status.st_mode & _S_IFMT != _S_IFREG:
            raise HostError(f"{path} must be a regular file")
        key = [path, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size]
        cached = _cached(cache_directory, key)
        if cached is not None:
            return cached
        tables = _parsed(fd, path)
    finally:
        posix.close(fd)
    config = _config(tables, path)
    _keep(cache_directory, encode([key, tables]))
    return config


def _cached(directory: str, key: "list[object]") -> "Config | None":
    """Return what the cache holds for `key`; None if it holds nothing, or nothing to be trusted."""
    import posix

    if not _is_private(directory):
        return None
    try:
        flags = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK
        fd = posix.open(f"{directory}/{_CACHE_NAME}", flags)
    except OSError:
        return None
    try:
        status = posix.fstat(fd)
        if status.st_mode != _S_IFREG | 0o600 or status.st_uid != posix.geteuid() or status.st_size > _CACHE_MAX:
            return None
        content = decode(posix.read(fd, _CACHE_MAX), "cache")
        if isinstance(content, list) and len(content) == 2 and content[0] == key and isinstance(content[1], dict):
            return _config(content[1], "cache")
    except (OSError, UruncError):
        return None
    finally:
        posix.close(fd)
    return None


def _is_private(directory: str) -> bool:
    import posix

    try:
        status = posix.lstat(directory)
    except OSError:
        return False
    is_directory = status.st_mode & _S_IFMT == _S_IFDIR
    return is_directory and status.st_uid == posix.geteuid() and not status.st_mode & _UNSAFE_MODE


def _keep(directory: str, text: str) -> None:
    """Write the cache if that is possible: under a name of its own, then renamed."""
    import posix

    for place in (directory.rpartition("/")[0], directory):
        try:
            posix.mkdir(place, 0o700)
        except OSError:
            pass  # it is there, or cannot be
    if not _is_private(directory) or len(text) > _CACHE_MAX:
        return
    new = f"{directory}/.{_CACHE_NAME}.{posix.getpid()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    try:
        fd = posix.open(new, flags, 0o600)
    except OSError:
        return
    try:
        posix.fchmod(fd, 0o600)  # whatever the umask
        whole = posix.write(fd, text.encode()) == len(text)
        if whole:
            posix.rename(new, f"{directory}/{_CACHE_NAME}")
        else:
            posix.unlink(new)
    except OSError:
        _remove(new)
    finally:
        posix.close(fd)


def _remove(path: str) -> None:
    import posix

    try:
        posix.unlink(path)
    except OSError:
        return


def _parsed(fd: int, path: str) -> "dict[str, Any]":
    import tomllib  # 11 ms

    with open(fd, "rb", closefd=False) as file:
        content = file.read()
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise HostError(f"{path}: invalid TOML: byte {error.start} is not UTF-8") from None
    except ValueError as error:  # TOMLDecodeError, or int() of more than 4300 digits
        message = str(error)
        raise HostError(f"{path}: invalid TOML: {message[:1].lower() + message[1:]}") from None
    except RecursionError:
        raise HostError(f"{path}: invalid TOML: nested too deeply") from None


def _config(tables: "Mapping[str, object]", path: str) -> Config:
    top = _fields(tables, path, "", {**_TOP, "monitors": _table, "linux": _table})
    linux = _fields(top.pop("linux", {}), path, "linux.", {"kernels": _table})
    monitors = []
    for name, value in top.pop("monitors", {}).items():
        where = f"monitors.{_name(name, path, 'monitors')}"
        monitors.append(MonitorConfig(name=name, **_fields(_table(value, path, where), path, where + ".", _MONITOR)))
    kernels = []
    for name, value in linux.get("kernels", {}).items():
        where = f"linux.kernels.{_name(name, path, 'linux.kernels')}"
        found = _fields(_table(value, path, where), path, where + ".", _KERNEL)
        if not found.get("path"):
            raise HostError(f"{path}: {where}.path must be given: the absolute path of a kernel")
        kernels.append(KernelConfig(name=name, **found))
    if top.get("fallback") == PROCESS and not top.get("process_monitor"):
        raise HostError(f'{path}: fallback = "{PROCESS}" needs process_monitor = true, which is for tests only')
    return Config(**top, monitors=tuple(monitors), kernels=tuple(kernels))


def _fields(tables: "Mapping[str, object]", path: str, prefix: str, checks: "Mapping[str, Any]") -> "dict[str, Any]":
    found = {}
    for key, value in tables.items():
        if key not in checks:
            shown = key if key.isascii() and key.isprintable() else quote(key)
            raise HostError(f"{path}: {prefix}{shown} is not known: allowed are {', '.join(checks)}")
        found[key] = checks[key](value, path, prefix + key)
    return found


def _name(name: str, path: str, where: str) -> str:
    if not name or not name.isascii() or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise HostError(f"{path}: {where}: name {quote(name)} must be of letters, digits, '-', '_' and '.'")
    return name


def _table(value: object, path: str, where: str) -> "Mapping[str, object]":
    if not isinstance(value, dict):
        raise _fault(value, path, where, "a table")
    return value


def _absolute(value: object, path: str, where: str) -> str:
    text = _text(value, path, where)
    if (text and text[0] != "/") or "\n" in text:
        raise _fault(value, path, where, "an absolute path")
    return text


def _fallback(value: object, path: str, where: str) -> str:
    return PROCESS if value == PROCESS else _absolute(value, path, where)


def _text(value: object, path: str, where: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise _fault(value, path, where, "a string without NUL bytes")
    return value


def _accelerator(value: object, path: str, where: str) -> str:
    if value not in _ACCELERATORS:
        raise _fault(value, path, where, "one of " + ", ".join(_ACCELERATORS))
    return str(value)


def _root(value: object, path: str, where: str) -> str:
    if value not in _ROOTS:
        raise _fault(value, path, where, "one of " + ", ".join(_ROOTS))
    return str(value)


def _flag(value: object, path: str, where: str) -> bool:
    if not isinstance(value, bool):
        raise _fault(value, path, where, "true or false")
    return value


def _memory(value: object, path: str, where: str) -> int:
    if type(value) is not int or not 1 <= value <= _MAX_MEMORY_MIB:
        raise _fault(value, path, where, f"a whole number of MiB from 1 to {_MAX_MEMORY_MIB}")
    return value


def _overhead(value: object, path: str, where: str) -> int:
    return 0 if value == 0 and type(value) is int else _memory(value, path, where)


def _fault(value: object, path: str, where: str, must: str) -> HostError:
    if isinstance(value, (dict, list)):
        shown = "a table" if isinstance(value, dict) else "an array"
    else:
        is_huge = isinstance(value, int) and not -(2**63) <= value < 2**63  # str() of it could fail
        shown = quote(value) if isinstance(value, str) else "out of range" if is_huge else str(value).lower()
    return HostError(f"{path}: {where} is {shown}: it must be {must}")


_TOP = {
    "fallback": _fallback,
    "accelerator": _accelerator,
    "default_memory_mib": _memory,
    "memory_overhead_mib": _overhead,
    "process_monitor": _flag,
    "timestamps": _absolute,
}
_MONITOR = {"path": _absolute, "data_path": _absolute}
_KERNEL = {"path": _absolute, "initrd": _absolute, "cmdline": _text, "root": _root, "machine": _text}
