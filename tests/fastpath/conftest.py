"""Fixtures of the tests of the C core: namespaces, and a process that owns a tap."""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest
from tests.fastpath.network_rig import LIBRARY, Core, add_interface, ip


@pytest.fixture(scope="session")
def core() -> Core:
    assert LIBRARY.exists(), f"{LIBRARY} is not built: run ci/build"
    return Core()


@pytest.fixture
def make_namespace() -> Iterator[Callable[[], str]]:
    made: list[str] = []

    def make() -> str:
        name = f"urt{os.getpid()}n{len(made)}"
        ip("netns", "add", name)
        made.append(name)
        return name

    yield make
    for name in made:
        ip("netns", "del", name)


@pytest.fixture
def outside(make_namespace: Callable[[], str]) -> str:
    """Where the other ends of veths are."""
    return make_namespace()


@pytest.fixture
def inside(make_namespace: Callable[[], str], outside: str) -> str:
    """A container's namespace: eth0, a veth that is down and has no address; its peer, `peer0`, is outside."""
    name = make_namespace()
    add_interface(name, outside, "eth0", "peer0")
    return name


@pytest.fixture
def owner() -> "Iterator[subprocess.Popen[bytes]]":
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()
