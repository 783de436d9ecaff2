"""The example of a function service, started as its first line says."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.container import BOUND_S, CONFIG, REPOSITORY, merged, write_bundle
from tests.guests import build as guest_cache
from tests.guests import spt_build

import urunc

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]

Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts the server for a guest of tests/guests/spt and returns its address; it must leave nothing when it ends."""
    started: list[subprocess.Popen[str]] = []

    def run(guest: str, *options: str) -> str:
        keys = {"unikernelType": "mirage", "hypervisor": "spt", "binary": "/guest"}
        annotations = {f"com.urunc.unikernel.{key}": value for key, value in keys.items()}
        image = spt_build.build(guest_cache.default_cache())[guest]
        bundle = write_bundle(tmp_path / "bundle", {"guest": image}, merged(CONFIG, {"annotations": annotations}))
        command = [sys.executable, "examples/faas/server.py", str(bundle), "--port=0", f"--root={tmp_path / 'root'}"]
        started.append(subprocess.Popen([*command, *options], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True))
        assert started[0].stdout is not None
        line = started[0].stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line
        return found[0]

    yield run
    for server in started:
        server.send_signal(signal.SIGTERM)

        assert server.wait(BOUND_S) == 0
        server.communicate()
    assert [] == list(urunc.Runtime(str(tmp_path / "root")))


def fetch(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=BOUND_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_every_request_boots_a_guest(serve: Serve) -> None:
    """More of them than the pool holds."""
    address = serve("hello", "--pool=2")

    for number in range(5):
        status, text = fetch(f"{address}guest/{number}?x=1")

        assert (200, f"hello: guest/{number}?x=1") == (status, text.splitlines()[0])


@pytest.mark.parametrize(("guest", "argument", "status"), [("exit", "7", 502), ("wait", "sleep", 504)])
def test_a_guest_that_fails_or_hangs_is_an_error_of_its_request(
    serve: Serve, guest: str, argument: str, status: int
) -> None:
    assert status == fetch(serve(guest, "--pool=1", "--timeout=2") + argument)[0]
