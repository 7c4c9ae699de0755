"""One server in several threads: each has a run of its own, and listening sockets of its own.

Facts. Where Python has no global interpreter lock, threads run in parallel. A kernel and its
sockets belong to one thread, so a server uses more processors with one run for each thread. Linux
and FreeBSD spread new connections over the sockets that share a port (SO_REUSEPORT).

Decision. `serve_tcp()` serves in the caller's run and in ``threads - 1`` more, each in a worker
thread. All of them stop when the caller's part stops, and the summary is the sum. With the
interpreter lock the threads would only take turns, so several threads raise an error.

Cost. A connection stays in the thread that accepted it. A handler runs in all threads at once, so
data that connections share needs a lock.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from typing import Final, Generic, Protocol, TypeVar, final

import anyio
import anyio.to_thread

from anyio_mio._kernel.fairness import gil_is_enabled
from anyio_mio._kernel.kernel import running_kernel

ONE_LOCK: Final = (
    "threads={} needs a free-threaded build of Python: with the global interpreter lock the "
    "threads take turns.\n"
    "  right: anyio-mio serve --workers {}, which starts processes\n"
    "  right: python3.14t, with PYTHON_GIL=0 if an extension has switched the lock on"
)
ONE_SOCKET: Final = (
    "threads={} needs SO_REUSEPORT, which this platform does not have.\n"
    "  right: threads=1, or several processes behind a proxy"
)

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class Serve(Protocol[S_co]):
    """Serves sockets until ``stop`` is set; returns a summary."""

    async def __call__(self, sockets: Sequence[socket.socket], stop: anyio.Event, /) -> S_co: ...


class Run(Protocol):
    """A run, as a server above this one sees it.

    Attributes:
        asyncio: the run's loop for asyncio; None until the program uses it.
    """

    @property
    def asyncio(self) -> object: ...


def run_of_this_thread() -> Run:
    """Return the run that serves in this thread.

    Raises:
        RuntimeError: nothing runs here.
    """
    return running_kernel()


def check_threads(threads: object) -> None:
    """Raise an error if a server cannot serve in so many threads.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is below 1.
        RuntimeError: this build of Python, or this platform, cannot serve in several threads.
    """
    if not isinstance(threads, int) or isinstance(threads, bool):
        raise TypeError(f"threads must be an integer, not {threads!r}\n  right: threads=4")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}\n  right: threads=4")
    if threads > 1 and gil_is_enabled():
        raise RuntimeError(ONE_LOCK.format(threads, threads))
    if threads > 1 and not hasattr(socket, "SO_REUSEPORT"):
        raise RuntimeError(ONE_SOCKET.format(threads))


def listen_again(first: socket.socket, backlog: int) -> socket.socket:
    """Make another listening socket for the port of ``first``, which must share its port.

    Raises:
        OSError: it cannot be bound.
    """
    sock = socket.socket(first.family, first.type)
    try:
        if sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if first.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(first.getsockname())
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


@final
class ThreadServer(Generic[S]):
    """A server in a worker thread.

    Args:
        serve: serves the sockets.
        sockets: listening sockets, which it closes.
    """

    def __init__(self, serve: Serve[S], sockets: Sequence[socket.socket]) -> None:
        self._serve = serve
        self._sockets = sockets
        self._lock = threading.Lock()
        self._is_stopping = False
        self._tell: Callable[[], object] | None = None
        self._summary: S | None = None

    async def run(self, limiter: anyio.CapacityLimiter) -> None:
        """Serve until `stop()`.

        Raises:
            BaseException: what ended the server in the thread.

        Checkpoint: always. Cancellation: waits for the thread, which the caller stops.
        """
        try:
            await anyio.to_thread.run_sync(self._run_in_thread, limiter=limiter)
        finally:
            for sock in self._sockets:  # also if it was cancelled before it began
                sock.close()

    @property
    def summary(self) -> S:
        """The summary that the server returned; valid after `run()`."""
        return self._summary  # type: ignore[return-value]

    def stop(self) -> None:
        """Begin a graceful shutdown. Thread-safe; does not wait."""
        with self._lock:
            self._is_stopping = True
            if self._tell is not None:
                self._tell()

    def _run_in_thread(self) -> None:
        anyio.run(self._main, backend="mio")

    async def _main(self) -> None:
        kernel, stop = running_kernel(), anyio.Event()
        with self._lock:
            self._tell = lambda: kernel.entry.put(stop.set)
            if self._is_stopping:
                stop.set()
        self._summary = await self._serve(self._sockets, stop)


async def serve_in_threads(
    serve_here: Callable[[], Awaitable[S]],
    serve: Serve[S],
    slots: Sequence[Sequence[socket.socket]],
) -> list[S]:
    """Serve in this run, and in one thread for each slot; return all summaries.

    Args:
        serve_here: serves in this run; when it ends, the threads are stopped.
        serve: serves in the threads.
        slots: the sockets of each thread.
    """
    servers = [ThreadServer(serve, slot) for slot in slots]
    limiter = anyio.CapacityLimiter(len(servers) or 1)
    async with anyio.create_task_group() as group:
        for server in servers:
            group.start_soon(server.run, limiter)
        try:
            summary = await serve_here()
        finally:
            for server in servers:
                server.stop()
    return [summary, *(server.summary for server in servers)]


def add_up(summaries: Sequence[S]) -> S:
    """Add the counters of several summaries."""
    kind = type(summaries[0])
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: sum(getattr(each, name) for each in summaries) for name in names})
