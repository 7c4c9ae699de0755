"""Serving without a supervisor: in this process, in one thread or in several.

`anyio-mio serve --threads` serves in this way, and on Windows every `anyio-mio serve` does. There
are no workers, so there is no reload, no recycling and no replacement of a worker that hangs. A
renewed certificate is used without a signal, and at once on SIGHUP or SIGUSR2. No connection ends.
"""

from __future__ import annotations

import signal
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import anyio
from anyio.abc import SocketAttribute, SocketListener, TaskGroup, TaskStatus

import anyio_mio
from anyio_mio._supervisor.application import Target, why_it_failed
from anyio_mio._supervisor.binding import ADDRESS, BindError
from anyio_mio._supervisor.certificate import CertificateError, CertificateWatch
from anyio_mio.serving.listening import listen_tcp

STOP_SIGNALS: Final = (
    signal.SIGINT,
    getattr(signal, "SIGBREAK", signal.SIGTERM),  # Windows has the first, and sends no SIGTERM
)

RENEW_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR2") if hasattr(signal, name)
)
"""Signals that load the certificate again. Without a certificate they have their default effect."""

SECONDS_BETWEEN_LOOKS: Final = 1.0
"""How often the certificate's files are looked at."""


class StartError(Exception):
    """The application could not start; the message says why."""


class Log(Protocol):
    """The log of the server."""

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
        http: options for `anyio_mio.asgi.serve()`, where an application is served.
        certificate: takes up a renewed certificate in ``tls``; None without one.
    """

    threads: int = 1
    backlog: int = 4096
    max_connections: int | None = None
    grace: float = 10.0
    tls: ssl.SSLContext | None = None
    http: dict[str, Any] = field(default_factory=dict)
    certificate: CertificateWatch | None = None

    def common(self) -> dict[str, Any]:
        """Options that handlers and applications are served with."""
        return {
            "threads": self.threads,
            "max_connections": self.max_connections,
            "grace": self.grace,
            "ssl_context": self.tls,
        }


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


async def serve(target: Target, places: Sequence[Place], choices: Choices, log: Log) -> None:
    """Serve until a signal, then shut down gracefully; a second signal stops at once.

    Raises:
        OSError: a place cannot be bound.
        StartError: an application could not start.
    """
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        await group.start(watch_signals, stop, group, log)
        if choices.certificate is not None:
            group.start_soon(watch_certificate, choices.certificate, log)
            await group.start(renew_on_signals, choices.certificate, log)
        if target.is_application:
            await serve_application(target, places, choices, stop, log)
        else:
            await serve_handler(target.call, places, choices, stop, log)
        group.cancel_scope.cancel()


async def serve_handler(
    handler: Callable[[Any], Awaitable[object]],
    places: Sequence[Place],
    choices: Choices,
    stop: anyio.Event,
    log: Log,
) -> None:
    """Serve a handler of streams on all places until ``stop`` is set."""
    async with anyio.create_task_group() as servers:
        for place in places:
            await servers.start(serve_place, handler, place, choices, stop, log)


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
                stop=stop,
                task_status=task_status,
                **choices.common(),
            )
            log("stopped", address=str(place), accepted=summary.accepted, failed=summary.failed)

        [first, *_] = await group.start(run)
        announce([first], [place], choices, log)
        task_status.started()


async def serve_application(
    target: Target, places: Sequence[Place], choices: Choices, stop: anyio.Event, log: Log
) -> None:
    """Serve an application on all places until ``stop`` is set: it starts once."""
    multis = [await listen(place, choices) for place in places]
    listeners = [each for multi in multis for each in multi]
    async with anyio.create_task_group() as group:
        await group.start(run_application, target, listeners, choices, stop, log)
        announce([multi[0] for multi in multis], places, choices, log)


async def run_application(
    target: Target,
    listeners: Sequence[SocketListener],
    choices: Choices,
    stop: anyio.Event,
    log: Log,
    *,
    task_status: TaskStatus[Any],
) -> None:
    """Serve an application from its startup to its shutdown.

    Raises:
        StartError: it could not start.
    """
    import anyio_mio.asgi  # an extra

    options = {**choices.common(), **choices.http, "stop": stop, "task_status": task_status}
    try:
        summary = await anyio_mio.asgi.serve(target.call, listeners=listeners, **options)
    except anyio_mio.asgi.ApplicationError as error:
        raise StartError(why_it_failed(error)) from None
    log("stopped", accepted=summary.accepted, failed=summary.failed)


async def listen(place: Place, choices: Choices) -> Sequence[SocketListener]:
    """Listen on a place.

    Raises:
        OSError: it cannot be bound.
    """
    return await listen_tcp(
        place.host, place.port, backlog=choices.backlog, reuse_port=False, threads=choices.threads
    )


def announce(
    listeners: Sequence[SocketListener], places: Sequence[Place], choices: Choices, log: Log
) -> None:
    """Log where connections are served; a listener for each place."""
    for listener, place in zip(listeners, places, strict=True):
        bound = Place(place.host, listener.extra(SocketAttribute.local_port))
        log("serving", address=str(bound), threads=choices.threads)


async def watch_certificate(watch: CertificateWatch, log: Log) -> None:
    """Use a renewed certificate for new connections."""
    while True:
        await anyio.sleep(SECONDS_BETWEEN_LOOKS)
        renew(watch, log, at_once=False)


async def renew_on_signals(
    watch: CertificateWatch, log: Log, *, task_status: TaskStatus[None]
) -> None:
    """Load the certificate again at a signal. SIGHUP does not end the server.

    A closing terminal sends SIGHUP too. There are no workers that it could replace.
    """
    if not RENEW_SIGNALS:  # on Windows
        task_status.started()
        return
    with anyio.open_signal_receiver(*RENEW_SIGNALS) as received:
        task_status.started()
        async for _ in received:
            renew(watch, log, at_once=True)


def renew(watch: CertificateWatch, log: Log, *, at_once: bool) -> None:
    """Load a certificate, always or only if it was renewed, and log it."""
    try:
        if watch.renew(at_once=at_once):
            log("certificate renewed", file=watch.files.certificate)
    except CertificateError as error:
        log("certificate not renewed, the old one is used", error=error)


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
