"""create + start by the embedding API against their floor in plain C, in turns; a ratio, never a time.

`pytest -s bench/test_api.py`.  ci/bench has the same rows with their noise, and one view of the control groups.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bench import bundle, embedding

import urunc

ROUNDS = 300
POOL_TARGET = 1.5  # of the start of a sandbox that was made ahead


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture
def floor(directory: Path) -> Iterator[embedding.Floor]:
    with embedding.Floor(directory) as running:
        yield running


@pytest.fixture(scope="module")
def template(directory: Path) -> Iterator[urunc.Template]:
    with embedding.template_of(bundle.made(directory)) as made:
        yield made


@pytest.mark.parametrize("heap", [False, True], ids=["small caller", "2 GiB heap"])
def test_create_and_start(floor: embedding.Floor, template: urunc.Template, heap: bool) -> None:
    with embedding.large_heap() if heap else nullcontext():
        times = embedding.in_turns(floor, lambda n: embedding.create_and_start(template, f"c{n}"), ROUNDS)

    assert embedding.ratio("create + start", *times) <= embedding.TARGET


def test_start_of_a_prepared_sandbox(floor: embedding.Floor, template: urunc.Template) -> None:
    times = embedding.in_turns(floor, lambda n: embedding.start_alone(template, f"c{n}"), ROUNDS)

    assert embedding.ratio("start alone", *times) <= POOL_TARGET


def test_a_thousand_in_a_row(floor: embedding.Floor, template: urunc.Template) -> None:
    """Neither slower nor larger at the end than at the beginning."""
    embedding.in_turns(floor, lambda n: embedding.create_and_start(template, f"c{n}"), 50)
    memory, descriptors = embedding.resident_mb(), embedding.descriptors()
    ours, floors, starts = embedding.in_a_row(floor, template)

    assert descriptors == embedding.descriptors()
    assert embedding.resident_mb() - memory < embedding.GROWTH_MB
    assert embedding.drift(starts, floors).judge().low <= embedding.DRIFT
    assert embedding.ratio("1,000 in a row", ours, floors) <= embedding.TARGET


def test_many_at_once(directory: Path, template: urunc.Template) -> None:
    """Whole containers by eight threads, against as many floors."""
    times = embedding.at_once(directory, template)

    assert embedding.ratio(f"{embedding.AT_ONCE} at a time", *times) <= embedding.TARGET


@pytest.mark.benchmark(group="create + start")
def test_benchmark_of_the_api(benchmark: Any, template: urunc.Template) -> None:
    """Whole containers, for comparisons by pytest-benchmark from one version to the next."""
    numbers = count()

    benchmark.pedantic(
        lambda: embedding.create_and_start(template, f"b{next(numbers)}"), rounds=ROUNDS, warmup_rounds=10
    )


@pytest.mark.benchmark(group="create + start")
def test_benchmark_of_the_floor(benchmark: Any, floor: embedding.Floor) -> None:
    benchmark.pedantic(floor.once, rounds=ROUNDS, warmup_rounds=10)
