"""`urunc run`: create, start, wait, delete in one process; and its --dry-run.

The one rule: what `run` makes is gone when it returns, unless --keep or --detach say otherwise.
"""

import os

from . import runtime
from ._record import replace
from .errors import UruncError
from .request import Outcome, Request
from .trace import Trace, sinks
from .wanted import Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

FORWARDED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGWINCH")


def run(request: Request) -> "Outcome | str":
    """Run the container to its end; return its status (128 + n for signal n), 0 when detached, the plan when dry."""
    from . import audit, terminal

    if request.dry_run:
        return dry_run(request)
    with terminal.session(request) as session:
        pid, said = runtime.make(session.request)
        try:
            session.receive()
            with Forwarding(lambda number: runtime.kill(replace(request, signal=number))):
                warnings = said.warnings + runtime.start(request).warnings
                if request.detach:
                    return Outcome(warnings=warnings, hints=said.hints, steps=said.steps)
                session.attach()
                trace = Trace("run", request.id)
                trace.listen(sinks(request.trace, ""))
                ended = os.waitpid(pid, 0)[1]
            trace.mark("the monitor runs")
            if status_of(ended) == 128 + audit.SIGSYS:
                call = runtime.denied(request)
                if call is None and os.WIFSIGNALED(ended):
                    call = -1
                warnings += () if call is None else (audit.message(call),)
        except BaseException:
            runtime.delete(replace(request, force=True))
            _reap(pid)
            raise
    if not request.keep:
        warnings += runtime.delete(replace(request, force=True)).warnings
        trace.mark("delete")
    trace.write()
    return Outcome(status=status_of(ended), warnings=warnings, hints=said.hints, steps=said.steps)


def dry_run(request: Request) -> str:
    """Return the plan, and the monitor's command line as a person could paste it; nothing is made."""
    import shlex

    from . import credentials, delegate, facts, hooks, plan, slots

    with Wanted(request) as wanted:
        if wanted.process:
            raise UruncError("run --dry-run: the process monitor makes no virtual machine: choose another hypervisor")
        if wanted.unikernel is None:
            words = delegate.argv(runtime.fallback_runtime(wanted.config), replace(request, argv=("run", request.id)))
            return "# an ordinary container, for the fallback runtime\n" + shlex.join(words)
        guest, chosen, host = wanted.prepare()
        machine = wanted.machine(guest, chosen, facts.Network())
        spec = wanted.spec
        between, last = hooks.inside(spec, request.id, slots.ROOTFS_SLOT)
        confinement = credentials.Confinement(keyring=not request.no_new_keyring)
        console = request.console_socket
        whole = plan.monitor(spec, chosen, machine, host, facts.Network(), console, between, last, confinement)
        lines = [
            plan.text(plan.sandbox(spec, wanted.groups(chosen, request.id)).operations),
            plan.text(whole.operations),
        ]
        return "\n".join([*lines, "", "# the monitor, in its own root", shlex.join(chosen.argv(machine))])


class Forwarding:
    """While it is entered, signals to us go to the container's process by `send`.

    From before its start, so that none is lost.
    """

    def __init__(self, send: "Callable[[int], None]") -> None:
        self.send = send

    def __enter__(self) -> None:
        import signal

        self.before = {name: signal.signal(getattr(signal, name), self.forward) for name in FORWARDED}
        # a caller that had them blocked has handed that on
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [getattr(signal, name) for name in FORWARDED])

    def __exit__(self, *_: object) -> None:
        import signal

        for name, handler in self.before.items():
            signal.signal(getattr(signal, name), handler)

    def forward(self, number: int, _frame: "FrameType | None") -> None:
        try:
            self.send(number)
        except (OSError, UruncError):
            pass  # it has just ended


def status_of(wait_status: int) -> int:
    """Return the exit status that stands for what wait(2) has returned: 128 + n for signal n."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # reaped already
