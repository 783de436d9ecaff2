"""Prepared trees: a monitor with all it loads, copied once, to be cloned into every sandbox as its root.

The one rule: a tree under its final name is complete, was made by us, and is never changed.  `<cache>/<name>` is a
link to the current `<name>-<key>`; its `.manifest` lists the files of the host that it was made from, as they were.
"""

import errno
import os

from .closure import Sources, collect, identity, words
from .errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .closure import Patterns, Reader


_MANIFEST = ".manifest"
_STALE_S = 3600  # a container that was created from a tree while it was current may not have been started yet


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
    sources = collect(binary, modules, data, elf)
    manifest = os.fsencode(_wish(binary, modules, data) + sources.manifest())
    tree = f"{name}-{_key(manifest)}"
    try:
        is_new = not os.path.lexists(f"{cache}/{tree}")
        if is_new:
            _build(cache, tree, sources, manifest)
        if not _is_current(f"{cache}/{tree}", _wish(binary, modules, data)):
            raise HostError(f"{cache}/{tree} was changed, or what it is made from is changing: remove it and try again")
        _point(cache, name, tree)
    except OSError as error:
        advice = ": free some space there" if error.errno == errno.ENOSPC else ""
        raise HostError(f"cannot prepare a tree for {binary} in {cache}: {words(error)}{advice}") from error
    if is_new:
        try:
            prune(cache)
        except OSError:
            pass  # another one is at it
    return f"{cache}/{tree}"


def prune(cache: str) -> None:
    """Remove old trees but the current and the newest two of each name, and what dead builders left behind.

    Each holds some 10 MB of memory.  A monitor that runs has what it needs of its tree, a container that waits has not.
    """
    import time

    old = time.time() - _STALE_S
    _check_cache(cache)
    trees: dict[str, list[tuple[int, str]]] = {}
    for entry in list(os.scandir(cache)):  # one that goes away meanwhile leaves no iterator open
        temporary = entry.name.startswith(".")
        tree = entry.name[1:].rpartition(".")[0] if temporary else entry.name
        name, _, key = tree.rpartition("-")
        if not entry.is_dir(follow_symlinks=False) or len(key) != 16 or key.strip("0123456789abcdef"):
            continue  # not of our making
        status = entry.stat(follow_symlinks=False)
        if not temporary:
            trees.setdefault(name, []).append((status.st_mtime_ns, tree))
        elif status.st_mtime < old:
            _remove(entry.path)
    for name, versions in trees.items():
        link = f"{cache}/{name}"
        current = os.readlink(link) if os.path.islink(link) else ""
        for modified_ns, version in sorted(versions)[:-2]:
            if version != current and modified_ns < old * 1e9:
                doomed = f"{cache}/.{version}.{os.urandom(4).hex()}"  # never half a tree under a final name
                os.rename(f"{cache}/{version}", doomed)
                _remove(doomed)


def _remove(directory: str) -> None:
    """As shutil.rmtree that ignores errors; its import takes 5 ms."""
    try:
        for entry in list(os.scandir(directory)):
            if entry.is_dir(follow_symlinks=False):
                _remove(entry.path)
            else:
                os.unlink(entry.path)
        os.rmdir(directory)
    except OSError:
        pass  # as above, or the next one will be


def _wish(binary: str, modules: "Patterns", data: "Patterns") -> str:
    return f"urunc tree 1 {(binary, modules, data)!r}\n"


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
        raise HostError(f"cannot use {cache} for prepared trees: {words(error)}") from error
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
        stamp, _, path = line.partition(" ")
        if stamp != identity(os.stat(path)):
            return False
    return True


def _build(cache: str, tree: str, sources: Sources, manifest: bytes) -> None:
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
        _remove(temporary)
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another builder was faster
            raise


def _make_directory(path: str) -> None:
    """With parents, readable for the monitor's user whatever the umask."""
    if not os.path.isdir(path):
        _make_directory(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, 0o755)


def _copy(path: str, target: str, stamp: str) -> None:
    with open(path, "rb", buffering=0) as old, open(target, "xb", buffering=0) as new:
        status = os.fstat(old.fileno())
        if identity(status) != stamp:
            raise OSError(errno.ESTALE, "changed while it was copied", path)
        while os.sendfile(new.fileno(), old.fileno(), None, 1 << 30):
            pass
        os.fchmod(new.fileno(), status.st_mode & 0o755)


def _point(cache: str, name: str, tree: str) -> None:
    """Make `tree` the current one; the time of the one before says from now on how long it has not been."""
    link, temporary = f"{cache}/{name}", f"{cache}/.{name}.{os.urandom(4).hex()}"
    before = os.readlink(link) if os.path.islink(link) else ""
    if before != tree:
        os.symlink(tree, temporary)
        os.rename(temporary, link)
        if before and os.path.isdir(f"{cache}/{before}"):
            os.utime(f"{cache}/{before}")
