"""The entry of the interpreter inside dist/urunc, which has the modules of a cold start and no standard library.

The one rule: whoever imports what is not there hands the whole command to an ordinary python3.  That is safe as
long as it happens before a command has done anything, or after all of it is undone.
"""

import builtins
import os
import sys

from . import _fastpath, calls, cli, monitors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


for _name in monitors.MODULES:
    calls.program(_name, os.uname().machine)  # once, when urunc is built


class NeedsPythonError(BaseException):
    """Something of the standard library is wanted: no error that anybody should catch."""


class _Nowhere:
    """The last of the finders: what has come so far is not here."""

    @staticmethod
    def find_spec(name: object, *_: object) -> "NoReturn":
        raise NeedsPythonError(str(name))


def _open(*words: "Any", **options: "Any") -> "Any":
    """What `open` is until somebody wants it: a whole interpreter has it from the start."""
    import _io

    builtins.open = _io.open
    return _io.open(*words, **options)


def main(words: "tuple[str, ...]") -> int:
    """Run the command line `words`, the program's name first; return its exit status, -1 to ask an ordinary python3."""
    import posix

    builtins.open = _open
    # a static program must not load a library: a profile that is in no cache yet is compiled elsewhere
    _fastpath.seccomp = _Nowhere.find_spec  # type: ignore[assignment]
    sys.argv = list(words)
    sys.meta_path.append(_Nowhere)
    environment = {key.decode(): value.decode("utf-8", "surrogateescape") for key, value in posix.environ.items()}
    try:
        return cli.main(list(words[1:]), environment)
    except NeedsPythonError:
        return -1
