"""Steps and who listens to them."""

import json
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from urunc import spans
from urunc.errors import HostError
from urunc.trace import Trace, sinks

CREATE = ("bundle", "plan and state directory", "sandbox: clone with namespaces", "hooks and network", "commit")


def traced(command: str, *steps: str, chrome: Path | str = "", timestamps: Path | str = "") -> Trace:
    trace = Trace(command, "c")
    trace.listen(sinks(str(chrome), str(timestamps)))
    for step in steps:
        trace.mark(step)
    trace.write()
    return trace


def test_nobody_listens() -> None:
    assert 1 == len(traced("create", *CREATE).marks)


def test_chrome_events_follow_each_other(tmp_path: Path) -> None:
    """Two commands append to one file, which Chrome's format lets be without its closing bracket."""
    path = tmp_path / "trace"
    traced("create", "one", "two", chrome=path)
    traced("start", "three", chrome=path)

    events = json.loads(path.read_text().rstrip(",\n") + "]")
    assert [("create", "one"), ("create", "two"), ("start", "three")] == [(e["cat"], e["name"]) for e in events]
    assert events[0]["ts"] + events[0]["dur"] == pytest.approx(events[1]["ts"])


def test_timestamps_of_the_go_implementation(tmp_path: Path) -> None:
    path = tmp_path / "stamps"
    traced("create", *CREATE, timestamps=path)
    traced("start", "state", "enter", "exec", timestamps=path)

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    times = [line["time"] for line in lines]
    expected = [number for number in range(19) if number not in (8, 9)]
    assert [f"TS{number:02}" for number in expected] == [line["timestampID"] for line in lines]
    assert {"c"} == {line["containerID"] for line in lines}
    assert sorted(times) == times
    assert times[0] > 1_700_000_000_000_000_000


def test_a_time_that_c_has_read() -> None:
    trace = Trace("start", "c")
    trace.mark("enter", 7)

    assert ("enter", 7) == trace.marks[-1]


@pytest.mark.parametrize("which", ["chrome", "timestamps"])
def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, which: str) -> None:
    path = tmp_path / "nowhere" / "trace"

    with pytest.raises(HostError, match=f"trace {path}: no such file or directory"):
        traced("create", **{which: path})


def test_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span of the command and one of each step below it, at the times of the marks."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    (sink,) = spans.sinks()

    sink("create", "c", [("", 1000), ("bundle", 3000), ("commit", 7000)])

    bundle, commit, whole = exporter.get_finished_spans()
    assert ("urunc create", "bundle", "commit") == (whole.name, bundle.name, commit.name)
    assert whole.context is not None
    assert {whole.context.span_id} == {step.parent.span_id for step in (bundle, commit) if step.parent}
    assert (2000, 4000) == tuple((step.end_time or 0) - (step.start_time or 0) for step in (bundle, commit))
    assert whole.attributes is not None
    assert "c" == whole.attributes["container.id"]


def test_without_a_tracer_provider_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the library is there or not; a provider that comes later is asked from the next command on."""
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", None)

    assert () == spans.sinks()

    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", TracerProvider())

    assert 1 == len(spans.sinks())

    monkeypatch.delitem(sys.modules, "opentelemetry.trace")

    assert () == spans.sinks()
