"""The table of monitors, and the two records that they are made of.

The one rule: a monitor is one module here and one line in MODULES; it knows no framework but by name.
"""

from .._record import Record
from ..errors import UnikernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = {"qemu": "qemu"}  # name of the monitor (annotation hypervisor) -> module with MONITOR


class Machine(Record):
    """The virtual machine to be: what a monitor's command line is made of.  Paths are in the monitor's own root."""

    binary: str
    accelerator: str  # kvm or tcg
    memory_mib: int
    vcpus: int
    kernel: str
    words: "tuple[str, ...]"  # the guest's command line
    initrd: str = ""


class Monitor(Record):
    """One monitor.  `binaries` are file names looked for in the host's directories for programs."""

    name: str
    binaries: "tuple[str, ...]"
    argv: "Callable[[Machine], tuple[str, ...]]"
    kvm: str = "needed"  # or "optional", "none"
    modules: "tuple[str, ...]" = ()  # globs of what it loads by itself, with what that needs
    data: "tuple[str, ...]" = ()  # globs of what it reads
    nodes: "tuple[tuple[str, int, int], ...]" = ()  # character devices: path, major, minor
    kernels: "tuple[str, ...]" = ()  # kinds of image that it loads (facts.File.kind)


def load(name: str) -> Monitor:
    """Return the monitor called `name`; UnikernelError names those there are."""
    if name not in MODULES:
        raise UnikernelError(f'hypervisor "{name}" is not supported: use one of {", ".join(sorted(MODULES))}')
    monitor: Monitor = __import__(MODULES[name], globals(), None, ("MONITOR",), 1).MONITOR
    return monitor
