"""Prepared trees: a monitor with all it loads, copied once, to be cloned into every sandbox as its root.

The one rule: a tree under its final name is complete, was made by us, and is never changed.  `<cache>/<name>` is a
link to the current `<name>-<key>`; its `.manifest` lists the files of the host that it was made from, as they were.
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


_MANIFEST = ".manifest"
_FILES_MAX = 10_000
_LINK_DEPTH_MAX = 40  # the kernel's own, path_resolution(7)
_STALE_S = 3600
_LD_SO_CONF = "/etc/ld.so.conf"
_LD_SO_CACHE = "/etc/ld.so.cache"
_DIRECTORIES = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_MULTIARCH = {3: "i386-linux-gnu", 62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu"}  # by e_machine


def lookup(cache: str, name: str, binary: str, modules: "Patterns" = (), data: "Patterns" = ()) -> str | None:
    """Return the current tree made for exactly these arguments if nothing it was made from has changed, else None."""
    try:
        tree = f"{cache}/{os.readlink(f'{cache}/{name}')}"
        current = _is_ours(cache) and _is_current(tree, _wish(binary, modules, data))
    except OSError:
        return None
    return tree if current else None


def prepare(  # noqa: PLR0913, PLR0917 - lookup's arguments, and what a build needs besides
    cache: str, name: str, binary: str, modules: "Patterns", data: "Patterns", elf: "Reader"
) -> str:
    """Return a tree with `binary`, `modules` and `data` (globs; what matches nothing is left out) and all they load.

    An existing tree is used if it is current.  `elf` reads an open file and raises OSError if it is no ELF file.
    """
    if not name or "/" in name or name.startswith("."):
        raise HostError(f"{name!r} cannot name a prepared tree: use a plain file name")
    _check_cache(cache)
    found = lookup(cache, name, binary, modules, data)
    if found:
        return found
    sources = _collect(binary, modules, data, elf)
    manifest = os.fsencode(_wish(binary, modules, data) + sources.manifest())
    tree = f"{name}-{_key(manifest)}"
    try:
        if not os.path.lexists(f"{cache}/{tree}"):
            _build(cache, tree, sources, manifest)
        if not _is_current(f"{cache}/{tree}", _wish(binary, modules, data)):
            raise HostError(f"{cache}/{tree} was changed, or what it is made from is changing: remove it and try again")
        _point(cache, name, tree)
    except OSError as error:
        raise HostError(f"cannot prepare a tree for {binary} in {cache}: {_words(error)}") from error
    return f"{cache}/{tree}"


def prune(cache: str) -> None:
    """Remove all trees but the current and the newest two of each name, and what dead builders left behind."""
    import shutil
    import time

    _check_cache(cache)
    trees: dict[str, list[tuple[int, str]]] = {}
    for entry in os.scandir(cache):
        temporary = entry.name.startswith(".")
        tree = entry.name[1:].rpartition(".")[0] if temporary else entry.name
        name, _, key = tree.rpartition("-")
        if not entry.is_dir(follow_symlinks=False) or len(key) != 16 or key.strip("0123456789abcdef"):
            continue  # not of our making
        status = entry.stat(follow_symlinks=False)
        if not temporary:
            trees.setdefault(name, []).append((status.st_mtime_ns, tree))
        elif status.st_mtime < time.time() - _STALE_S:
            shutil.rmtree(entry.path, ignore_errors=True)
    for name, versions in trees.items():
        link = f"{cache}/{name}"
        current = os.readlink(link) if os.path.islink(link) else ""
        for _, version in sorted(versions)[:-2]:
            if version != current:
                doomed = f"{cache}/.{version}.{os.urandom(4).hex()}"  # never half a tree under a final name
                os.rename(f"{cache}/{version}", doomed)
                shutil.rmtree(doomed, ignore_errors=True)


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _wish(binary: str, modules: "Patterns", data: "Patterns") -> str:
    return f"urunc tree 1 {(binary, modules, data)!r}\n"


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def _key(manifest: bytes) -> str:
    """FNV-1a, 64 bits, as hashlib is dear to import: it only names a tree, the manifest inside decides."""
    key = 0xCBF29CE484222325
    for byte in manifest:
        key = ((key ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{key:016x}"


def _is_ours(directory: str) -> bool:
    """True for a directory, not a link to one, that only we can have written to."""
    status = os.lstat(directory)
    return status.st_mode & 0o170022 == 0o040000 and status.st_uid == os.geteuid()


def _check_cache(cache: str) -> None:
    try:
        os.makedirs(cache, mode=0o700, exist_ok=True)
        ours = _is_ours(cache)
    except OSError as error:
        raise HostError(f"cannot use {cache} for prepared trees: {_words(error)}") from error
    if not ours:
        raise HostError(f"{cache} must be a directory of uid {os.geteuid()} that nobody else can write to")


def _is_current(tree: str, wish: str) -> bool:
    if not _is_ours(tree):
        return False
    with open(f"{tree}/{_MANIFEST}", "rb") as file:
        manifest = os.fsdecode(file.read())
    if not manifest.startswith(wish):
        return False
    for line in manifest[len(wish) :].splitlines():
        identity, _, path = line.partition(" ")
        if identity != _identity(os.stat(path)):
            return False
    return True


class _Sources:
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
        self.stamps[path] = _identity(status)
        return status

    def add(self, path: str) -> str:
        """Take the regular file `path`, with the links that lead to it; its path without them."""
        status = self.watch(path)
        if status.st_mode & 0o170000 != 0o100000:
            raise HostError(f"cannot prepare a tree with {path}: it is not a regular file")
        real = self.resolve(path)
        self.files[real] = _identity(status)
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


def _collect(binary: str, modules: "Patterns", data: "Patterns", elf: "Reader") -> _Sources:
    sources = _Sources()
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
        raise HostError(f"cannot prepare a tree for {binary}: {_words(error)}") from error
    return sources


def _matches(sources: _Sources, pattern: str) -> "list[str]":
    """The files a glob names; their directory is watched, as a new file there may match."""
    import glob

    if not os.path.isabs(pattern):
        raise HostError(f"cannot prepare a tree with {pattern}: an absolute path is needed")
    directory = os.path.dirname(pattern)
    while glob.has_magic(directory) or not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    sources.watch(directory)
    return sorted(glob.glob(pattern))


def _add_data(sources: _Sources, path: str) -> None:
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


def _add_program(sources: _Sources, path: str, elf: "Reader", configured: "tuple[str, ...]") -> None:
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


def _build(cache: str, tree: str, sources: _Sources, manifest: bytes) -> None:
    temporary = f"{cache}/.{tree}.{os.urandom(4).hex()}"
    os.mkdir(temporary, 0o700)
    try:
        for path in sources.files:
            _make_directory(os.path.dirname(temporary + path))
            _copy(path, temporary + path, sources.files[path])
        for path in sources.links:
            _make_directory(os.path.dirname(temporary + path))
            os.symlink(sources.links[path], temporary + path)
        with open(f"{temporary}/{_MANIFEST}", "xb") as file:
            file.write(manifest)
        os.chmod(temporary, 0o755)
        os.rename(temporary, f"{cache}/{tree}")
    except OSError as error:
        import shutil

        shutil.rmtree(temporary, ignore_errors=True)
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another builder was faster
            raise


def _make_directory(path: str) -> None:
    """With parents, readable for the monitor's user whatever the umask."""
    if not os.path.isdir(path):
        _make_directory(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, 0o755)


def _copy(path: str, target: str, identity: str) -> None:
    with open(path, "rb", buffering=0) as old, open(target, "xb", buffering=0) as new:
        status = os.fstat(old.fileno())
        if _identity(status) != identity:
            raise OSError(errno.ESTALE, "changed while it was copied", path)
        while os.sendfile(new.fileno(), old.fileno(), None, 1 << 30):
            pass
        os.fchmod(new.fileno(), status.st_mode & 0o755)


def _point(cache: str, name: str, tree: str) -> None:
    link, temporary = f"{cache}/{name}", f"{cache}/.{name}.{os.urandom(4).hex()}"
    if not os.path.islink(link) or os.readlink(link) != tree:
        os.symlink(tree, temporary)
        os.rename(temporary, link)
