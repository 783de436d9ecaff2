"""The terminal of `urunc run`: our own terminal is made raw and joined to the guest's.

The one rule: our terminal is as it was when the session ends, however it ends.
"""

import os

from ._record import replace
from .request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from typing import Any

BLOCK = 65536


class Session:
    """Receives the guest's terminal over a socket of its own and copies between it and ours in a thread."""

    def __init__(self, request: Request, wanted: bool) -> None:
        import socket
        import tempfile

        self.request = request
        self.master = -1
        self.output: threading.Thread | None = None  # none for a program that never ran
        self.saved: list[Any] | None = None
        self.directory = tempfile.mkdtemp(prefix="urunc-") if wanted else ""
        if wanted:
            self.listener = socket.socket(socket.AF_UNIX)
            path = f"{self.directory}/console"
            self.listener.bind(path)
            self.listener.listen(1)
            self.request = replace(request, console_socket=path)

    def __enter__(self) -> "Session":
        return self

    def receive(self) -> None:
        """Take the terminal, before anything is written to it.

        Where its output goes to none its lines end as the program ends them.
        """
        if not self.directory:
            return
        import socket
        import termios

        connection, _ = self.listener.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        self.master = descriptors[0]
        if not (os.isatty(0) and os.isatty(1)):
            attributes = termios.tcgetattr(self.master)
            attributes[1] &= ~termios.ONLCR
            termios.tcsetattr(self.master, termios.TCSANOW, attributes)

    def attach(self) -> None:
        """Start copying; the guest runs."""
        if self.master < 0:
            return
        import termios
        import threading
        import tty

        if os.isatty(0):
            self.saved = termios.tcgetattr(0)
            tty.setraw(0)
            termios.tcsetwinsize(self.master, termios.tcgetwinsize(0))
        self.output = threading.Thread(target=_copy, args=(self.master, 1), daemon=True)
        self.output.start()
        threading.Thread(target=_copy, args=(0, self.master), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        if not self.directory:
            return
        if self.output:
            self.output.join(timeout=1)  # the last lines are still in the terminal
        if self.saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)
        self.listener.close()
        os.unlink(f"{self.directory}/console")
        os.rmdir(self.directory)


def session(request: Request) -> Session:
    """Return a session for `request`, with a terminal only if the spec wants one and nobody else takes it."""
    from . import bundle

    wanted = not request.console_socket and not request.detach and bundle.load(request.bundle).terminal
    return Session(request, wanted)


def _copy(source: int, target: int) -> None:
    try:
        while data := os.read(source, BLOCK):
            while data:
                data = data[os.write(target, data) :]
    except OSError:
        pass  # EIO: the last holder of the terminal has ended
