"""The embedding API for asyncio: the same containers, awaited.

The one rule: what makes system calls for longer than a reader notices runs in a thread; the end of a container is an
event of the loop (its pidfd), so that any number of them can be waited for.  What is cancelled while it makes a
container leaves none; any other command that is cancelled goes on by itself.
"""

import asyncio
import os
import threading
from functools import partial

from . import api, container
from .streams import DEVNULL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import BinaryIO, Self, Unpack

    from .pool import Pool


class Runtime:
    """As api.Runtime, which is `blocking`: pools are made there, `take` has what comes out of them."""

    def __init__(self, root: str = "/run/urunc", config: str = "/etc/urunc/config.toml", trace: str = "") -> None:
        self.blocking = api.Runtime(root, config, trace)

    async def template(self, bundle: str) -> api.Template:
        """Read the bundle and the host once; see api.Runtime.template."""
        return await asyncio.to_thread(self.blocking.template, bundle)

    async def create(  # noqa: PLR0913  the streams are three
        self,
        container_id: str,
        bundle: "str | api.Template",
        *,
        stdin: int = DEVNULL,
        stdout: int = DEVNULL,
        stderr: int = DEVNULL,
        console_socket: str = "",
    ) -> "Container":
        """Make a container that waits for its start, of a bundle's directory or of a template."""
        of = bundle.create if isinstance(bundle, api.Template) else partial(self.blocking.create, bundle=bundle)
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        return await _made(partial(of, container_id, console_socket=console_socket, **streams))

    async def get(self, container_id: str) -> "Container":
        """Return a container that exists; StateError if there is none."""
        return Container(await asyncio.to_thread(self.blocking.get, container_id))


async def take(pool: "Pool") -> "Container":
    """Take a prepared sandbox out of a pool."""
    return await _made(pool.take)


async def _made(make: "Callable[[], container.Container]") -> "Container":
    """Have a thread make a container, which is deleted as soon as it is there if nobody waits for it any more."""
    kept: list[container.Container] = []
    unwanted = threading.Event()

    def work() -> None:
        kept.append(make())
        if unwanted.is_set():
            _discard(kept)

    loop = asyncio.get_running_loop()
    making = loop.run_in_executor(None, work)
    try:
        await asyncio.shield(making)
        return await adopt(kept[0])
    except BaseException:
        unwanted.set()  # after which one of the two threads finds it, and the other nothing
        await asyncio.wait((making, loop.run_in_executor(None, _discard, kept)))
        raise


def _discard(kept: "list[container.Container]") -> None:
    try:
        unwanted = kept.pop()
    except IndexError:
        return
    with unwanted:
        pass  # which deletes it


async def adopt(blocking: container.Container) -> "Container":
    """Return the container of the blocking API for use in this loop, which has its pipes from now on."""
    adopted = Container(blocking)
    stdin, stdout, stderr = blocking.stdin, blocking.stdout, blocking.stderr
    blocking.stdin = blocking.stdout = blocking.stderr = None
    try:
        adopted.stdin = await adopted.write_to(stdin) if stdin else None
        adopted.stdout = await adopted.read_from(stdout) if stdout else None
        adopted.stderr = await adopted.read_from(stderr) if stderr else None
    except BaseException:
        adopted.close_pipes()
        raise
    return adopted


class Container:
    """As container.Container, which is `blocking`; an asynchronous context manager that deletes it at the end."""

    def __init__(self, blocking: container.Container) -> None:
        self.blocking = blocking
        self.id = blocking.id
        self.stdin: asyncio.StreamWriter | None = None  # our ends of streams that are PIPE
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._pipes: list[asyncio.ReadTransport] = []

    async def read_from(self, pipe: "BinaryIO") -> asyncio.StreamReader:
        """Return a reader of our end of a pipe."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        self._pipes.append(transport)
        return reader

    async def write_to(self, pipe: "BinaryIO") -> asyncio.StreamWriter:
        """Return a writer to our end of a pipe."""
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())  # which knows when a writer may go on
        transport, _ = await loop.connect_write_pipe(lambda: protocol, pipe)
        return asyncio.StreamWriter(transport, protocol, None, loop)

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.blocking.is_deleted:
            await self.delete(force=True)
        self.close()

    def close(self) -> None:
        """Close our ends of its pipes and the pidfd; see container.Container.close."""
        self.close_pipes()
        self.blocking.close()

    def close_pipes(self) -> None:
        """Close our ends of its pipes alone."""
        if self.stdin and not self.stdin.transport.is_closing():
            self.stdin.transport.abort()  # nobody reads what was written and is not there yet
        for pipe in self._pipes:
            pipe.close()

    async def start(self, args: "tuple[str, ...]" = (), env: "tuple[str, ...] | None" = None) -> "tuple[str, ...]":
        """Run the guest; see container.Container.start."""
        return await asyncio.to_thread(self.blocking.start, args, env)

    async def kill(self, signal: int = 15, *, if_running: bool = False) -> None:
        """Send a signal; see container.Container.kill."""
        await asyncio.to_thread(partial(self.blocking.kill, signal, if_running=if_running))

    async def delete(self, *, force: bool = False) -> "tuple[str, ...]":
        """Remove what create made; see container.Container.delete."""
        return await asyncio.to_thread(partial(self.blocking.delete, force=force))

    async def state(self) -> container.State:
        """Return what is true now."""
        return await asyncio.to_thread(self.blocking.state)

    async def pause(self) -> None:
        """Freeze its processes; see container.Container.pause."""
        await asyncio.to_thread(self.blocking.pause)

    async def resume(self) -> None:
        """Let a paused container go on."""
        await asyncio.to_thread(self.blocking.resume)

    async def update(self, **limits: "Unpack[container.Limits]") -> None:
        """Change limits; see container.Container.update."""
        await asyncio.to_thread(partial(self.blocking.update, **limits))

    async def stats(self) -> "dict[str, object]":
        """Return the statistics of its cgroups now; see container.Container.stats."""
        return await asyncio.to_thread(self.blocking.stats)

    async def events(self, interval_ms: int = 5000) -> "AsyncIterator[dict[str, object]]":
        """Yield statistics and each lack of memory; see container.Container.events.

        A thread waits for each: a cancelled one goes on until the interval is over.
        """
        found = self.blocking.events(interval_ms)
        while event := await asyncio.to_thread(next, found, None):
            yield event

    async def wait(self) -> "int | None":
        """Wait for the end of the container's process, as an event of the loop; see container.Container.wait."""
        if self.blocking.fileno() >= 0:
            with container.told():
                pidfd = os.dup(self.blocking.fileno())  # a loop has one reader a descriptor, a container many who wait
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(pidfd, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(pidfd)
                os.close(pidfd)
        return self.blocking.wait(0)
