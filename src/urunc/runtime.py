"""(2) The commands on one container: short functions that only call.

The one rule: a container of the fallback runtime is handed over before anything of it is read.
"""

import errno

from . import _fastpath, annotations, config, delegate, hooks, lifecycle
from . import state as stored
from ._record import replace
from .errors import SpecError, StateError, UruncError
from .launch import advised
from .request import Outcome
from .trace import Trace, sinks
from .wanted import Wanted, build, listeners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .config import Config
    from .request import Request
    from .spec import Spec


def create(request: "Request") -> Outcome:
    """Make the container: everything but the run of its monitor (runtime-spec, runtime.md#create)."""
    return make(request)[1]


def start(request: "Request", plan_bytes: bytes = b"") -> Outcome:
    """Have the waiting process become the monitor; return when it has, or raise the step that failed.

    `plan_bytes`, packed, takes the place of what create has planned for the start.
    """
    with open_(request, locked=True) as container:
        record = container.record()
        lifecycle.check(container.status(record), "start", request.id)
        trace = Trace("start", request.id)
        trace.listen((*sinks(request.trace, _timestamps(request, record)), *listeners(request)))
        trace.mark("state")
        sandbox: _fastpath.Sandbox | None = None
        try:
            if record.flags & _fastpath.FLAG_WAITS or _has_come(record):
                plan_bytes, sandbox = _planned_again(request, container, record, trace, plan_bytes)
            record.start(container.fd, plan_bytes, sandbox)
        except OSError as error:
            raise advised(error) from None
        finally:
            if sandbox:
                sandbox.close()
        trace.mark("enter", record.entered_ns)
        trace.mark("exec")
        trace.write()
        if not record.flags & _fastpath.FLAG_HOOKS:
            return Outcome()
        return _poststart(request, container, record)


def _poststart(request: "Request", container: "stored.Container", record: "_fastpath.State") -> Outcome:
    """Run the hooks; one that must not fail ends the container, and destroys one of the process monitor.

    There it must not fail in any version of the specification: as with runc, whose suites such containers are for.
    """
    strict = bool(record.flags & _fastpath.FLAG_PROCESS)
    kept = hooks.load(container.fd)
    try:
        return Outcome(warnings=hooks.run_kept(kept, "poststart", request.id, "running", record.pid, strict=strict))
    except SpecError:
        record.end()
        if strict:
            container.let_go()
            delete(replace(request, force=True))
        raise


def _has_come(record: "_fastpath.State") -> bool:
    """Whether there is a network by now, where there was none when the container was created."""
    return bool(record.flags & _fastpath.FLAG_LATE) and _fastpath.has_links(record.pid)


def _planned_again(
    request: "Request", container: "stored.Container", record: "_fastpath.State", trace: Trace, given: bytes
) -> "tuple[bytes, _fastpath.Sandbox]":
    """Return the plan of a start in the network there is now, and what has its descriptors."""
    from . import late

    if given and _has_come(record):
        raise StateError(f"the network of container {request.id} came after create: start it as it was created")
    asked = replace(request, verb="create", bundle=late.bundle_of(container, record))
    sandbox = _fastpath.Sandbox(container.fd)
    sandbox.adopt(record.pid, record.start_time)
    with Wanted(asked) as wanted:
        guest, chosen, host = wanted.prepare()
        launch = wanted.maker(asked, container, wanted.spec, trace, lambda _: sandbox)
        return late.complete(launch, chosen, host, lambda net: wanted.machine(guest, chosen, net)), sandbox


def _timestamps(request: "Request", record: "_fastpath.State") -> str:
    """Return where they go; the flag spares every other start the look at the configuration."""
    return config.load(request.config).timestamps if record.flags & _fastpath.FLAG_TIMESTAMPS else ""


def kill(request: "Request") -> None:
    """Send the signal to the container's process; with `all` an ended one is no error."""
    with open_(request, locked=False) as container:
        record = container.record()
        status = container.status(record)
        try:
            if request.all:  # of a stopped one too: what its program has left behind
                record.kill_all(request.signal)
                return
            lifecycle.check(status, "kill", request.id)
            record.kill(request.signal, container.fd)
        except ProcessLookupError:
            if not request.all:
                raise StateError(f"container not running: {request.id} has just stopped") from None
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise StateError(f"unable to signal init: invalid argument: {request.signal} is no signal") from None
            raise


def delete(request: "Request", *, force: bool = False) -> Outcome:
    """Remove everything that create made; `force`, here or in the request, ends a running container and takes an
    unknown id for done.
    """
    force = force or request.force
    with open_(request, locked=True, force=force) as container:
        if container.owner() == "nobody":
            if container.fd >= 0:
                container.remove()
            return Outcome()
        try:
            record = container.record()
        except UruncError:
            if not force:
                raise
            container.remove()
            return Outcome()
        status = container.status(record)
        if not force:
            lifecycle.check(status, "delete", request.id)
        if status != "stopped":
            record.end()
        kept = _kept(container, force=force) if record.flags & _fastpath.FLAG_HOOKS else None
        container.remove()
        return Outcome(warnings=hooks.run_kept(kept, "poststop", request.id, "stopped", 0) if kept else ())


def state(request: "Request") -> str:
    """Return the state as JSON (runtime-spec, runtime.md#state)."""
    with open_(request, locked=False) as container:
        record = container.record()
        status = container.status(record)
        return record.json(status, _reason(container, record) if status == "stopped" else "")


def denied(request: "Request") -> "int | None":
    """Return the system call for which a filter has ended a container's process, -1 for some call, None if none is
    known of.
    """
    with open_(request, locked=False) as container:
        return container.record().denied(container.fd)


def _reason(container: "stored.Container", record: "_fastpath.State") -> str:
    """Return why a container has stopped where that was not its own doing, "" otherwise."""
    call = record.denied(container.fd)
    if call is None:
        return ""
    from . import audit

    return audit.message(call)


def refuse(request: "Request", message: str) -> None:
    """Raise `message` for what a unikernel cannot do, unless the container is the fallback runtime's."""
    with open_(request, locked=False) as container:
        lifecycle.check(container.status(container.record()), request.verb, request.id)
    raise UruncError(message)


def pause(request: "Request") -> None:
    """Freeze all processes of the container."""
    _set_paused(request, paused=True)


def resume(request: "Request") -> None:
    """Let a paused container go on."""
    _set_paused(request, paused=False)


def _set_paused(request: "Request", *, paused: bool) -> None:
    with open_(request, locked=True) as container:
        record = container.record()
        lifecycle.check(container.status(record), request.verb, request.id)
        try:
            record.pause(paused)
        except OSError as error:
            raise advised(error) from None


def fallback_runtime(settings: "Config") -> str:
    """Return the path of the fallback runtime; HostError if there is none."""
    return delegate.find(settings.fallback, delegate.ourselves())


def make(request: "Request") -> "tuple[int, Outcome]":
    """Do what create does; return the pid of the container's process, and what there is to say."""
    with Wanted(request) as wanted:
        if wanted.unikernel is None and not wanted.process:
            if annotations.QUEUE_PROXY in wanted.annotations:
                from . import knative

                knative.prepare(wanted.spec.bundle, wanted.annotations)
            delegate.execute(fallback_runtime(wanted.config), request)
        pid = build(request, wanted, wanted.prepare()).pid
        steps = _steps(wanted.spec, pid) if request.debug else ()
        return pid, Outcome(warnings=wanted.notices, hints=wanted.hints, steps=steps)


def _steps(spec: "Spec", pid: int) -> "tuple[str, ...]":
    """Return what --debug says of a container that was made, with the words that runc has."""
    return (
        f"nsexec container setup: namespaces {' '.join([namespace.type for namespace in spec.namespaces])}",
        f"child process in init(): process {pid}",
        "init: closing the pipe to signal completion: it waits for start",
    )


def open_(request: "Request", *, locked: bool, force: bool = False) -> "stored.Container":
    """Open an existing container of ours; become the fallback runtime for one of its own."""
    container = stored.open_(request.root, request.id, locked=locked)
    try:
        owner = container.owner()
    except BaseException:
        container.__exit__()  # its lock, too: the next thing that the caller does may be to remove it
        raise
    if owner == "fallback":
        container.__exit__()
        if not request.hands_over:
            raise StateError(f"container {request.id} is one of the fallback runtime: use that for it")
        delegate.execute(fallback_runtime(config.load(request.config)), request)
    if owner == "nobody" and not force:
        container.__exit__()
        raise StateError(f"container does not exist: {request.id}: list shows those there are")
    return container


def _kept(container: "stored.Container", *, force: bool) -> "dict[str, Any] | None":
    """Return the hooks that were kept; broken ones do not keep the container when it is to go by force."""
    try:
        return hooks.load(container.fd)
    except (OSError, UruncError):
        if force:
            return None
        raise StateError(f"hooks.json of container {container.id} is broken: remove it by delete --force") from None
