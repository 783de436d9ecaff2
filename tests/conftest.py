"""Fixtures of the black-box tests: the built program, bundles for it, and a check that nothing is left."""

import ctypes
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tests import cgroups
from tests.container import CONFIG, KNOWN, PROGRAM, UNIKERNEL, Runtime, children, merged, write_bundle
from tests.guests import build

PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h

# An example that takes 0.2 s is a busy machine's, no fault.
LUCK = [HealthCheck.too_slow, HealthCheck.filter_too_much]  # of a busy machine, and of what is drawn and refused
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=LUCK)
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def keyboard_interrupts() -> None:
    """A shell that starts a job in the background has it ignore SIGINT, and so would every program started here."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def control_groups() -> Iterator[None]:
    """Containers of this session have their cgroups below one of its own."""
    with cgroups.session():
        yield


@pytest.fixture(scope="session")
def hello() -> Path:
    """The guest that says its command line and ends; it stays with the word `exit=halt`, echoes with `echo`."""
    return build.hello(build.default_cache())


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Orphans below this process become its children: containers' processes can be counted, and waited for."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    KNOWN.update(children())
    yield
    KNOWN.clear()
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def urunc(tmp_path: Path, subreaper: None) -> Iterator[Runtime]:
    """The built program with a --root of its own; after the test `delete --force` must leave nothing of it."""
    assert PROGRAM.exists(), f"{PROGRAM} is not built: run ci/build"
    runtime = Runtime(PROGRAM, tmp_path)
    with runtime.emptied():
        yield runtime


@pytest.fixture
def bundle(tmp_path: Path, hello: Path) -> Callable[..., Path]:
    """Makes bundles: keyword arguments change config.json key by key, None removes one.

    `args` is process.args; the guest's file is /hello; a bundle is called `b` unless `name` says otherwise.
    """

    def make(name: str = "b", args: tuple[str, ...] = ("/app", "exit=halt"), **changes: Any) -> Path:
        config = merged(merged(CONFIG, {"annotations": UNIKERNEL, "process": {"args": list(args)}}), changes)
        return write_bundle(tmp_path / name, {"hello": hello}, config)

    return make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests had said that were tried again (ci/test): a race leaves no other trace."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"tried again: {report.nodeid} ({report.when})")
        terminalreporter.write_line(report.longreprtext[-4000:])
