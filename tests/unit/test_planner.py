"""The resident planner where the machine has little left."""

import errno
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from urunc import planner
from urunc.request import Request


class Listener:
    """Gives what it is given, then ends the planner as SIGTERM does."""

    def __init__(self, *given: "OSError | socket.socket") -> None:
        self.given = list(given)

    def accept(self) -> "tuple[socket.socket, str]":
        if not self.given:
            raise KeyboardInterrupt
        first = self.given.pop(0)
        if isinstance(first, OSError):
            raise first
        return first, ""

    def close(self) -> None:
        pass


def serve(listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "socket").touch()
    monkeypatch.setattr(planner, "SOCKET", str(tmp_path / "socket"))
    monkeypatch.setattr(planner, "_build", lambda: (1,))
    monkeypatch.setattr(planner, "_listen", lambda _: listener)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    planner.serve(Request(verb="planner"))


def test_it_outlives_a_lack_of_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener(OSError(errno.EMFILE, "too many"), OSError(errno.ENFILE, "too many"))
    serve(listener, tmp_path, monkeypatch)

    assert [] == listener.given


def test_who_gets_no_thread_goes_on_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(threading.Thread, "start", start)
        serve(Listener(theirs), tmp_path, monkeypatch)

        assert b"" == ours.recv(1)


def test_what_is_no_lack_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="bad"):
        serve(Listener(OSError(errno.EBADF, "bad")), tmp_path, monkeypatch)
