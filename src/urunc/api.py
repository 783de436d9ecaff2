"""The embedding API: containers made and driven by a program that goes on running (docs/how-to/embed.md).

The one rule: whatever goes wrong is an UruncError (UsageError, SpecError, UnikernelError, HostError, StateError), and
nothing here changes the process that calls: no chdir, umask, setns, signal handler or fork, from whatever thread.
"""

import os

from . import _fastpath, listing, runtime, wanted
from ._record import replace
from .arguments import check_id
from .container import Container, told
from .errors import StateError, UnikernelError
from .repeated import Repeated
from .request import Request
from .streams import DEVNULL, Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from .launch import Launch
    from .pool import Pool


class Runtime:
    """The containers below the directory `root`; may be used by several threads at once.

    `config` is the host's configuration file.  Containers made here and by the command line are the same.  The time of
    every step goes to the file `trace` (Chrome's trace format), and to OpenTelemetry if that is installed.
    """

    def __init__(self, root: str = "/run/urunc", config: str = "/etc/urunc/config.toml", trace: str = "") -> None:
        self._request = Request(
            verb="state", root=os.path.abspath(root), config=config, hands_over=False, trace=trace, spans=True
        )

    def template(self, bundle: str) -> "Template":
        """Read the bundle and the host once, for any number of containers; close it when there will be no more."""
        return Template(replace(self._request, verb="create", bundle=os.path.abspath(bundle)))

    def create(  # noqa: PLR0913  the streams are three
        self,
        container_id: str,
        bundle: str,
        *,
        stdin: int = DEVNULL,
        stdout: int = DEVNULL,
        stderr: int = DEVNULL,
        console_socket: str = "",
    ) -> "Container":
        """Make a container that waits for its start; see Template.create."""
        with self.template(bundle) as template:
            return template.create(
                container_id, stdin=stdin, stdout=stdout, stderr=stderr, console_socket=console_socket
            )

    def pool(  # noqa: PLR0913  the streams are three
        self,
        template: "Template",
        size: int,
        *,
        prefix: str = "pool",
        stdin: int = DEVNULL,
        stdout: int = DEVNULL,
        stderr: int = DEVNULL,
    ) -> "Pool":
        """Keep `size` sandboxes of `template` ready (pool.py): taking one costs no more than a start.

        The template stays the caller's to close, after the pool.  Streams are those of Template.create.
        """
        from .pool import Pool

        check_id(prefix)
        return Pool(lambda name: template.create(name, stdin=stdin, stdout=stdout, stderr=stderr), size, prefix)

    def get(self, container_id: str) -> "Container":
        """Return a container that exists, whoever made it; StateError if there is none.

        One that was made by another process can be waited for, but its exit status is its parent's alone.
        """
        check_id(container_id)
        request = replace(self._request, id=container_id)
        with told(), runtime.open_(request, locked=False) as container:
            try:
                pidfd = container.record().open_process()
            except ProcessLookupError:
                pidfd = -1
        return Container(request, pidfd)

    def __iter__(self) -> "Iterator[Container]":
        """Go through the containers that are there now."""
        for name in listing.names(self._request.root):
            try:
                yield self.get(name)
            except StateError:
                continue  # the fallback runtime's, half made, or just deleted


class Template:
    """A bundle that was read and checked, with its files open; a context manager.

    What config.json, urunc.json and the host's configuration say is as it was when the template was made.
    """

    def __init__(self, request: Request) -> None:
        with told():
            self._request = request
            self._wanted = Repeated(request)
            if self._wanted.unikernel is None:
                raise UnikernelError(f"{request.bundle} asks for no unikernel: give it to runc or crun yourself")
            try:
                self._prepared = self._wanted.prepare()
                self._wanted.trace.write()
            except BaseException:
                self.close()  # what was open before it was refused
                raise
            self.notices = self._wanted.notices  # about what the guest does not get

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; containers made from it live on, but take no other arguments any more."""
        self._wanted.__exit__()
        self._wanted.host = None

    def _check_open(self) -> None:
        if self._wanted.host is None:
            raise StateError(
                "the template has been closed: to make containers, or to start them with other arguments, take one that"
                " stays open (Runtime.template)"
            )

    def create(
        self,
        container_id: str,
        *,
        stdin: int = DEVNULL,
        stdout: int = DEVNULL,
        stderr: int = DEVNULL,
        console_socket: str = "",
    ) -> "Container":
        """Make a container that waits for its start; StateError if the id is taken.

        Streams are descriptors, borrowed for the call, PIPE, STDOUT or DEVNULL (streams.py).  A bundle with a terminal
        has none and needs a `console_socket`.
        """
        check_id(container_id)
        self._check_open()
        request = replace(self._request, id=container_id, console_socket=console_socket)
        with told(), Streams(stdin, stdout, stderr) as streams:
            sandboxes: list[_fastpath.Sandbox] = []

            def executor(state_fd: int) -> "_fastpath.Sandbox":
                sandboxes.append(_fastpath.Sandbox(state_fd, streams.theirs))
                return sandboxes[-1]

            launch = self._wanted.at_once(request, self._prepared, executor(-1))
            if launch is None:
                launch = wanted.build(request, self._wanted, self._prepared, executor)
            container = Container(request, sandboxes[-1].take_pidfd(), launch, self)
            container.stdin, container.stdout, container.stderr = streams.ours
            return container

    def plan(self, launch: "Launch", args: "tuple[str, ...]", env: "tuple[str, ...] | None") -> bytes:
        """Return the plan of a container that was made, for another command; UnikernelError where that is too late."""
        self._check_open()
        guest, chosen, host = self._prepared
        spec = replace(self._wanted.spec, args=args, env=self._wanted.spec.env if env is None else env)
        before, machine = (
            self._wanted.machine(guest, chosen, launch.network, given) for given in (self._wanted.spec, spec)
        )
        if chosen.files(before) != chosen.files(machine):
            raise UnikernelError(f"{chosen.name} reads its command line from a file made at create: create it with it")
        return _fastpath.pack(launch.plan(chosen, host, machine).operations)
