"""AnyIO's listener: accepts connections one at a time, or serves them in a task group."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, NoReturn
from weakref import WeakSet

import anyio
from anyio.abc import SocketListener as AbstractSocketListener

from anyio_mio._net.acceptor import ACCEPT_BATCH, Acceptor, ListenerStatistics
from anyio_mio._net.arguments import task_name
from anyio_mio._net.socket_base import SocketBase, set_no_delay
from anyio_mio._net.socket_names import describe_address
from anyio_mio._net.streams import SocketStream

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from anyio_mio._net.unix_paths import BoundPath
    from anyio_mio._reactor.reactor import Reactor


def open_listeners(reactor: Reactor) -> list[SocketListener]:
    """Return the listeners of one run that are open, in no particular order."""
    return [each for each in LISTENERS if each._reactor is reactor and not each._is_closed]


class SocketListener(SocketBase, AbstractSocketListener):
    """A listening socket.

    Attributes:
        acceptor: accepts the connections.
        path: the UNIX path that must be removed before the socket is closed; None if it is not
            ours.
    """

    __slots__ = ("_reactor", "acceptor", "path")

    def __init__(
        self,
        sock: socket.socket,
        reactor: Reactor,
        stream_type: Callable[[socket.socket, Reactor], SocketStream] = SocketStream,
    ) -> None:
        SocketBase.__init__(self, sock, reactor)
        is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        self.path: BoundPath | None = None
        self._reactor = reactor
        LISTENERS.add(self)
        self.acceptor: Acceptor[SocketStream] = Acceptor(
            sock, self._registration, reactor, stream_type, set_no_delay if is_tcp else None
        )

    async def accept(self) -> SocketStream:
        """Wait for a connection and accept it.

        If the system is out of descriptors or memory, it waits. Errors of connections that died in
        the queue are skipped; see `accept_errors`.

        Raises:
            ClosedResourceError: the listener was closed, before the call or during it.
            BusyResourceError: another task waits for a connection.
            OSError: another error of the system.

        Checkpoint: always. Cancellation: no connection is lost.
        """
        return await self.acceptor.accept()

    async def serve(
        self, handler: Callable[[SocketStream], Any], task_group: TaskGroup | None = None
    ) -> NoReturn:
        """Accept all connections, and start ``handler(stream)`` for each.

        Args:
            handler: an async function; it closes the stream.
            task_group: the task group of the handlers; a new one by default.

        Raises:
            ClosedResourceError: the listener was closed.

        It ends only by an exception. An error of a handler ends the task group, as everywhere in
        AnyIO. `anyio_mio.serve_tcp()` can log the error instead, and has limits and a graceful
        shutdown.
        """
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(anyio.create_task_group())
            start_soon = task_group.start_soon
            name = task_name(handler)  # once, and not for each connection

            # A function: on CPython 3.11 a partial with a keyword takes twice as long (measured).
            def start_handler(stream: SocketStream) -> None:
                start_soon(handler, stream, name=name)

            while True:
                await self.acceptor.wait_until_ready()
                self.acceptor.drain(start_handler, ACCEPT_BATCH)
        raise AssertionError  # the loop above ends only by an exception

    def statistics(self) -> ListenerStatistics:
        """Return a snapshot of the counters."""
        return self.acceptor.statistics()

    def address_in_words(self) -> str:
        """Return the address for people, such as ``"TCP 127.0.0.1:8000"``."""
        return describe_address(self._sock)

    def remove_path(self) -> None:
        """Remove the UNIX path, so that no more clients connect; queued connections stay."""
        if self.path is not None:
            self.path.remove()

    def _release(self) -> None:
        self.remove_path()
        SocketBase._release(self)


LISTENERS: Final[WeakSet[SocketListener]] = WeakSet()
"""All listeners of the process that are in use, for statistics."""
