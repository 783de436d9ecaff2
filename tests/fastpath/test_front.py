"""The front's reader of command lines: what it takes, it takes as arguments.py does; the rest it leaves to Python."""

import os
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI
from hypothesis import example, given
from hypothesis import strategies as st

from urunc import arguments
from urunc.errors import UsageError

REPOSITORY = Path(__file__).resolve().parents[2]
DECLARATIONS = """
struct fp_command {
    int verb; const char *root, *log, *id; int signal; bool all, force; const char *bundle, *pid_file, *console_socket;
    const char *log_format;
};
bool fp_front_parse(char **argv, struct fp_command *ret);
"""
VERBS = ("", "start", "state", "kill", "delete", "create")
WORDS = (
    *VERBS, "c", "a.b+c-d_1", "..", ".", "x" * 255, "x" * 256, "é", "-", "--", "---", "-1", "-9", "9", "64",
    "65", "100", "TERM", "sigkill", "SIGINT", "IOT", "CLD", "bogus", "--root", "--root=/r", "-root=/r/../s", "/r",
    "/r/..", "/r/./s//t", "r", "--log", "-log=/l", "--log=", "--log-format", "json", "text", "--log-format=json", "xml",
    "--debug", "-debug=false", "--debug=maybe", "--systemd-cgroup", "--trace=/t", "--trace", "--criu=x", "-v", "--help",
    "-h", "--force", "-f", "-f=0", "-force=True", "--all", "-a", "-a=F", "--al", "--bundle=/b",
    "-b", "b/../c", "--bundle=", "..", "--pid-file", "--pid-file=p", "--console-socket=s", "--no-pivot",
    "--no-new-keyring", "--preserve-fds=1",
)  # fmt: skip


class Front:
    """fp_front_parse of the core."""

    def __init__(self) -> None:
        libraries = sorted(REPOSITORY.glob("build/cpython-*/libfastpath_core.so"))
        assert libraries, "libfastpath_core.so is not built: run ci/build"
        self.ffi: Any = FFI()
        self.ffi.cdef(DECLARATIONS)
        self.c: Any = self.ffi.dlopen(str(libraries[0]))

    def parse(self, words: tuple[str, ...]) -> tuple[object, ...] | None:
        """Return what was understood; None for what is left to Python."""
        texts = [self.ffi.new("char[]", word.encode()) for word in ("urunc", *words)]
        argv, command = self.ffi.new("char *[]", [*texts, self.ffi.NULL]), self.ffi.new("struct fp_command *")
        if not self.c.fp_front_parse(argv, command):
            return None
        root, log, name, bundle, pid_file, console_socket = (
            self.ffi.string(at).decode() if at else ""
            for at in (
                *(command.root, command.log, command.id, command.bundle, command.pid_file, command.console_socket),
            )
        )
        paths = (plain(bundle), plain(pid_file), plain(console_socket))
        return (VERBS[command.verb], plain(root), log, name, command.signal, command.all, command.force, *paths)


@pytest.fixture(scope="module")
def front() -> Front:
    return Front()


def by_python(words: tuple[str, ...]) -> tuple[object, ...]:
    """The same of arguments.py; UsageError as there.  A root is given as the kernel takes it, one `/` and no `.`."""
    options, rest = arguments.global_options(list(words))
    request = arguments.parse(list(words), options, rest, {})
    arguments.check(request)
    bundle = "" if request.bundle == os.getcwd() else request.bundle
    paths = (plain(bundle), plain(request.pid_file), plain(request.console_socket))
    root = plain(request.root)
    return request.verb, root, request.log, request.id, request.signal, request.all, request.force, *paths


def plain(path: str) -> str:
    """A path without `.` and double `/`, from the working directory; "" stays."""
    kept = "/".join(part for part in path.split("/") if part not in {"", "."})
    return "" if not path else f"/{kept}" if path[0] == "/" else f"{os.getcwd()}/{kept}"


@given(st.lists(st.sampled_from(WORDS), max_size=7).map(tuple))
@example(("--root", "/r", "--log", "/l", "--log-format", "json", "kill", "--all", "c", "9"))
@example(("delete", "c", "--force"))
@example(("kill", "c", "-9"))
@example(("create", "--bundle=/b", "--pid-file", "p", "--console-socket=s", "c", "--no-pivot"))
def test_what_the_front_reads_it_reads_as_python_does(front: Front, words: tuple[str, ...]) -> None:
    found = front.parse(words)
    if found is None:
        return
    expected = by_python(words)  # a UsageError here is a command line that the front must not take

    assert expected == found


@pytest.mark.parametrize(
    "words",
    [
        "start c",
        "state c",
        "--root /r state c",
        "--root=/r --log /l --log-format json start c",
        "--systemd-cgroup -debug delete --force c",
        "delete c -f",
        "kill c",
        "kill c 9",
        "kill --all c SIGTERM",
        "kill c int",
    ],
)
def test_what_clients_give_is_served(front: Front, words: str) -> None:
    found = front.parse(tuple(words.split()))

    assert by_python(tuple(words.split())) == found


@pytest.mark.parametrize(
    "words",
    [
        *(
            "",
            "--debug create c",
            "--systemd-cgroup create c",
            "create --no-new-keyring c",
            "list",
            "start",
            "start a b",
            "start ..",
            "kill c bogus",
        ),
        *("--trace=/t start c", "--root r state c", "-v start c"),
    ],
)
def test_what_is_not_ordinary_is_left_to_python(front: Front, words: str) -> None:
    assert front.parse(tuple(words.split())) is None


def test_python_refuses_what_it_should(front: Front) -> None:
    """The comparison above is worth as much as this."""
    with pytest.raises(UsageError):
        by_python(("start", "--bogus", "c"))
    assert front.parse(("start", "--bogus", "c")) is None
