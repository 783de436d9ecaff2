"""A pool of prepared sandboxes: namespaces, root, network and the waiting urunc-init made ahead of the request.

The one rule: an empty pool is slower, never wrong: `take` then makes the container itself.  So does one that came into
a process by fork: what is ready in it is its maker's.
"""

import os
import threading
from collections import deque
from itertools import count

from .errors import UruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from .container import Container

RETRY_S = 1.0  # after a sandbox could not be made
_numbers = count(1)


class Pool:
    """`size` containers that wait for their start; a context manager, for any number of threads.

    `create` makes one of an id, which is PREFIX-PID-NUMBER.  A thread of its own fills the pool up after each take.
    """

    def __init__(self, create: "Callable[[str], Container]", size: int, prefix: str) -> None:
        self._create = create
        self._size = size
        self._prefix = prefix
        self._pid = os.getpid()
        self._ready: deque[Container] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.error: UruncError | None = None  # why the last sandbox could not be made ahead; None once one could
        self._filler = threading.Thread(target=self._fill, name="urunc-pool", daemon=True)
        self._filler.start()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many are ready."""
        return len(self._ready) if self._pid == os.getpid() else 0

    def take(self) -> "Container":
        """Return a container that waits for its start; from now on it is the caller's to delete."""
        while self._pid == os.getpid():
            container = self._next()
            if container is None:
                return self._make()
            try:
                if container.is_waiting():
                    return container
            except BaseException:
                with self._changed:
                    self._ready.appendleft(container)  # nobody knows what has become of it
                raise
            with container:
                pass  # somebody has ended it
        return self._make()

    def await_full(self, timeout_s: float) -> bool:
        """Wait until the pool is full; False after `timeout_s`, and in a forked process, where nobody fills it."""
        if self._pid != os.getpid():
            return False
        with self._changed:
            return self._changed.wait_for(lambda: len(self._ready) >= self._size, timeout_s)

    def close(self) -> None:
        """Delete what was not taken, all of it, then raise what one of them could not be deleted for.

        In a forked process nothing is: it is not its own.
        """
        if self._pid != os.getpid():
            return
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._filler.join()
        failed: UruncError | None = None
        while container := self._next():
            try:
                with container:
                    pass  # which deletes it
            except UruncError as error:
                failed = error
        if failed:
            raise failed

    def _next(self) -> "Container | None":
        with self._changed:
            self._changed.notify_all()
            return self._ready.popleft() if self._ready else None

    def _make(self) -> "Container":
        return self._create(f"{self._prefix}-{os.getpid()}-{next(_numbers)}")

    def _fill(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._ready) < self._size)
                if self._closed:
                    return
            try:
                made = self._make()
            except UruncError as error:
                self.error = error
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, RETRY_S)
                continue
            with self._changed:
                self.error = None
                self._ready.append(made)
                self._changed.notify_all()
