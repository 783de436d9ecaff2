"""Fixtures of the tests of the embedding API: a runtime that must be left empty, bundles of Solo5 guests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.container import CONFIG, descriptors, merged, mounts, write_bundle
from tests.guests import build, spt_build

import urunc

MakeBundle = Callable[..., Path]


@pytest.fixture(scope="session")
def spt_guests() -> dict[str, Path]:
    return spt_build.build(build.default_cache())


@pytest.fixture
def spt_bundle(tmp_path: Path, spt_guests: dict[str, Path]) -> MakeBundle:
    """Makes the bundle of a guest of tests/guests/spt."""

    def bundle(guest: str, *args: str, **changes: object) -> Path:
        keys = {"unikernelType": "mirage", "hypervisor": "spt", "binary": "/guest"}
        annotations = {f"com.urunc.unikernel.{key}": value for key, value in keys.items()}
        config = merged(merged(CONFIG, {"annotations": annotations, "process": {"args": list(args)}}), changes)
        return write_bundle(tmp_path / guest, {"guest": spt_guests[guest]}, config)

    return bundle


@pytest.fixture
def embedding(tmp_path: Path) -> Iterator[urunc.Runtime]:
    """A runtime whose containers, mounts and descriptors must be gone after the test."""
    before, open_before = mounts(tmp_path), descriptors()
    made = urunc.Runtime(str(tmp_path / "root"), str(tmp_path / "config.toml"))
    yield made

    assert [] == list(made)
    assert before == mounts(tmp_path)
    assert open_before == descriptors()
