"""Serving connections: limits, errors, TLS, and an end in good order.

`serve_tcp()` and its kin run until they are told to stop, and then do things in this order: take
what is queued; close the listeners, so that nobody new is promised anything; let the handlers
finish for a grace period; cancel the rest; report.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import anyio
import anyio.lowlevel
from anyio.abc import SocketAttribute, TaskGroup, TaskStatus

from anyio_mio._net.accept_errors import Verdict
from anyio_mio._net.listeners import ACCEPT_BATCH, ListenerStatistics, SocketListener, task_name
from anyio_mio._net.socket_base import unix_family
from anyio_mio._net.streams import SocketStream
from anyio_mio.serving.options import Policy
from anyio_mio.serving.spare_descriptor import SpareDescriptor
from anyio_mio.serving.tls import HANDSHAKE_ERRORS, ServerTLSStream

__all__ = [
    "ListenerStatistics",
    "ServeSummary",
    "Verdict",
    "serve_listeners",
    "serve_tcp",
    "serve_unix",
]

LOGGER: Final = logging.getLogger("anyio_mio.serving")

LONGEST_QUEUE: Final = 65536
"""Connections that are taken from a queue at the most when a server stops."""

Handler: TypeAlias = Callable[[Any], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class ServeSummary:
    """What a server did.

    Attributes:
        accepted: connections that were accepted.
        finished: handlers that came to their end.
        failed: handlers that raised an exception, and TLS handshakes that failed.
        cancelled: handlers that were cancelled, as when the grace period was over.
        shed: connections that were closed because they could not be served.
        aborted: connections that were gone before they could be served.
    """

    accepted: int
    finished: int
    failed: int
    cancelled: int
    shed: int
    aborted: int


async def serve_tcp(
    handler: Handler,
    port: int,
    *,
    host: str | None = None,
    backlog: int = 65536,
    reuse_port: bool = False,
    task_status: TaskStatus[Sequence[SocketListener]] = anyio.TASK_STATUS_IGNORED,
    **policy: Any,
) -> ServeSummary:
    """Listen on a TCP port and run ``handler(stream)`` for each connection.

    Args:
        handler: an async function; its stream is closed when it ends.
        port: the port; 0 lets the system choose.
        host: an address or a name; None for all interfaces.
        backlog: how many connections may wait in the system's queue.
        reuse_port: True to let other processes listen on the port as well.
        task_status: ``started()`` gets the listeners when they listen.
        **policy: the options, with their defaults in parentheses:

            * ``accept_batch``, the most connections accepted before others get their turn; 1 where
              several processes share a socket (64).
            * ``max_connections``, the most that are open at once; others stay queued (no limit).
            * ``shed``, True to close what cannot be served, for the limit or for want of
              descriptors; otherwise it stays queued.
            * ``ssl_context``, for TLS, and ``handshake_timeout`` in seconds (10).
            * ``on_accept_error(error, verdict)``, may return another `Verdict`.
            * ``handler_errors``, ``"log"`` (default: the one connection is closed) or ``"raise"``
              (it ends the server, as in AnyIO's ``listener.serve()``).
            * ``signals``, such as ``(signal.SIGTERM,)``: stop at the first, at once at the second.
            * ``stop``, an `anyio.Event` that stops it as well.
            * ``queued``, ``"serve"`` (default) or ``"refuse"``: what becomes of connections in the
              system's queue when it stops.
            * ``grace``, seconds that the handlers get when it stops (10).

    Returns:
        A summary, when it was stopped by a signal or by ``stop``.

    Raises:
        OSError: the port cannot be bound.
        TypeError: there is no such option.
        ValueError: an argument is out of range.
        ExceptionGroup: accepting failed for good, or somebody else closed a listener; with
            ``handler_errors="raise"``, a handler failed.

    Checkpoint: always. Cancellation: stops it in the same order, then passes on.
    """
    settings = Policy(**policy)
    multi = await anyio.create_tcp_listener(
        local_host=host, local_port=port, backlog=backlog, reuse_port=reuse_port
    )
    listeners = [listener for listener in multi.listeners if isinstance(listener, SocketListener)]
    return await Server(handler, listeners, settings).run(task_status)


async def serve_unix(
    handler: Handler,
    path: str | os.PathLike[str],
    *,
    mode: int | None = None,
    backlog: int = 65536,
    task_status: TaskStatus[Sequence[SocketListener]] = anyio.TASK_STATUS_IGNORED,
    **policy: Any,
) -> ServeSummary:
    """Listen on a UNIX socket and run ``handler(stream)`` for each connection.

    Args:
        handler: an async function; its stream is closed when it ends.
        path: where the socket is made; a socket that is there already is replaced, and the path is
            removed at the end.
        mode: permissions of the path.
        backlog: how many connections may wait in the system's queue.
        task_status: ``started()`` gets the listeners when they listen.
        **policy: as for `serve_tcp()`.

    Raises:
        OSError: the path cannot be bound.

    Everything else is as for `serve_tcp()`.
    """
    settings = Policy(**policy)
    unix_family()  # for the clear error where there is none
    listener = await anyio.create_unix_listener(path, mode=mode, backlog=backlog)
    assert isinstance(listener, SocketListener)
    made = os.stat(path).st_ino
    try:
        return await Server(handler, [listener], settings).run(task_status)
    finally:
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == made:  # else another server has taken the place
                os.unlink(path)


async def serve_listeners(
    handler: Handler,
    listeners: Iterable[Any],
    *,
    task_status: TaskStatus[Sequence[SocketListener]] = anyio.TASK_STATUS_IGNORED,
    **policy: Any,
) -> ServeSummary:
    """Serve listeners that exist already; they are closed at the end.

    Args:
        handler: an async function; its stream is closed when it ends.
        listeners: listeners made while mio runs: by ``anyio.create_tcp_listener()`` or by
            ``anyio.abc.SocketListener.from_socket()``.
        task_status: ``started()`` gets the listeners.
        **policy: as for `serve_tcp()`.

    Raises:
        TypeError: something is not a listener of mio's.

    Everything else is as for `serve_tcp()`.
    """
    flat = [each for one in listeners for each in getattr(one, "listeners", [one])]
    for each in flat:
        if not isinstance(each, SocketListener):
            raise TypeError(
                f"{each!r} is not a socket listener of mio\n"
                "  right: await anyio.create_tcp_listener(local_port=8000), while mio runs"
            )
    return await Server(handler, flat, Policy(**policy)).run(task_status)


@final
class Server:
    """One call of `serve_listeners()`."""

    def __init__(
        self, handler: Handler, listeners: Sequence[SocketListener], policy: Policy
    ) -> None:
        self._handler = handler
        self._name = task_name(handler)
        self._listeners = listeners
        self._policy = policy
        self._limit = policy.max_connections
        self._permits = anyio.Semaphore(policy.max_connections or 1)
        self._spare = SpareDescriptor()
        self._stopping = policy.stop or anyio.Event()
        self._idle = anyio.Event()
        self._watching = anyio.CancelScope(shield=True)
        self._open = 0
        self._ending = False
        self._finished = self._failed = self._cancelled = 0
        self._handlers: TaskGroup | None = None

    async def run(self, task_status: TaskStatus[Sequence[SocketListener]]) -> ServeSummary:
        """Serve until told to stop; see the module."""
        try:
            if self._policy.shed:
                self._spare.take()
            await self._serve(task_status)
        finally:  # even where it was cancelled before it began
            self._spare.release()
            for listener in self._listeners:
                listener._close()
        return self._summary()

    async def _serve(self, task_status: TaskStatus[Sequence[SocketListener]]) -> None:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope(shield=True):  # or nobody could end it
                self._handlers = await group.start(self._host_handlers)
            try:
                if self._policy.signals:
                    await group.start(self._watch_signals)
                task_status.started(self._listeners)
                await self._accept_until_stopped()
            finally:
                self._close_listeners()
                await self._end_handlers()
                self._watching.cancel()

    # While it serves.

    async def _host_handlers(self, *, task_status: TaskStatus[TaskGroup]) -> None:
        """Hold the handlers' task group, out of reach of what cancels the server."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as handlers:
                task_status.started(handlers)
                await anyio.sleep_forever()

    async def _accept_until_stopped(self) -> None:
        async with anyio.create_task_group() as acceptors:
            for listener in self._listeners:
                acceptors.start_soon(self._accept_from, listener)
            await self._stopping.wait()
            acceptors.cancel_scope.cancel("the server stops")

    async def _accept_from(self, listener: SocketListener) -> None:
        """Drain one listener again and again; a permit comes before each accept."""
        batch = self._policy.accept_batch or ACCEPT_BATCH
        on_error = self._policy.on_accept_error
        while True:
            await listener.wait_until_ready()
            if self._limit is None:
                listener.drain(self._start, batch, on_error)
            elif self._policy.shed and self._permits.value == 0:
                listener.shed += listener.drain(SocketStream._close, batch, on_error)
            else:
                # First come, first served: with several listeners none can starve the others.
                await self._permits.acquire()
                self._drain_within_permits(listener, batch)
            if self._policy.shed and listener.is_out_of_descriptors:
                await self._shed_all_queued(listener, batch)

    async def _shed_all_queued(self, listener: SocketListener, batch: int) -> None:
        """Close what is queued, one after the other in place of the spare descriptor."""
        batch_is_spent = True
        while batch_is_spent:
            with self._spare.lent():
                batch_is_spent = listener.shed_queued(batch) == batch
            await anyio.lowlevel.checkpoint()

    def _drain_within_permits(self, listener: SocketListener, batch: int) -> None:
        """Drain with the permit that is held, and with as many more as there are."""
        extra = min(batch, self._permits.value + 1) - 1
        for _ in range(extra):
            self._permits.acquire_nowait()
        before = self._open
        try:
            listener.drain(self._start, extra + 1, self._policy.on_accept_error)
        finally:  # those that were started keep their permits, even if the drain failed after them
            for _ in range(extra + 1 - (self._open - before)):
                self._permits.release()

    def _start(self, stream: SocketStream) -> None:
        assert self._handlers is not None
        self._handlers.start_soon(self._handle, stream, name=self._name)
        self._open += 1

    async def _handle(self, stream: SocketStream) -> None:
        """Run the handler for one connection, and close it whatever happens."""
        ended = False
        try:
            if self._policy.ssl_context is None:
                await self._handler(stream)
            else:
                await self._handle_tls(stream, self._policy.ssl_context)
            ended = True
        except Exception:
            self._failed += 1
            ended = True
            if self._policy.handler_errors == "raise":
                raise
            LOGGER.exception("the handler of the connection from %s failed", peer_of(stream))
        finally:
            self._finished += ended
            self._cancelled += not ended
            stream._close()
            self._connection_is_over()

    async def _handle_tls(self, stream: SocketStream, context: ssl.SSLContext) -> None:
        timeout = self._policy.handshake_timeout
        try:
            tls = await ServerTLSStream.shake_hands(stream, context, timeout)
        except HANDSHAKE_ERRORS as error:
            LOGGER.debug("no TLS handshake from %s: %r", peer_of(stream), error)
            self._failed += 1
            return
        await self._handler(tls)
        await tls.aclose()

    def _connection_is_over(self) -> None:
        self._open -= 1
        if self._limit is not None:
            self._permits.release()
        if self._ending and not self._open:
            self._idle.set()

    # Stopping.

    async def _watch_signals(self, *, task_status: TaskStatus[None]) -> None:
        """The first signal stops the server; any other cuts the grace period short."""
        with self._watching, anyio.open_signal_receiver(*self._policy.signals) as received:
            task_status.started()
            async for number in received:
                LOGGER.info("stopping: %s", number.name)
                if self._stopping.is_set():
                    self._cancel_handlers()
                self._stopping.set()

    def _close_listeners(self) -> None:
        assert self._handlers is not None
        # A handler that failed, or a second signal, has ended them all: nobody is there to serve.
        if self._policy.queued == "serve" and not self._handlers.cancel_scope.cancel_called:
            self._serve_the_queue()
        for listener in self._listeners:
            listener._close()

    def _serve_the_queue(self) -> None:
        """What the system has completed is a promise: take what is there, up to the limit."""
        for listener in self._listeners:
            room = LONGEST_QUEUE if self._limit is None else self._permits.value
            with contextlib.suppress(OSError, anyio.ClosedResourceError):
                listener.drain(self._start_last, room)

    def _start_last(self, stream: SocketStream) -> None:
        if self._limit is not None:
            self._permits.acquire_nowait()
        self._start(stream)

    async def _end_handlers(self) -> None:
        """Give the handlers their grace period, then cancel what is left."""
        self._ending = True
        with anyio.CancelScope(shield=True):
            if self._open:
                with anyio.move_on_after(self._policy.grace):
                    await self._idle.wait()
            self._cancel_handlers()

    def _cancel_handlers(self) -> None:
        assert self._handlers is not None
        self._handlers.cancel_scope.cancel("the server's grace period is over")
        self._idle.set()

    def _summary(self) -> ServeSummary:
        every = [listener.statistics() for listener in self._listeners]
        return ServeSummary(
            accepted=sum(each.accepted for each in every),
            finished=self._finished - self._failed,
            failed=self._failed,
            cancelled=self._cancelled,
            shed=sum(each.shed for each in every),
            aborted=sum(each.aborted for each in every),
        )


def peer_of(stream: SocketStream) -> object:
    """The other end's address, as far as it is known."""
    return stream.extra(SocketAttribute.remote_address, "an unknown peer")
