"""The entry of the archive, of `python -m urunc` and of the installed script.

The one rule: what is not needed before the command line is read is not imported.
Native code cannot be loaded from inside an archive: it goes through a memfd, which
takes 0.5 ms and leaves no cache on disk that would have to be protected.
"""

import _imp
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn
    from zipimport import zipimporter

_NATIVE = "urunc._fastpath"


def main() -> "NoReturn":
    """Run the command line and leave with its status, without the interpreter's teardown (1 ms)."""
    loader: Any = __loader__  # type: ignore[name-defined]  # zipimporter in the archive
    if hasattr(loader, "archive"):
        _load_native(loader)
    from urunc import cli

    status = cli.main(sys.argv[1:], os.environ)
    os._exit(_flush(status))


def _load_native(loader: "zipimporter") -> None:
    image = _native_image(loader)
    try:
        fd = os.memfd_create("urunc-fastpath", os.MFD_CLOEXEC)
    except OSError as error:
        _die(f"memory for the native module: {error.strerror}")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(image)
        _load_extension(f"/proc/self/fd/{fd}")
    except ImportError as error:
        if os.path.exists("/proc/self/fd"):
            _die(f"the native module does not load: {error}")
        _die("/proc is not mounted: mount it (mount -t proc proc /proc)")
    except OSError as error:
        _die(f"write the native module to memory: {error.strerror}")
    finally:
        os.close(fd)


def _native_image(loader: "zipimporter") -> bytes:  # noqa: RET503 (the last line does not return)
    folder = os.path.join(loader.archive, "urunc", "_fastpath")
    suffixes = _imp.extension_suffixes()
    for suffix in suffixes:
        try:
            return loader.get_data(folder + suffix)
        except OSError:  # zipimport's word for a name that is not in the archive
            continue
    held = ", ".join(sorted(_held_suffixes(loader))) or "none at all"
    _die(f"{loader.archive} has no native module for {sys.executable} ({suffixes[0]}), it has {held}: "
         "use one of these interpreters or build it with this one on PATH (ci/build)")  # fmt: skip


def _held_suffixes(loader: "zipimporter") -> "list[str]":
    """The suffixes of the extensions in the archive; zipimporter has no public list of its files."""
    prefix = os.path.join("urunc", "_fastpath.")
    return [name[len(prefix) - 1 :] for name in getattr(loader, "_files", ()) if name.startswith(prefix)]


def _load_extension(path: str) -> None:
    """Import the shared object `path` as urunc._fastpath; what importlib.util would cost 6 ms to do."""
    from _frozen_importlib import ModuleSpec
    from _frozen_importlib_external import ExtensionFileLoader

    spec = ModuleSpec(_NATIVE, ExtensionFileLoader(_NATIVE, path), origin=path)
    module = _imp.create_dynamic(spec)
    module.__spec__ = spec
    sys.modules[_NATIVE] = module
    _imp.exec_dynamic(module)
    package, _, name = _NATIVE.rpartition(".")
    setattr(sys.modules[package], name, module)


def _flush(status: int) -> int:
    """Write what is buffered; an output that cannot be written is a failure (a full disk, a closed pipe)."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError as error:
        try:
            os.write(2, f"urunc: cannot write the output: {error.strerror}\n".encode())
        except OSError:
            pass
        return status or 1
    return status


def _die(message: str) -> "NoReturn":
    os.write(2, f"urunc: {message}\n".encode())
    os._exit(1)


if __name__ == "__main__":
    main()
