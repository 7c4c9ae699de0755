"""`serve()` and `run()`: an application from startup to shutdown, on the server of `serving` (H3).

The order: the application's startup; listen; serve; on the way out each answer says that its
connection ends, idle connections are closed, and what is under way gets its grace period; then the
application's shutdown.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Unpack, final

import anyio
from anyio.abc import ByteStream, SocketListener, TaskGroup, TaskStatus

from anyio_mio import serving
from anyio_mio.asgi.background import MOMENT, Successors
from anyio_mio.asgi.client import GONE, abort, has_unread, limit_unsent
from anyio_mio.asgi.connection import Connection
from anyio_mio.asgi.errors import ClientDisconnected
from anyio_mio.asgi.lifespan import Lifespan
from anyio_mio.asgi.options import Options, split
from anyio_mio.asgi.refusal import refusal
from anyio_mio.asgi.site import NEVER, Application, Handshake, Site
from anyio_mio.asgi.threads import serve_by_threads
from anyio_mio.asgi.websocket import WebSocket
from anyio_mio.serving import ServeSummary
from anyio_mio.serving.listening import flatten
from anyio_mio.serving.options import HANDSHAKE_TIMEOUT
from anyio_mio.serving.outcomes import close_stream
from anyio_mio.serving.threads import run_of_this_thread
from anyio_mio.serving.tls import continue_handshake

LAST_WORDS: Final = 1.0
"""Seconds to tell a client why its connection ends."""

RECENT: Final = 0.1
"""Seconds in which a connection that was answered just now may bring its next request when the
server stops: it may be on its way, and gets an answer that says that the connection ends."""


LEAST_SHUTDOWN: Final = 3.0
"""Seconds that the application gets to shut down, even if the grace period is over."""


async def serve(
    app: Application,
    *,
    task_status: TaskStatus[Sequence[SocketListener]] = anyio.TASK_STATUS_IGNORED,
    **options: Unpack[Options],
) -> ServeSummary:
    """Serve an ASGI application until the server is told to stop.

    Args:
        app: an ASGI application: ``async def app(scope, receive, send)``.
        task_status: ``started()`` gets the listeners when the application has started and they
            listen.
        **options: see `Options`. Without ``host``, ``port``, ``unix`` or ``listeners`` it listens
            on 127.0.0.1:8000.

    Returns:
        A summary of the connections, when it was stopped by a signal, by ``stop``, or by
        ``max_requests``.

    Raises:
        ApplicationError: the application failed to start.
        OSError: the address cannot be bound.
        TypeError: there is no such option, two exclude each other, or ``app`` cannot be called.
        ValueError: an option is out of range.
        RuntimeError: more than one thread, with the global interpreter lock or without
            SO_REUSEPORT.

    Checkpoint: always. If cancelled, it stops in the same order, then re-raises the cancellation.
    """
    if not callable(app):
        raise TypeError(
            f"{app!r} is not an ASGI application\n  right: async def app(scope, receive, send): ..."
        )
    threads = options.get("threads", 1)
    if threads == 1:
        return await Server(app, dict(options)).run(task_status)
    one = {name: value for name, value in options.items() if name != "threads"}
    Server(app, one)  # checks the options
    return await serve_by_threads(partial(serve, app), threads, one, task_status)


def run(app: Application, **options: Unpack[Options]) -> ServeSummary:
    """Run mio and serve an ASGI application until SIGINT or SIGTERM.

    Args:
        app: an ASGI application.
        **options: as for `serve()`; ``signals`` are SIGINT and SIGTERM by default.

    Returns and raises what `serve()` does.
    """
    options.setdefault("signals", (signal.SIGINT, signal.SIGTERM))
    return anyio.run(partial(serve, app, **options), backend="mio")


@final
class Listening(TaskStatus[Any]):
    """Limits the system's send buffer for each client, before the first one is accepted."""

    def __init__(self, status: TaskStatus[Any]) -> None:
        self._status = status

    def started(self, value: Any = None) -> None:
        """Pass the listeners on."""
        for listener in value:
            limit_unsent(listener)
        self._status.started(value)


@final
class Server:
    """One call of `serve()`."""

    def __init__(self, app: Application, options: dict[str, Any]) -> None:
        settings, self._place, self._options = split(options)
        self._options.pop("threads", None)
        self._stop = self._options.get("stop") or anyio.Event()
        self._options["stop"] = self._stop
        statistics = self._options.pop("statistics", None)
        serving.options.Settings.of(self._handle, self._options)  # before the application starts
        self._grace: float = self._options.get("grace", 10.0)
        self._site = Site(app, settings, self._stop, run_of_this_thread(), statistics)
        if settings.proxy_protocol:
            self._site.shake_hands = self._take_handshake()
        self._lifespan = Lifespan(app, settings.lifespan, self._site.state)
        self._stopping = anyio.Event()
        self._stopped_at = 0.0
        self._house: TaskGroup | None = None

    def _take_handshake(self) -> Handshake | None:
        """Remove TLS from the options: its handshake follows the PROXY header, which is plain."""
        context = self._options.pop("ssl_context", None)
        timeout = self._options.pop("handshake_timeout", HANDSHAKE_TIMEOUT)
        if context is None:
            return None
        return partial(continue_handshake, context=context, timeout=timeout)

    async def run(self, task_status: TaskStatus[Sequence[SocketListener]]) -> ServeSummary:
        """Start the application, serve, and stop; see the module."""
        result: ServeSummary | Exception
        async with anyio.create_task_group() as group:
            with anyio.CancelScope(shield=True):  # or nothing could end it
                self._house = await group.start(self._keep_house)
            try:
                result = await self._serve(group, task_status)
            except Exception as error:  # noqa: BLE001 - raised below, outside of the task group
                result = error
            finally:
                group.cancel_scope.cancel()
                await self._shut_down()
        if isinstance(result, Exception):
            raise result
        return result

    async def _serve(
        self, group: TaskGroup, task_status: TaskStatus[Sequence[SocketListener]]
    ) -> ServeSummary:
        assert self._house is not None
        try:
            await self._lifespan.start(self._house)
        except BaseException:
            self._close_listeners()
            raise
        self._house.start_soon(self._keep_time)
        self._house.start_soon(self._close_idle)
        self._house.start_soon(self._watch_answered)
        group.start_soon(self._watch_stop)
        return await self._listen(task_status)

    async def _keep_house(self, *, task_status: TaskStatus[TaskGroup]) -> None:
        """Run the tasks that must survive a cancellation of the server, until it has stopped."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as house:
                task_status.started(house)
                await anyio.sleep_forever()

    async def _shut_down(self) -> None:
        assert self._house is not None
        with anyio.CancelScope(shield=True):
            left = self._grace - (anyio.current_time() - self._stopped_at)
            await self._lifespan.stop(max(left, LEAST_SHUTDOWN))
        self._house.cancel_scope.cancel()

    def _close_listeners(self) -> None:
        """Close the listeners that were given, where they are not served."""
        for listener in flatten(self._place.get("listeners") or ()):
            close_stream(listener)

    async def _listen(self, task_status: TaskStatus[Sequence[SocketListener]]) -> ServeSummary:
        """Serve where the options say."""
        place, options = self._place, {**self._options, "task_status": Listening(task_status)}
        if "listeners" in place:
            return await serving.serve_listeners(self._handle, place["listeners"], **options)
        if "unix" in place:
            path, mode = place.pop("unix"), place.pop("unix_mode", None)
            return await serving.serve_unix(self._handle, path, mode=mode, **place, **options)
        host, port = place.pop("host", "127.0.0.1"), place.pop("port", 8000)
        return await serving.serve_tcp(self._handle, port, host=host, **place, **options)

    def _handle(self, stream: ByteStream) -> Awaitable[None]:
        """Serve one connection. No coroutine of its own: each step would pass its frame."""
        return Connection(self._site, stream).converse()

    async def _watch_answered(self) -> None:
        """Let another task go on where the application works on after its answer."""
        site = self._site
        while True:
            await site.has_answered.wait()
            await anyio.sleep(MOMENT)
            self._hand_over(site.take_answered())

    def _hand_over(self, connections: set[Connection]) -> None:
        assert self._house is not None
        for connection in connections:
            answered = connection.hand_over()
            if answered is not None:
                others = connection.successors = connection.successors or Successors()
                self._house.start_soon(others.converse, others.add(), connection, answered)

    # Clients that take too long.

    async def _keep_time(self) -> None:
        """Count ticks, and look for clients that have taken too long."""
        site = self._site
        while True:
            await anyio.sleep(site.resolution)
            site.advance()
            self._expire_slow(site.tick)

    def _expire_slow(self, tick: int) -> None:
        """Part from the clients that have taken too long."""
        for client in [c for c in self._site.clients if c.read_due <= tick or c.write_due <= tick]:
            self._expire(client)

    def _expire(self, client: Connection) -> None:
        assert self._house is not None
        is_slow_reader = client.write_due <= self._site.tick
        client.read_due = client.write_due = NEVER
        self._house.start_soon(self._part_from, client, is_slow_reader)

    async def _part_from(self, client: Connection, is_slow_reader: bool) -> None:
        """End the connection of a client that took too long; its task sees that it is closed."""
        stream = client.stream
        if client.session is not None and not is_slow_reader:
            with suppress(ClientDisconnected, anyio.BusyResourceError):
                await client.session.alarm()
            return
        if is_slow_reader or client.current is not None:
            await abort(stream)
            return
        if client.parser.is_idle:
            client.read_due = self._site.head_due  # of the request that has come just now, if any
            await self._close_if_idle(client)
            return
        with anyio.move_on_after(LAST_WORDS), suppress(*GONE, anyio.BusyResourceError):
            await stream.send(refusal(408))
            if self._site.statistics is not None:
                self._site.statistics.refused[408] += 1
        await stream.aclose()

    # Stopping.

    async def _watch_stop(self) -> None:
        """Wait until the server is told to stop, or is cancelled."""
        try:
            await self._stop.wait()
        finally:
            self._stopped_at = anyio.current_time()
            self._site.is_stopping = True
            self._stopping.set()

    async def _close_idle(self) -> None:
        """Close connections without a request: at once, or as soon as they have none."""
        assert self._house is not None
        await self._stopping.wait()
        self._close_those(lambda client: client.idle_since < self._site.tick)
        while True:
            await anyio.sleep(RECENT)
            self._close_those(lambda client: True)

    def _close_those(self, condition: Callable[[Connection], bool]) -> None:
        """Close idle connections that meet a condition, and tell each WebSocket that is open."""
        assert self._house is not None
        for client in self._site.clients:
            if client.session is not None:
                self._house.start_soon(self._shut_down_session, client.session)
            elif client.is_idle and condition(client):
                self._house.start_soon(self._close_if_idle, client)

    async def _shut_down_session(self, session: WebSocket) -> None:
        with suppress(ClientDisconnected):
            await session.shut_down()

    async def _close_if_idle(self, client: Connection) -> None:
        """Close a connection, unless a request has come. Nothing may run between test and close."""
        if client.is_idle and not has_unread(client.stream):
            await client.stream.aclose()
