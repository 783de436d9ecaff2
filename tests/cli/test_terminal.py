"""The terminal, received as a client receives it."""

import array
import fcntl
import os
import re
import select
import socket
import struct
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.container import Runtime, alive, exit_status, until

Make = Callable[..., Path]


class Console:
    """A --console-socket, as containerd and conmon listen on one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.listener.settimeout(10)
        self.master = -1

    def receive(self) -> str:
        """Take the master; return the name that came with it."""
        connection, _ = self.listener.accept()
        with connection:
            data, control, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        ((level, kind, content),) = control
        assert (socket.SOL_SOCKET, socket.SCM_RIGHTS) == (level, kind)
        (self.master,) = array.array("i", content)
        return data.decode()

    def read_until(self, text: str) -> str:
        """Return what the guest says, up to and with `text`."""
        output = ""

        def has_come() -> bool:
            nonlocal output
            while select.select([self.master], [], [], 0)[0]:
                try:
                    output += os.read(self.master, 4096).decode(errors="replace")
                except OSError:  # EIO: the last holder of the slave has ended
                    break
            return text in output

        until(has_come, f"{text!r} on the terminal")
        return output


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    console = Console(tmp_path / "tty")
    yield console
    console.listener.close()
    if console.master >= 0:
        os.close(console.master)


def test_the_terminal_comes_over_the_console_socket(urunc: Runtime, bundle: Make, console: Console) -> None:
    """During create, with its name; input and output are the guest's, and it is of the size of the spec."""
    process = {"terminal": True, "consoleSize": {"height": 41, "width": 97}}
    pid = urunc.create(bundle(args=("/app", "echo"), process=process), "c", "--console-socket", console.path)
    name = console.receive()
    size = struct.unpack("HHHH", fcntl.ioctl(console.master, termios.TIOCGWINSZ, bytes(8)))

    assert re.fullmatch(r"/dev/(pts/\d+|ptmx)", name)
    assert (41, 97) == size[:2]
    urunc.good("start", "c")
    console.read_until("-- echo\r\n")
    os.write(console.master, b"knock\r")
    assert "knock" == console.read_until("\n").strip()
    os.write(console.master, b"quit\r")
    assert 0 == exit_status(pid)


def test_control_c_is_for_the_guest(urunc: Runtime, bundle: Make, console: Console) -> None:
    """QEMU sets the terminal raw; the monitor must not take the character for a signal."""
    pid = urunc.create(bundle(args=("/app", "echo"), process={"terminal": True}), "c", "--console-socket", console.path)
    console.receive()
    urunc.good("start", "c")
    console.read_until("-- echo\r\n")
    os.write(console.master, b"a\x03b\r")

    assert "a\x03b" == console.read_until("\n").strip()
    assert "running" == urunc.status()
    assert alive(pid)


def test_the_terminal_belongs_to_the_containers_user(urunc: Runtime, bundle: Make, console: Console) -> None:
    process = {"terminal": True, "user": {"uid": 1234, "gid": 5}}
    pid = urunc.create(bundle(process=process), "c", "--console-socket", console.path)
    name = console.receive()
    urunc.good("start", "c")

    assert 1234 == os.stat(name).st_uid
    assert [name] * 3 == [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)]


def test_a_console_socket_may_have_a_long_path(urunc: Runtime, bundle: Make, tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    fd = os.open(directory, os.O_RDONLY)
    console = Console(Path(f"/proc/self/fd/{fd}/tty"))
    path = bundle(process={"terminal": True})
    urunc.good("create", "-b", path, "--console-socket", directory / "tty", "c")

    assert console.receive()
    console.listener.close()
    os.close(console.master)
    os.close(fd)
