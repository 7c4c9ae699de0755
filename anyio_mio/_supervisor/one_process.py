"""Serving without a supervisor: in this process, in one thread or in several.

`anyio-mio serve --threads` serves so, and on Windows the command does nothing else. There are no
workers, hence no reload, no recycling and no replacement of one that hangs.
"""

from __future__ import annotations

import signal
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio
from anyio.abc import SocketAttribute, TaskGroup, TaskStatus

import anyio_mio
from anyio_mio._supervisor.binding import ADDRESS, BindError

STOP_SIGNALS: Final = (
    signal.SIGINT,
    getattr(signal, "SIGBREAK", signal.SIGTERM),  # Windows has the first, and sends no SIGTERM
)


class Log(Protocol):
    """What is told of the server."""

    def __call__(self, event: str, /, **fields: Any) -> None:
        """Log an event."""


@dataclass(frozen=True, slots=True)
class Place:
    """A host, which may be a name or empty for all interfaces, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Choices:
    """How to serve.

    Attributes:
        threads: how many threads; more than one needs a free-threaded build of Python.
        backlog: how many connections may wait in the system's queue of a socket.
        max_connections: the most connections of one thread at once; None for no limit.
        grace: seconds that handlers get when the server stops.
        tls: the TLS context; None for none.
    """

    threads: int = 1
    backlog: int = 4096
    max_connections: int | None = None
    grace: float = 10.0
    tls: ssl.SSLContext | None = None


def parse_place(text: str) -> Place:
    """Return the host and port of ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises:
        BindError: it is neither; a UNIX path is refused in words.
    """
    if text.startswith("unix:"):
        raise BindError(
            f"{text!r} cannot be served by one process on Windows, or by threads\n"
            "  right: 127.0.0.1:8000"
        )
    match = ADDRESS.match(text)
    if match is None or int(match["port"]) > 65535:
        raise BindError(f"{text!r} is not an address\n  right: 127.0.0.1:8000, [::1]:8000, :8000")
    return Place(match["six"] or match["host"] or "0.0.0.0", int(match["port"]))


async def serve(
    handler: Callable[[Any], Awaitable[object]],
    places: Sequence[Place],
    choices: Choices,
    log: Log,
) -> None:
    """Serve until a signal, then stop in good order; a second signal stops at once.

    Raises:
        OSError: a place cannot be bound.
    """
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        await group.start(watch_signals, stop, group, log)
        async with anyio.create_task_group() as servers:
            for place in places:
                await servers.start(serve_place, handler, place, choices, stop, log)
        group.cancel_scope.cancel()


async def serve_place(
    handler: Callable[[Any], Awaitable[object]],
    place: Place,
    choices: Choices,
    stop: anyio.Event,
    log: Log,
    *,
    task_status: TaskStatus[None],
) -> None:
    """Serve one place until ``stop`` is set."""
    async with anyio.create_task_group() as group:

        async def run(*, task_status: TaskStatus[Any]) -> None:
            summary = await anyio_mio.serve_tcp(
                handler,
                place.port,
                host=place.host,
                backlog=choices.backlog,
                threads=choices.threads,
                max_connections=choices.max_connections,
                grace=choices.grace,
                ssl_context=choices.tls,
                stop=stop,
                task_status=task_status,
            )
            log("stopped", address=str(place), accepted=summary.accepted, failed=summary.failed)

        [first, *_] = await group.start(run)
        bound = Place(place.host, first.extra(SocketAttribute.local_port))
        log("serving", address=str(bound), threads=choices.threads)
        task_status.started()


async def watch_signals(
    stop: anyio.Event, group: TaskGroup, log: Log, *, task_status: TaskStatus[None]
) -> None:
    """Stop at the first signal, at once at the second."""
    with anyio.open_signal_receiver(*STOP_SIGNALS) as received:
        task_status.started()
        async for number in received:
            if stop.is_set():
                log("stopping at once")
                group.cancel_scope.cancel()
            else:
                log("stopping", signal=number.name)
                stop.set()
