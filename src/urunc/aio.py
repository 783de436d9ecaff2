"""The embedding API for asyncio: the same containers, awaited.

The one rule: what makes system calls for longer than a reader notices runs in a thread; the end of a container is an
event of the loop (its pidfd), so that any number of them can be waited for.
"""

import asyncio

from . import api, container
from .streams import DEVNULL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from .pool import Pool


class Runtime:
    """As api.Runtime; pools and templates are made there, and `adopt` takes what comes out of them."""

    def __init__(self, root: str = "/run/urunc", config: str = "/etc/urunc/config.toml") -> None:
        self.blocking = api.Runtime(root, config)

    async def create(
        self,
        container_id: str,
        bundle: str,
        *,
        stdin: int = DEVNULL,
        stdout: int = DEVNULL,
        stderr: int = DEVNULL,
    ) -> "Container":
        """Make a container that waits for its start."""
        made = await asyncio.to_thread(
            self.blocking.create, container_id, bundle, stdin=stdin, stdout=stdout, stderr=stderr
        )
        return Container(made)

    async def get(self, container_id: str) -> "Container":
        """Return a container that exists; StateError if there is none."""
        return Container(await asyncio.to_thread(self.blocking.get, container_id))


async def take(pool: "Pool") -> "Container":
    """Take a prepared sandbox out of a pool."""
    return Container(await asyncio.to_thread(pool.take))


class Container:
    """As container.Container, an asynchronous context manager that deletes it at the end."""

    def __init__(self, blocking: container.Container) -> None:
        self.blocking = blocking
        self.id = blocking.id

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.delete(force=True)

    async def start(self, args: "tuple[str, ...]" = (), env: "tuple[str, ...] | None" = None) -> "tuple[str, ...]":
        """Run the guest; see container.Container.start."""
        return await asyncio.to_thread(self.blocking.start, args, env)

    async def kill(self, signal: int = 15, *, if_running: bool = False) -> None:
        """Send a signal; see container.Container.kill."""
        await asyncio.to_thread(lambda: self.blocking.kill(signal, if_running=if_running))

    async def delete(self, *, force: bool = False) -> "tuple[str, ...]":
        """Remove what create made; see container.Container.delete."""
        return await asyncio.to_thread(lambda: self.blocking.delete(force=force))

    async def state(self) -> container.State:
        """Return what is true now."""
        return await asyncio.to_thread(self.blocking.state)

    async def wait(self) -> "int | None":
        """Wait for the end of the container's process, as an event of the loop; see container.Container.wait."""
        pidfd = self.blocking.fileno()
        if pidfd >= 0:
            loop = asyncio.get_running_loop()
            ended = asyncio.Event()
            loop.add_reader(pidfd, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(pidfd)
        return self.blocking.wait(0)
