"""The steps of create and start as OpenTelemetry spans, for programs that embed urunc.

The one rule: in a program that has no tracer provider nothing is made, and nothing costs anything.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .trace import Sink


def sinks() -> "tuple[Sink, ...]":
    """Return who turns the steps of a command that begins now into spans: nobody if the program has asked for none."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return ()
    from . import __version__

    tracer = trace.get_tracer("urunc", __version__)
    return (lambda command, container_id, marks: _write(tracer, command, container_id, marks),)


def _write(tracer: "Any", command: str, container_id: str, marks: "list[tuple[str, int]]") -> None:
    """Make a span of the command, below the caller's current one, and one of each step below it."""
    import itertools
    import time

    from opentelemetry import trace

    offset = time.time_ns() - time.monotonic_ns()
    attributes = {"container.id": container_id, "container.runtime": "urunc"}
    begin, end = marks[0][1] + offset, marks[-1][1] + offset
    parent = tracer.start_span(f"urunc {command}", start_time=begin, attributes=attributes)
    if not parent.is_recording():
        return  # not for this one
    context = trace.set_span_in_context(parent)
    for (_, before), (step, at) in itertools.pairwise(marks):
        tracer.start_span(step, context=context, start_time=before + offset).end(at + offset)
    parent.end(end)
