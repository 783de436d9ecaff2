"""What a program of the host loads: its interpreter, libraries, modules and data, each as it is now.

The one rule: it finds what the dynamic linker would find (ld.so(8)), by reading ELF files, never by running one.
"""

import errno
import os

from ._record import Record
from .errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Patterns = tuple[str, ...]
    Reader = Callable[[int], "Dependencies"]


class Dependencies(Record):
    """What an ELF file asks the dynamic linker for."""

    bits: int
    machine: int
    interpreter: str = ""
    needed: "tuple[str, ...]" = ()
    search: "tuple[str, ...]" = ()  # DT_RUNPATH, else DT_RPATH, split at the colons, $ORIGIN as it stands
    inherited: bool = False  # it is a DT_RPATH: it serves what the needed libraries need, too


_FILES_MAX = 10_000
_LINK_DEPTH_MAX = 40  # the kernel's own, path_resolution(7)
_LD_SO_CONF = "/etc/ld.so.conf"
_LD_SO_CACHE = "/etc/ld.so.cache"
_DIRECTORIES = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_MULTIARCH = {3: "i386-linux-gnu", 62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu"}  # by e_machine


def words(error: OSError) -> str:
    """What went wrong, for the end of a message."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def identity(status: os.stat_result) -> str:
    """What changes when the file does."""
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


class Sources:
    """What a tree will hold.  Grows while the closure is walked, and is local to that."""

    def __init__(self) -> None:
        self.stamps: dict[str, str] = {}  # path as it was looked up -> identity
        self.files: dict[str, str] = {}  # path without links -> identity of the file to copy
        self.links: dict[str, str] = {}  # symbolic link on the way there -> target
        self.programs: set[str] = set()  # of the files, those whose dependencies are taken

    def watch(self, path: str) -> os.stat_result:
        """Make the tree depend on `path` as it is now."""
        status = os.stat(path)
        if path.splitlines() != [path] or len(self.stamps) >= _FILES_MAX:
            raise HostError(f"cannot prepare a tree with {path!r}: a line break in it, or more than {_FILES_MAX} files")
        self.stamps[path] = identity(status)
        return status

    def add(self, path: str) -> str:
        """Take the regular file `path`, with the links that lead to it; its path without them."""
        status = self.watch(path)
        if status.st_mode & 0o170000 != 0o100000:
            raise HostError(f"cannot prepare a tree with {path}: it is not a regular file")
        real = self.resolve(path)
        self.files[real] = identity(status)
        return real

    def resolve(self, path: str, depth: int = 0) -> str:
        if depth > _LINK_DEPTH_MAX:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        real = "/"
        for part in path.split("/"):
            if part == "..":
                real = os.path.dirname(real)
            elif part not in ("", "."):
                real = os.path.join(real, part)
                if os.path.islink(real):
                    self.links[real] = os.readlink(real)
                    real = self.resolve(os.path.join(os.path.dirname(real), self.links[real]), depth + 1)
        return real

    def manifest(self) -> str:
        return "".join(f"{self.stamps[path]} {path}\n" for path in sorted(self.stamps))


def collect(binary: str, modules: "Patterns", data: "Patterns", elf: "Reader") -> Sources:
    """Return all that `binary` and `modules` load, with `data`; HostError names what is missing, and who needs it."""
    sources = Sources()
    configured = tuple(_configured(_LD_SO_CONF))
    try:
        _add_program(sources, binary, elf, configured)
        for pattern in modules:
            for path in _matches(sources, pattern):
                _add_program(sources, path, elf, configured)
        for pattern in data:
            for path in _matches(sources, pattern):
                _add_data(sources, path)
    except OSError as error:
        raise HostError(f"cannot prepare a tree for {binary}: {words(error)}") from error
    return sources


def _matches(sources: Sources, pattern: str) -> "list[str]":
    """The files a glob names; their directory is watched, as a new file there may match."""
    import glob

    if not os.path.isabs(pattern):
        raise HostError(f"cannot prepare a tree with {pattern}: an absolute path is needed")
    directory = os.path.dirname(pattern)
    while glob.has_magic(directory) or not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    sources.watch(directory)
    return sorted(glob.glob(pattern))


def _add_data(sources: Sources, path: str) -> None:
    if not os.path.isdir(path):
        sources.add(path)
        return
    for directory, _, names in os.walk(path, followlinks=True):  # a loop of links ends at _FILES_MAX or ELOOP
        sources.watch(directory)
        for name in names:
            sources.add(os.path.join(directory, name))


def _read(path: str, elf: "Reader") -> "Dependencies":
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return elf(fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(fd)


def _add_program(sources: Sources, path: str, elf: "Reader", configured: "tuple[str, ...]") -> None:
    """Take `path`, its interpreter and every library it or they need."""
    waiting: list[tuple[str, tuple[str, ...]]] = [(path, ())]
    while waiting:
        path, inherited = waiting.pop()
        real = sources.add(path)
        if real in sources.programs:
            continue
        sources.programs.add(real)
        needs = _read(path, elf)
        if needs.interpreter:
            sources.add(needs.interpreter)
        search = (*_expanded(needs.search, os.path.dirname(real)), *inherited)
        for name in needs.needed:
            if name == "libc.so" or name.startswith("libc.musl-"):
                continue  # musl: the interpreter itself
            found = _find(name, needs, (*search, *configured, *_defaults(needs.machine)), elf)
            if not found:
                raise HostError(f"library {name}, needed by {path}, was not found: install it")
            if "/" not in name and os.path.dirname(found) not in (*search, *_defaults(needs.machine)):
                sources.add(_LD_SO_CACHE)  # the dynamic linker knows the other directories from there only
            waiting.append((found, search if needs.inherited else inherited))


def _find(name: str, needs: Dependencies, directories: "tuple[str, ...]", elf: "Reader") -> str:
    """The first file `name` that is of the class and machine of what needs it; "" if there is none."""
    for path in (name,) if "/" in name else (f"{directory}/{name}" for directory in directories):
        try:
            found = _read(path, elf)
        except OSError:  # not there, or a linker script: the dynamic linker goes on, too
            continue
        if (found.bits, found.machine) == (needs.bits, needs.machine):
            return path
    return ""


def _defaults(machine: int) -> "tuple[str, ...]":
    triplet = _MULTIARCH.get(machine)
    return (f"/lib/{triplet}", f"/usr/lib/{triplet}", *_DIRECTORIES) if triplet else _DIRECTORIES


def _expanded(search: "tuple[str, ...]", origin: str) -> "Iterator[str]":
    for directory in search:
        path = directory.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
        if path.startswith("/") and "$" not in path:  # a relative one depends on the working directory
            yield os.path.normpath(path)


def _configured(path: str, above: "tuple[str, ...]" = ()) -> "Iterator[str]":
    """The directories of ld.so.conf (ldconfig(8)); `above` are the files that include this one."""
    import glob

    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.partition("#")[0].split() for line in file]
    except OSError:
        return
    for words in lines:
        if words and words[0] == "include":
            for pattern in words[1:]:
                for included in sorted(glob.glob(os.path.join(os.path.dirname(path), pattern))):
                    if included not in (path, *above):
                        yield from _configured(included, (path, *above))
        else:
            yield from (word for word in words if word.startswith("/"))
