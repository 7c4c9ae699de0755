"""Listeners: accepting connections, one at a time or drained into a task group."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.abc import SocketListener as AbstractSocketListener

from anyio_mio._net.socket_base import SocketBase
from anyio_mio._net.streams import SocketStream
from anyio_mio._reactor.registration import READ_WOULD_BLOCK, WAKES_READER

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from anyio_mio._reactor.reactor import Reactor

ACCEPT_BATCH: Final = 64


class SocketListener(SocketBase, AbstractSocketListener):
    """A listening socket."""

    __slots__ = ("_accept_fd", "_batches", "_family", "_kind", "_protocol", "_stream_type")

    def __init__(
        self,
        sock: socket.socket,
        reactor: Reactor,
        stream_type: Callable[[socket.socket, Reactor], SocketStream] = SocketStream,
    ) -> None:
        SocketBase.__init__(self, sock, reactor)
        self._stream_type = stream_type
        # Plain ints, read once: the properties of a socket make an enum member each time.
        self._family, self._kind, self._protocol = int(sock.family), int(sock.type), sock.proto
        self._accept_fd = sock._accept  # type: ignore[attr-defined]
        self._batches: Counter[int] = Counter()
        if sock.family != socket.AF_UNIX:
            # Linux hands it on to accepted sockets: one call here instead of one for each.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def accept(self) -> SocketStream:
        """Wait for a connection and accept it.

        Raises:
            ClosedResourceError: the listener was closed, before or meanwhile.
            BusyResourceError: another task waits for a connection.
            OSError: what the system said.

        Checkpoint: always. Cancellation: no connection is lost.
        """
        while True:
            await self._wait_until_ready()
            stream = self._accept_nowait()
            if stream is not None:
                return stream

    async def serve(
        self, handler: Callable[[SocketStream], Any], task_group: TaskGroup | None = None
    ) -> None:
        """Accept until WouldBlock, start ``handler(stream)`` for each, wait for the next event."""
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(anyio.create_task_group())
            while True:
                await self._wait_until_ready()
                self._accept_batch(handler, task_group)

    def _accept_batch(self, handler: Callable[[SocketStream], Any], task_group: TaskGroup) -> None:
        count = 0
        while count < ACCEPT_BATCH and (stream := self._accept_nowait()) is not None:
            count += 1
            task_group.start_soon(handler, stream)
        self._batches[count] += 1

    async def _wait_until_ready(self) -> None:
        scheduler, registration = self._scheduler, self._registration
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= 1
        while not registration.ready & WAKES_READER:
            await registration.wait_readable()

    def _accept_nowait(self) -> SocketStream | None:
        """Accept one connection; None if none waits."""
        try:
            fd, _ = self._accept_fd()
        except BlockingIOError:
            self._registration.ready &= READ_WOULD_BLOCK
            return None
        except OSError as exc:
            raise self._translate(exc) from exc
        sock = socket.socket(self._family, self._kind, self._protocol, fd)
        return self._stream_type(sock, self._registration.reactor)
