#!/usr/bin/env python3
"""A function service in one file: every HTTP request boots a guest of its own and answers what the guest prints.

    python examples/faas/server.py BUNDLE [--port 8080] [--pool 4] [--timeout 5]

`GET /a/b?c` runs the guest with the argument "a/b?c".  The sandboxes are made ahead (urunc.Runtime.pool), so a request
pays for the start of a monitor and nothing else; each is used once.  Listens on the loopback address alone.
"""

import argparse
import os
import select
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType

import urunc

OUTPUT_MAX = 1 << 20  # bytes of an answer


class Service(ThreadingHTTPServer):
    """Holds the pool; a thread for every request."""

    daemon_threads = True

    def __init__(self, port: int, pool: urunc.Pool, timeout_s: float) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.pool = pool
        self.timeout_s = timeout_s

    def answer(self, argument: str) -> tuple[int, bytes]:
        """Run one guest; return an HTTP status and what it wrote."""
        with self.pool.take() as container:
            deadline = time.monotonic() + self.timeout_s
            container.start((argument,))
            assert container.stdout is not None  # the pool was made with pipes
            body = read_to_end(container.stdout.fileno(), deadline)
            status = container.wait(max(deadline - time.monotonic(), 0)) if body is not None else None
            if body is None or status is None:
                return 504, b"the function took too long\n"
            if len(body) > OUTPUT_MAX:
                return 502, b"the function says too much\n"
            return 200 if status == 0 else 502, body


def read_to_end(fd: int, deadline: float) -> bytes | None:
    """Return what comes through a pipe, a little more than OUTPUT_MAX at most; None if its end comes too late.

    While the guest runs: a pipe holds 64 KiB, and who writes more waits for a reader.
    """
    body, ready = b"", select.poll()
    ready.register(fd, select.POLLIN)
    while len(body) <= OUTPUT_MAX:
        if not ready.poll(max(deadline - time.monotonic(), 0) * 1000):
            return None
        part = os.read(fd, 1 << 16)
        if not part:
            break
        body += part
    return body


def stop(_number: int, _frame: FrameType | None) -> None:
    """End as at Ctrl-C: the sandboxes that wait would outlive us."""
    raise KeyboardInterrupt


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Service

    def do_GET(self) -> None:
        try:
            status, body = self.server.answer(self.path.removeprefix("/"))
        except urunc.UruncError as error:
            status, body = 500, f"{error}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> int:
    """Serve until SIGINT or SIGTERM; nothing is left then."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", help="OCI bundle of the function's unikernel")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--pool", type=int, default=4, help="sandboxes that wait (default: 4)")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds that a function may take (default: 5)")
    parser.add_argument("--root", default="/run/urunc", help="directory of the containers' state")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    runtime = urunc.Runtime(options.root)
    try:
        with (
            runtime.template(options.bundle) as template,
            runtime.pool(template, options.pool, prefix="faas", stdout=urunc.PIPE, stderr=urunc.STDOUT) as pool,
            Service(options.port, pool, options.timeout) as service,
        ):
            print(f"serving {options.bundle} on http://127.0.0.1:{service.server_port}/", flush=True)
            service.serve_forever()
    except KeyboardInterrupt:
        return 0
    except urunc.UruncError as error:
        sys.exit(f"{parser.prog}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
