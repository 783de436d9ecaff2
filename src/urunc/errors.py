"""What goes wrong, as one line for a person.

The one rule: a message is lower case, without a full stop, names the thing and says
what to do; only the command line prints it.  `status` is the exit status that goes with it.
"""


class UruncError(Exception):
    """An error that a user can act on; `str()` of it is the line to print."""

    status = 1

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class UsageError(UruncError):
    """What was asked for is no command, option, container id or stream."""


class SpecError(UruncError):
    """config.json is missing, broken or asks for what cannot be given."""


class UnikernelError(UruncError):
    """The unikernel's configuration (annotations or urunc.json) is wrong."""


class HostError(UruncError):
    """The host lacks something or its configuration is wrong."""


class StateError(UruncError):
    """The container is in the wrong state for the command, or there is none."""
