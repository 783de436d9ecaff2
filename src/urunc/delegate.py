"""The fallback runtime: ordinary containers are its, with all their later commands.

The one rule: it gets the command line as it came, and its containers are never touched by us.
"""

import os

from .config import PROCESS
from .errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .request import Request

PLACES = tuple(
    f"{directory}/{name}"
    for name in ("runc", "crun")
    for directory in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
)


def find(configured: str, ourselves: str) -> str:
    """Return the path of the fallback runtime: `configured`, else the first of PLACES that is not `ourselves`."""
    if configured == PROCESS:
        raise HostError("the container was made by another fallback runtime: name that one in the configuration")
    if configured:
        if not os.access(configured, os.X_OK):
            raise HostError(f"fallback runtime {configured} is not an executable file: correct the configuration")
        if _same(configured, ourselves):
            raise HostError(f"fallback runtime {configured} is urunc itself: name another one in the configuration")
        return configured
    for place in PLACES:
        if os.access(place, os.X_OK) and not _same(place, ourselves):
            return place
    raise HostError("an ordinary container needs runc or crun: install one, or set fallback in the configuration")


def argv(runtime: str, request: "Request") -> "tuple[str, ...]":
    """Return the fallback's command line: the client's own without --trace, and our --root where it gave none."""
    words = list(request.argv)
    for number, word in enumerate(request.argv):
        if word in ("--trace", "-trace"):
            del words[number : number + 2]
        elif word.startswith(("--trace=", "-trace=")):
            del words[number]
    return (runtime, "--root", request.root, *words)


def execute(runtime: str, request: "Request") -> "NoReturn":
    """Become the fallback runtime; HostError if that fails."""
    import _signal  # type: ignore[import-not-found]  # built in; the signal module imports enum

    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)  # ignored by Python, and exec would hand that on
    try:
        os.execv(runtime, argv(runtime, request))
    except OSError as error:
        raise HostError(f"{runtime}: {os.strerror(error.errno or 0).lower()}") from None


def ourselves() -> str:
    """Return the file that was started as urunc, for `find`; empty when it is only a module of somebody's program."""
    import sys

    return os.path.realpath(sys.argv[0]) if sys.argv and sys.argv[0] else ""


def _same(path: str, other: str) -> bool:
    try:
        return bool(other) and os.path.samestat(os.stat(path), os.stat(other))
    except OSError:
        return False
