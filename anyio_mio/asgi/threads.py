"""One application in several threads, on a free-threaded build of Python.

A thread is like a worker of the command: it has a run, a lifespan and listening sockets of its own,
since what an application opens at its startup belongs to one run. All of them stop when the
caller's part stops.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import SocketListener, TaskStatus

from anyio_mio.asgi.errors import ApplicationError
from anyio_mio.asgi.options import take_place
from anyio_mio.serving import ServeSummary
from anyio_mio.serving.listening import flatten, listen_tcp
from anyio_mio.serving.threads import add_up, check_threads, listen_again, serve_in_threads

Serve = Callable[..., Awaitable[ServeSummary]]
"""`anyio_mio.asgi.serve()` with the application given."""


async def serve_by_threads(
    serve: Serve,
    threads: int,
    options: Mapping[str, Any],
    task_status: TaskStatus[Sequence[SocketListener]],
) -> ServeSummary:
    """Serve in this run, and in ``threads - 1`` more.

    Args:
        serve: serves the application in one run.
        threads: how many threads.
        options: those of `serve()`.
        task_status: gets the listeners of this run.

    Raises:
        ApplicationError: the application failed to start, in one of the threads.
        RuntimeError: this build of Python, or this platform, cannot serve in several threads.
        TypeError: an option does not go with threads.

    All else is as for `serve()`.
    """
    check_threads(threads)
    rest = dict(options)
    place = take_place(rest)
    for name in ("unix", "max_requests", "statistics"):
        if {**place, **rest}.get(name) is not None:
            raise TypeError(f"{name!r} does not go with threads\n  right: threads=1")
    backlog = place.get("backlog", 65536)
    listeners = await listen(place, threads, backlog)
    slots = [[listen_again(sock_of(each), backlog) for each in listeners]
             for _ in range(threads - 1)]  # fmt: skip

    async def serve_more(sockets: Sequence[socket.socket], stop: anyio.Event, /) -> ServeSummary:
        own = [await SocketListener.from_socket(sock) for sock in sockets]
        return await serve(**{**rest, "listeners": own, "stop": stop, "signals": ()})

    def serve_here() -> Awaitable[ServeSummary]:
        return serve(**rest, listeners=listeners, task_status=task_status)

    try:
        return add_up(await serve_in_threads(serve_here, serve_more, slots))
    except ExceptionGroup as group:
        raise_failure_to_start(group)
        raise


async def listen(place: Mapping[str, Any], threads: int, backlog: int) -> Sequence[SocketListener]:
    """Return the listeners of this run: those that are given, or of the host and the port."""
    if place.get("listeners") is not None:
        return flatten(place["listeners"])
    return await listen_tcp(
        place.get("host", "127.0.0.1"),
        place.get("port", 8000),
        backlog=backlog,
        reuse_port=place.get("reuse_port", False),
        threads=threads,
    )


def sock_of(listener: SocketListener) -> socket.socket:
    """Return the socket itself."""
    found: socket.socket = listener.extra(anyio.abc.SocketAttribute.raw_socket)
    return found


def raise_failure_to_start(group: BaseExceptionGroup[BaseException]) -> None:
    """Raise the first `ApplicationError` of a group, if there is one."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            raise_failure_to_start(error)
        elif isinstance(error, ApplicationError):
            raise error from error.__cause__
