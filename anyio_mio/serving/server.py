"""Serve connections until the server is stopped, then shut down gracefully.

A shutdown has these steps: remove a UNIX path; let the system refuse new connections
(`_net.accept_queue`); accept the queued connections, because their clients are connected already;
close the listeners; wait for the handlers during the grace period; cancel the handlers that are
left; return a summary.

New connections are refused only if the server made the listeners itself. Listeners that the program
passed in may be shared with a process that continues to serve, or with systemd.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias, Unpack, final, overload

import anyio
import anyio.lowlevel
from anyio.abc import Listener, TaskGroup, TaskStatus
from anyio.streams.tls import TLSStream

from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._kernel.task_group import end_left_open
from anyio_mio._net.accept_errors import AcceptErrorKind
from anyio_mio._net.accept_queue import HANDSHAKE_TIME, is_reached_by_network, refuse_new
from anyio_mio._net.acceptor import ACCEPT_BATCH, Acceptor, ListenerStatistics
from anyio_mio._net.arguments import task_name
from anyio_mio._net.listeners import SocketListener
from anyio_mio._net.logs import log
from anyio_mio._net.streams import SocketStream
from anyio_mio._net.unix_paths import StrOrBytesPath, listen_unix
from anyio_mio._net.unix_streams import UNIXSocketStream
from anyio_mio.serving.listening import flatten, listen_tcp
from anyio_mio.serving.options import ServeOptions, Settings, TLSOptions
from anyio_mio.serving.outcomes import (
    Outcomes,
    ServeSummary,
    close_stream,
    log_failed_close,
    must_pass,
)
from anyio_mio.serving.spare_descriptor import SpareDescriptor
from anyio_mio.serving.threads import add_up, check_threads, listen_again, serve_in_threads
from anyio_mio.serving.tls import HANDSHAKE_ERRORS, ServerTLSStream

__all__ = [
    "AcceptErrorKind",
    "ListenerStatistics",
    "ServeSummary",
    "serve_listeners",
    "serve_tcp",
    "serve_unix",
]

LONGEST_QUEUE: Final = 65536
"""The most connections that a server accepts from a queue when it stops."""

Handler: TypeAlias = Callable[[Any], Awaitable[object]]


@overload
async def serve_tcp(
    handler: Callable[[SocketStream], Awaitable[object]],
    port: int,
    *,
    host: str | None = ...,
    backlog: int = ...,
    reuse_port: bool = ...,
    threads: int = ...,
    task_status: TaskStatus[Sequence[SocketListener]] = ...,
    **options: Unpack[ServeOptions],
) -> ServeSummary: ...


@overload
async def serve_tcp(
    handler: Callable[[TLSStream], Awaitable[object]],
    port: int,
    *,
    host: str | None = ...,
    backlog: int = ...,
    reuse_port: bool = ...,
    threads: int = ...,
    task_status: TaskStatus[Sequence[SocketListener]] = ...,
    **options: Unpack[TLSOptions],
) -> ServeSummary: ...


async def serve_tcp(  # noqa: PLR0913 - the last are options by name
    handler: Handler,
    port: int,
    *,
    host: str | None = None,
    backlog: int = 65536,
    reuse_port: bool = False,
    threads: int = 1,
    task_status: TaskStatus[Sequence[SocketListener]] = anyio.TASK_STATUS_IGNORED,
    **options: Any,
) -> ServeSummary:
    """Listen on a TCP port and run ``handler(stream)`` for each connection.

    Args:
        handler: an async function; its stream is closed when it ends.
        port: the port; 0 lets the system choose.
        host: an address or a name; None for all interfaces.
        backlog: how many connections may wait in the system's queue.
        reuse_port: True to let other processes listen on the port as well.
        threads: how many threads serve. More than 1 needs a free-threaded build of Python. Each
            thread has its own run and listeners, limits apply to each thread, and the handler runs
            in all threads at once.
        task_status: ``started()`` gets the listeners of this run, when they listen.
        **options: see `ServeOptions`; with TLS, `TLSOptions`.

    Returns:
        A summary, after the server was stopped by a signal or by ``stop``.

    Raises:
        OSError: the port cannot be bound.
        TypeError: there is no such option, or an argument is of the wrong type.
        ValueError: an argument is out of range.
        RuntimeError: more than one thread, with the global interpreter lock or without
            SO_REUSEPORT.
        ExceptionGroup: accepting failed for good, or a listener was closed by other code; with
            ``handler_errors="raise"``, a handler failed.

    Checkpoint: always. If cancelled, it shuts down gracefully, then re-raises the cancellation.
    """
    settings = Settings.of(handler, options)
    check_threads(threads)
    listeners = await listen_tcp(
        host, port, backlog=backlog, reuse_port=reuse_port, threads=threads
    )
    server = Server(handler, listeners, settings, owns_listeners=True)
    if threads == 1:
        return await server.run(task_status)
    return await in_threads(server, threads - 1, backlog, task_status)


async def in_threads(
    server: Server,
    more: int,
    backlog: int,
    task_status: TaskStatus[Sequence[SocketListener]],
) -> ServeSummary:
    """Serve in this run and in ``more`` threads; see `anyio_mio.serving.threads`."""

    async def serve(sockets: Sequence[socket.socket], stop: anyio.Event, /) -> ServeSummary:
        listeners = [SocketListener(sock, running_kernel().reactor) for sock in sockets]
        settings = replace(server.settings, stop=stop, signals=())
        another = Server(server.handler, listeners, settings, owns_listeners=True)
        return await another.run(anyio.TASK_STATUS_IGNORED)

    slots = [[listen_again(each._sock, backlog) for each in server.listeners] for _ in range(more)]
    summaries = await serve_in_threads(lambda: server.run(task_status), serve, slots)
    return add_up(summaries)


@overload
async def serve_unix(
    handler: Callable[[UNIXSocketStream], Awaitable[object]],
    path: StrOrBytesPath,
    *,
    mode: int | None = ...,
    backlog: int = ...,
    task_status: TaskStatus[Sequence[SocketListener]] = ...,
    **options: Unpack[ServeOptions],
) -> ServeSummary: ...


@overload
async def serve_unix(
    handler: Callable[[TLSStream], Awaitable[object]],
    path: StrOrBytesPath,
    *,
    mode: int | None = ...,
    backlog: int = ...,
    task_status: TaskStatus[Sequence[SocketListener]] = ...,
    **options: Unpack[TLSOptions],
) -> ServeSummary: ...


async def serve_unix(
    handler: Handler,
    path: StrOrBytesPath,
    *,
    mode: int | None = None,
    backlog: int = 65536,
    task_status: TaskStatus[Sequence[SocketListener]] = anyio.TASK_STATUS_IGNORED,
    **options: Any,
) -> ServeSummary:
    """Listen on a UNIX socket and run ``handler(stream)`` for each connection.

    Args:
        handler: an async function; its stream is closed when it ends.
        path: where to make the socket. A socket that a dead server left there is replaced. When the
            server stops, it removes the path if it still leads to its own socket. A name that
            begins with a null byte is abstract.
        mode: permissions of the path.
        backlog: how many connections may wait in the system's queue.
        task_status: ``started()`` gets the listeners when they listen.
        **options: as for `serve_tcp()`.

    Raises:
        OSError: the path cannot be bound; EADDRINUSE if a server listens there, or if the path is
            not a socket.
        ValueError: ``mode`` for an abstract name, or an option is out of range.

    Everything else is as for `serve_tcp()`.
    """
    settings = Settings.of(handler, options)
    sock, bound = listen_unix(path, mode=mode, backlog=backlog)
    try:
        listener = SocketListener(sock, running_kernel().reactor, UNIXSocketStream)
    except BaseException:
        bound.remove()
        sock.close()
        raise
    listener.path = bound
    return await Server(handler, [listener], settings, owns_listeners=True).run(task_status)


@overload
async def serve_listeners(
    handler: Callable[[SocketStream], Awaitable[object]],
    listeners: Iterable[Listener[Any]],
    *,
    task_status: TaskStatus[Sequence[SocketListener]] = ...,
    **options: Unpack[ServeOptions],
) -> ServeSummary: ...


@overload
async def serve_listeners(
    handler: Callable[[TLSStream], Awaitable[object]],
    listeners: Iterable[Listener[Any]],
    *,
    task_status: TaskStatus[Sequence[SocketListener]] = ...,
    **options: Unpack[TLSOptions],
) -> ServeSummary: ...


async def serve_listeners(
    handler: Handler,
    listeners: Iterable[Listener[Any]],
    *,
    task_status: TaskStatus[Sequence[SocketListener]] = anyio.TASK_STATUS_IGNORED,
    **options: Any,
) -> ServeSummary:
    """Serve listeners that exist already, and close them at the end.

    Args:
        handler: an async function; its stream is closed when it ends.
        listeners: listeners made while mio runs: by ``anyio.create_tcp_listener()`` or by
            ``anyio.abc.SocketListener.from_socket()``.
        task_status: ``started()`` gets the listeners.
        **options: as for `serve_tcp()`.

    Raises:
        TypeError: an element is not a listener of mio.
        ValueError: a listener is given twice.

    Everything else is as for `serve_tcp()`.
    """
    settings = Settings.of(handler, options)
    return await Server(handler, flatten(listeners), settings).run(task_status)


@final
class Server:
    """One call of `serve_listeners()`."""

    def __init__(
        self,
        handler: Handler,
        listeners: Sequence[SocketListener],
        settings: Settings,
        *,
        owns_listeners: bool = False,
    ) -> None:
        self._owns_listeners = owns_listeners
        self._kernel = running_kernel()
        self.handler = handler
        self._name = task_name(handler)
        self.listeners = listeners
        self.settings = settings
        self._limit = settings.max_connections
        self._permits = anyio.Semaphore(settings.max_connections or 1)
        self._spare = SpareDescriptor()
        self._stopping = settings.stop or anyio.Event()
        self._idle = anyio.Event()
        self._watching = anyio.CancelScope(shield=True)
        self._open = 0
        self._ending = False
        self._outcomes = Outcomes()
        self._handlers: TaskGroup | None = None

    async def run(self, task_status: TaskStatus[Sequence[SocketListener]]) -> ServeSummary:
        """Serve until the server is stopped; the module lists the steps of the shutdown."""
        try:
            if self.settings.shed:
                self._spare.take()
            await self._serve(task_status)
        finally:  # also if it was cancelled before it began
            self._spare.release()
            for listener in self.listeners:
                close_stream(listener)
        return self._summary()

    async def _serve(self, task_status: TaskStatus[Sequence[SocketListener]]) -> None:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope(shield=True):  # a cancelled start() would leave no group to end
                self._handlers = await group.start(self._host_handlers)
            try:
                if self.settings.signals:
                    await group.start(self._watch_signals)
                task_status.started(self.listeners)
                await self._accept_until_stopped()
            finally:
                self._close_listeners()
                await self._end_handlers()
                self._watching.cancel()

    # While it serves.

    async def _host_handlers(self, *, task_status: TaskStatus[TaskGroup]) -> None:
        """Hold the handlers' task group, shielded from a cancellation of the server."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as handlers:
                task_status.started(handlers)
                await anyio.sleep_forever()

    async def _accept_until_stopped(self) -> None:
        async with anyio.create_task_group() as acceptors:
            for listener in self.listeners:
                acceptors.start_soon(self._accept_from, listener.acceptor)
            await self._stopping.wait()
            await self._finish_handshakes()
            acceptors.cancel_scope.cancel("the server stops")

    async def _accept_from(self, acceptor: Acceptor[SocketStream]) -> None:
        """Drain one listener again and again; acquire a permit before each accept."""
        batch = self.settings.accept_batch or ACCEPT_BATCH
        on_error = self.settings.on_accept_error
        while True:
            await acceptor.wait_until_ready()
            if self._limit is None:
                acceptor.drain(self._start, batch, on_error)
            elif self.settings.shed and self._permits.value == 0:
                acceptor.shed += acceptor.drain(close_stream, batch, on_error)
            else:
                # The semaphore is fair, so with several listeners none starves the others.
                await self._permits.acquire()
                acceptor.drain_within_permits(self._permits, self._start, batch, on_error)
            if self.settings.shed and acceptor.is_out_of_descriptors:
                await self._shed_all_queued(acceptor, batch)

    async def _shed_all_queued(self, acceptor: Acceptor[SocketStream], batch: int) -> None:
        """Close the queued connections one by one, each in the place of the spare descriptor."""
        batch_is_spent = True
        while batch_is_spent:
            with self._spare.lent():
                batch_is_spent = acceptor.shed_queued(batch) == batch
            await anyio.lowlevel.checkpoint()

    def _start(self, stream: SocketStream) -> None:
        assert self._handlers is not None
        self._handlers.start_soon(self._handle, stream, name=self._name)
        self._open += 1

    async def _handle(self, stream: SocketStream) -> None:
        """Run the handler for one connection, and close the connection in any case."""
        task = self._kernel.current
        assert task is not None
        scope, is_served = task.scope, True
        try:
            try:
                if self.settings.ssl_context is None:
                    await self.handler(stream)  # not in a function: each step would pass its frame
                else:
                    is_served = await self._handle_tls(stream, self.settings.ssl_context)
            finally:
                if task.scope is not scope:
                    await end_left_open(scope)
            self._outcomes.finished += is_served
        except BaseException as error:
            self._count(error, stream)
            if self.settings.handler_errors == "raise" or must_pass(error):
                raise
        finally:
            try:
                stream._close()
            except OSError as error:
                log_failed_close(stream, error)
            self._connection_is_over()

    async def _handle_tls(self, stream: SocketStream, context: ssl.SSLContext) -> bool:
        """Make the handshake and run the handler; return False if the handshake failed."""
        timeout = self.settings.handshake_timeout
        try:
            tls = await ServerTLSStream.shake_hands(stream, context, timeout)
        except HANDSHAKE_ERRORS as error:
            self._outcomes.count_handshake(error, stream)
            return False
        await self.handler(tls)
        await tls.aclose()
        return True

    def _count(self, error: BaseException, stream: SocketStream) -> None:
        assert self._handlers is not None
        is_cancelled = self._handlers.cancel_scope.cancel_called
        logs = self.settings.handler_errors == "log" and not must_pass(error)
        self._outcomes.count(error, stream, is_cancelled=is_cancelled, logs=logs)

    def _connection_is_over(self) -> None:
        self._open -= 1
        if self._limit is not None:
            self._permits.release()
        if self._ending and not self._open:
            self._idle.set()

    # Stopping.

    async def _watch_signals(self, *, task_status: TaskStatus[None]) -> None:
        """Stop the server at the first signal; end the grace period at the next."""
        with self._watching, anyio.open_signal_receiver(*self.settings.signals) as received:
            task_status.started()
            async for number in received:
                log(logging.INFO, "stopping: %s", number.name)
                if self._stopping.is_set():
                    self._cancel_handlers()
                self._stopping.set()

    async def _finish_handshakes(self) -> None:
        """Refuse new clients, and wait for the handshakes of clients that are connecting."""
        socks = [each._sock for each in self.listeners if not each._is_closed]
        if self._owns_listeners and any(is_reached_by_network(sock) for sock in socks):
            for sock in socks:
                refuse_new(sock)
            await anyio.sleep(HANDSHAKE_TIME)

    def _close_listeners(self) -> None:
        assert self._handlers is not None
        for listener in self.listeners:
            listener.remove_path()  # first: a successor may bind it, and no client is turned away
            if self._owns_listeners and not listener._is_closed:
                refuse_new(listener._sock)
        # After a failed handler or a second signal, the handlers are cancelled: serve no more.
        if self.settings.queued == "serve" and not self._handlers.cancel_scope.cancel_called:
            self._serve_the_queue()
        for listener in self.listeners:
            close_stream(listener)

    def _serve_the_queue(self) -> None:
        """Accept the queued connections, up to the limit: their clients are connected already."""
        for listener in self.listeners:
            room = LONGEST_QUEUE if self._limit is None else self._permits.value
            with contextlib.suppress(OSError, anyio.ClosedResourceError):
                listener.acceptor.drain(self._start_last, room)

    def _start_last(self, stream: SocketStream) -> None:
        if self._limit is not None:
            self._permits.acquire_nowait()
        self._start(stream)

    async def _end_handlers(self) -> None:
        """Give the handlers their grace period, then cancel those that are left."""
        self._ending = True
        with anyio.CancelScope(shield=True):
            if self._open:
                with anyio.move_on_after(self.settings.grace):
                    await self._idle.wait()
            self._cancel_handlers()

    def _cancel_handlers(self) -> None:
        assert self._handlers is not None
        self._handlers.cancel_scope.cancel("the server's grace period is over")
        self._idle.set()

    def _summary(self) -> ServeSummary:
        every = [listener.statistics() for listener in self.listeners]
        return ServeSummary(
            accepted=sum(each.accepted for each in every),
            finished=self._outcomes.finished,
            failed=self._outcomes.failed,
            cancelled=self._outcomes.cancelled,
            shed=sum(each.shed for each in every),
            aborted=sum(each.aborted for each in every),
        )
