"""urunc: an OCI container runtime whose containers are unikernels.

The one rule: importing the package does no work and imports nothing; the names of the embedding API come on first use.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .api import Runtime, Template
    from .container import Container, State
    from .errors import HostError, SpecError, StateError, UnikernelError, UruncError, UsageError
    from .pool import Pool
    from .streams import DEVNULL, PIPE, STDOUT

__version__ = "0.1.0"
__all__ = (
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Container",
    "HostError",
    "Pool",
    "Runtime",
    "SpecError",
    "State",
    "StateError",
    "Template",
    "UnikernelError",
    "UruncError",
    "UsageError",
)
_MODULES = {
    "Container": "container",
    "DEVNULL": "streams",
    "PIPE": "streams",
    "Pool": "pool",
    "Runtime": "api",
    "STDOUT": "streams",
    "State": "container",
    "Template": "api",
}  # all others are errors


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module urunc has no attribute {name}")
    module = _MODULES.get(name, "errors")
    return getattr(__import__(module, globals(), None, (name,), 1), name)
