"""The standard streams of a container that a program makes: descriptors, /dev/null or pipes, as with subprocess.

The one rule: our end of a pipe is never the container's, and a create that fails leaves neither.
"""

import os

from .errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

PIPE, STDOUT, DEVNULL = -1, -2, -3  # as subprocess has them


class Streams:
    """What a container is given as its streams; a context manager for the time of its create.

    `stdin`, `stdout` and `stderr` are descriptors, borrowed for that time, or PIPE, DEVNULL, for `stderr` STDOUT too.
    """

    def __init__(self, stdin: int = DEVNULL, stdout: int = DEVNULL, stderr: int = DEVNULL) -> None:
        self._wanted = (stdin, stdout, stderr)
        self._theirs: list[int] = []
        self._ours: list[BinaryIO | None] = []
        self._close: list[int] = []  # after create, whatever has become of it
        self._null = -1  # one for all that are DEVNULL

    def __enter__(self) -> "Streams":
        try:
            for number, stream in enumerate(self._wanted):
                self._add(number, stream)
        except (OSError, UsageError):
            self.__exit__(OSError)
            raise
        return self

    def __exit__(self, kind: "type[BaseException] | None", *_: object) -> None:
        for fd in self._close:
            os.close(fd)
        self._close = []
        for file in self._ours if kind else ():
            if file is not None:
                file.close()

    @property
    def theirs(self) -> "tuple[int, ...]":
        """The descriptors of the container's end."""
        return tuple(self._theirs)

    @property
    def ours(self) -> "tuple[BinaryIO | None, ...]":
        """The other end of each pipe, None for what is none: unbuffered files, the caller's from now on."""
        return tuple(self._ours)

    def _add(self, number: int, stream: int) -> None:
        ours = None
        if stream == PIPE:
            reader, writer = os.pipe()
            fd, other = (reader, writer) if number == 0 else (writer, reader)
            self._close.append(fd)
            ours = open(other, "wb" if number == 0 else "rb", buffering=0)  # noqa: SIM115  the container closes it
        elif stream == STDOUT and number == 2:
            fd = self._theirs[1]
        elif stream == DEVNULL:
            if self._null < 0:
                self._null = os.open(os.devnull, os.O_RDWR)
                self._close.append(self._null)
            fd = self._null
        elif stream >= 0:
            fd = stream
        else:
            names = "PIPE, DEVNULL or STDOUT" if number == 2 else "PIPE or DEVNULL"
            raise UsageError(f"{('stdin', 'stdout', 'stderr')[number]} is no descriptor: {stream}: give one, {names}")
        self._theirs.append(fd)
        self._ours.append(ours)
