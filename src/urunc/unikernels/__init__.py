"""The table of guest frameworks, and the two records that they are made of.

The one rule: a framework is one module here and one line in MODULES; it knows no monitor but by name.
"""

from .._record import Record
from ..errors import UnikernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = {"linux": "linux"}  # name of the framework (annotation unikernelType) -> module with GUEST


class Boot(Record):
    """What a guest may be told when it boots."""

    monitor: str
    args: "tuple[str, ...]"
    env: "tuple[str, ...]" = ()
    initrd: bool = False
    block: bool = False


class Guest(Record):
    """One framework.  `words` gives the guest's command line: what the monitor hands over, unsplit and unjoined."""

    name: str
    monitors: "tuple[str, ...]"
    words: "Callable[[Boot], tuple[str, ...]]"
    stop: str = "signal"  # or "powerdown": whether the guest listens to a power button
    kernels: "tuple[str, ...]" = ()  # kinds of image that the framework builds (facts.File.kind)


def load(name: str) -> Guest:
    """Return the framework called `name`; UnikernelError names those there are."""
    if name not in MODULES:
        raise UnikernelError(f'unikernelType "{name}" is not supported: use one of {", ".join(sorted(MODULES))}')
    guest: Guest = __import__(MODULES[name], globals(), None, ("GUEST",), 1).GUEST
    return guest
