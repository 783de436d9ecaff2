"""The command line: (1) words -> Request -> one function of another module -> exit status.

The one rule: only this module prints and exits.  A command that succeeds writes nothing to stderr and one that
fails writes one line: clients parse both streams, and may have closed either.
"""

import errno
import os

from .arguments import check, global_options, go_escaped, go_quoted, parse
from .errors import HostError, UruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .request import Request

# verb: (module, function); imported on demand, called with the Request; returns text to print, an iterator of such, an
# Outcome or None
ACTIONS = {
    "create": ("runtime", "create"),
    "delete": ("runtime", "delete"),
    "events": ("events", "events"),
    "exec": ("joined", "execute"),
    "features": ("documents", "features"),
    "help": ("documents", "help_"),
    "kill": ("runtime", "kill"),
    "list": ("listing", "list_"),
    "pause": ("runtime", "pause"),
    "planner": ("planner", "serve"),
    "ps": ("listing", "ps"),
    "resume": ("runtime", "resume"),
    "run": ("foreground", "run"),
    "spec": ("documents", "spec"),
    "start": ("runtime", "start"),
    "state": ("runtime", "state"),
    "update": ("update", "update"),
    "version": ("documents", "version"),
}
# for a container of the fallback runtime runtime.refuse(request, text) delegates these, else it raises the text
REFUSALS = {
    "checkpoint": "a virtual machine cannot be checkpointed: checkpoint is not possible for container",
    "restore": "a virtual machine has no checkpoint: restore is not possible for container",
}
FRONT_FAILURE = "URUNC_FRONT_FAILURE"  # front.c: a start that has failed, and is not to be tried again
PREFIXES = {"create": "urunc create failed: ", "exec": "exec failed: ", "run": "urunc run failed: "}


def main(argv: "list[str]", environ: "Mapping[str, str]") -> int:
    """Do what the command line `argv` (without the program's name) says; return the exit status."""
    _secure_streams()
    _secure_signals()
    log = Log()
    try:
        return _serve(argv, environ, log)
    except KeyboardInterrupt:
        return 130
    finally:
        log.close()


def _serve(argv: "list[str]", environ: "Mapping[str, str]", log: "Log") -> int:
    verb = ""
    try:
        options, words = global_options(argv)
        log.open(options)
        request = parse(argv, options, words, environ)
        verb = request.verb
        check(request)
        failure = environ.get(FRONT_FAILURE)
        if failure:
            raise _failure_of_the_front(failure)
        return _act(request, log)
    except Exception as error:  # noqa: BLE001  whatever happened, a client reads one line
        if log.debug and not isinstance(error, UruncError):
            log.traceback()
        log.failure(PREFIXES.get(verb, "") + _explained(error))
        status = error.status if isinstance(error, UruncError) else 1
        return 255 if verb == "exec" else status  # as runc: 1 could be the status of the program


def _act(request: "Request", log: "Log") -> int:
    verb = request.verb
    if verb in REFUSALS:
        _load("runtime", "refuse")(request, f"{REFUSALS[verb]} {request.id}")
        return 0
    result = _load(*ACTIONS[verb])(request)
    if isinstance(result, str):
        _print(result)
        return 0
    if result is None:
        return 0
    if not hasattr(result, "warnings"):
        for line in result:  # as it comes: events has no end while the container runs
            _print(line)
        return 0
    for hint in result.hints if log.fd >= 0 else ():
        log.warning(hint)
    for step in result.steps if log.debug else ():
        log.debugging(step)
    for warning in result.warnings:
        log.warning(warning)
    status: int = result.status
    return status


def _failure_of_the_front(text: str) -> UruncError:
    head, _, path = text.partition("\n")
    number, _, step = head.partition(" ")
    error = OSError(int(number), os.strerror(int(number)), path or None)
    error.step = step  # type: ignore[attr-defined]
    explained: UruncError = _load("launch", "advised")(error)
    return explained


def _load(module: str, function: str) -> "Any":
    # not importlib.import_module: importing importlib costs something, and this is the path of every command
    return getattr(__import__(module, globals(), None, (function,), 1), function)


def _explained(error: Exception) -> str:
    if isinstance(error, UruncError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        named = error.filename if isinstance(error.filename, (str, bytes)) else b""  # a descriptor has no name
        path = os.fsdecode(named)
        place = " ".join(part for part in (getattr(error, "step", ""), path) if part)
        reason = error.strerror[:1].lower() + error.strerror[1:]
        return f"{place}: {reason}" if place else reason
    return f"internal error: {type(error).__name__}: {error} (run with --debug for the traceback)"


class Log:
    """Where errors go: --log and stderr, in the format that --log-format asks for."""

    def __init__(self) -> None:
        self.fd = -1
        self.json = False
        self.debug = False

    def open(self, options: "dict[str, Any]") -> None:
        """Take the global `options`; raise HostError if the log file cannot be opened."""
        self.json = options.get("log_format") == "json"
        self.debug = options.get("debug", False)
        path = options.get("log")
        if path:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC  # never truncated: clients share it
            try:
                self.fd = os.open(path, flags, 0o644)
            except OSError as error:
                raise HostError(f"open {path}: {_explained(error).rpartition(': ')[2]}") from None

    def close(self) -> None:
        """Close the log file, if there is one."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def failure(self, message: str) -> None:
        """Write the one line of a failed command; that it cannot be written is no further failure."""
        line = self._line("error", message)
        try:
            if self.fd >= 0:
                os.write(self.fd, line)
                line = _encoded(_on_one_line(message) + "\n")
        except OSError:
            pass  # a full disk; then stderr gets the formatted line
        try:
            os.write(2, line)
        except OSError:
            pass  # podman closes stderr before it has read the state

    def warning(self, message: str) -> None:
        """Write a line about what went wrong without making the command fail: to the log alone, if there is one."""
        self._write("warning", message)

    def traceback(self) -> None:
        """Write the traceback of the exception being handled."""
        from traceback import format_exc

        self.debugging(format_exc())

    def debugging(self, message: str) -> None:
        """Write a line that only --debug asks for."""
        self._write("debug", message)

    def _write(self, level: str, message: str) -> None:
        try:
            os.write(self.fd if self.fd >= 0 else 2, self._line(level, message))
        except OSError:
            pass  # as for an error

    def _line(self, level: str, message: str) -> bytes:
        import time

        now = "{}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*time.gmtime())
        if self.json:
            from .jsontext import encode

            # as Go does, no lone surrogates: not every reader of JSON takes them
            text = encode(_encoded(message).decode("utf-8", "replace"))
            return _encoded(f'{{"level":"{level}","msg":{text},"time":"{now}"}}\n')
        return _encoded(f'time="{now}" level={level} msg={go_quoted(message)}\n')


def _on_one_line(message: str) -> str:
    """Return `message` without line ends and control characters, with its bytes that are not UTF-8 kept."""
    return "".join(c if "\udc80" <= c <= "\udcff" else go_escaped(c) for c in " ".join(message.splitlines()))


def _encoded(text: str) -> bytes:
    """Return `text` as bytes, whatever is in it."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that no byte stands behind, such as "\ud800" in a config.json
        kept = (c if c < "\ud800" or c > "\udfff" or "\udc80" <= c <= "\udcff" else "\ufffd" for c in text)
        return "".join(kept).encode("utf-8", "surrogateescape")


def _print(text: str) -> None:
    """Write `text` to stdout; that nobody reads it is no failure, that the disk is full is one."""
    rest = memoryview(_encoded(text if text.endswith("\n") else text + "\n"))
    while rest:
        try:
            rest = rest[os.write(1, rest) :]
        except BlockingIOError:  # stdout is shared, and someone made it non-blocking
            import select

            select.select((), (1,), ())
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EBADF):
                return
            raise HostError(f"write standard output: {_explained(error)}") from None


def _secure_streams() -> None:
    """Make sure that descriptors 0, 1 and 2 exist, so that no file opened later is taken for one of them."""
    try:
        descriptor = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        while descriptor <= 2:
            os.set_inheritable(descriptor, True)
            descriptor = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        os.close(descriptor)
    except OSError:  # no /dev/null
        pass


def _secure_signals() -> None:
    """Have no end of a reader end us, and hear of the ends of hooks and containers, which a caller may have ignored."""
    import _signal  # type: ignore[import-not-found]  # built in; the signal module imports enum

    try:
        _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    except ValueError:  # not the main thread of an embedding program
        pass
