"""What every end-to-end test needs: the built runtime, guests, a containerd.  What is missing is a failure."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import cgroups
from tests.container import end_orphans
from tests.e2e.cgroup_views import VIEWS, View
from tests.e2e.containerd import Containerd
from tests.e2e.embedding import embedding, spt_bundle, spt_guests  # noqa: F401  fixtures
from tests.e2e.lan import lan, make, runtime, station  # noqa: F401  fixtures
from tests.guests import build

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Guests:
    """Files of the guests: a tiny ELF with PVH, and a Linux kernel with its initrd."""

    hello: Path
    kernel: Path
    initrd: Path


@pytest.fixture(scope="session")
def guests() -> Guests:
    cache = build.default_cache()
    kernel, initrd = build.linux(cache)
    return Guests(hello=build.hello(cache), kernel=kernel, initrd=initrd)


@pytest.fixture(scope="session")
def runtime_binary() -> Path:
    binary = ROOT / "dist" / "urunc"
    if not binary.exists():
        pytest.fail(f"{binary} is missing: run ci/build")
    return binary


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What keeps the host's own configuration out of the tests."""
    return {"URUNC_CONFIG_FILE": str(tmp_path_factory.mktemp("etc") / "config.toml")}


@pytest.fixture(scope="session")
def containerd(runtime_binary: Path, environment: dict[str, str]) -> Iterator[Containerd]:
    with Containerd(runtime_binary.parent, environment) as instance:
        yield instance


@pytest.fixture(params=VIEWS)
def view(request: pytest.FixtureRequest, tmp_path: Path, subreaper: None) -> Iterator[View]:
    made = View(tmp_path, request.param)
    if made.unified and "" not in cgroups.HIERARCHIES:
        pytest.skip("this kernel's cgroup2 is not mounted: there is no view of it alone")
    if not made.unified and not made.hierarchies():
        pytest.skip("this machine has cgroup2 alone: there is no view of version 1")
    yield made
    try:
        made.clean()

        assert [] == made.remains()
    finally:
        end_orphans()
