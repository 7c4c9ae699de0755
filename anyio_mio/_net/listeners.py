"""AnyIO's listener: accepts connections one at a time, or serves them in a task group."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
from anyio.abc import SocketListener as AbstractSocketListener

from anyio_mio._net.acceptor import ACCEPT_BATCH, Acceptor, HandOver, ListenerStatistics
from anyio_mio._net.arguments import task_name
from anyio_mio._net.socket_base import SocketBase, set_no_delay
from anyio_mio._net.streams import SocketStream

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from anyio_mio._net.unix_paths import BoundPath
    from anyio_mio._reactor.reactor import Reactor


class SocketListener(SocketBase, AbstractSocketListener):
    """A listening socket.

    Attributes:
        acceptor: takes its connections.
        path: the UNIX path to remove before the socket is closed, if it is ours to remove.
    """

<<<<<<< HEAD
    __slots__ = ("acceptor", "path")
=======
    accepted: int
    accepts_per_wakeup: dict[int, int]
    aborted: int
    backed_off: int
    shed: int
    open: int
    paused_until: float
    last_errno: int


HandOver: TypeAlias = Callable[[SocketStream], object]
ErrorHook: TypeAlias = Callable[[OSError, Verdict], Verdict | None]

ACCEPT_BATCH: Final = 64
"""Connections accepted for one wake-up, before the others get their turn.

Large enough that a burst costs one turn for each 64 connections, small enough that handlers of the
first ones do not wait for the last: 64 accepts take some 700 microseconds.
"""


class SocketListener(SocketBase, AbstractSocketListener):
    """A listening socket."""

    __slots__ = (
        "_aborted",
        "_accept_fd",
        "_accepted",
        "_back_off",
        "_batches",
        "_family",
        "_in_a_row",
        "_kind",
        "_last_errno",
        "_protocol",
        "_reactor",
        "_stream_type",
        "open_streams",
        "shed",
    )
>>>>>>> main

    def __init__(
        self,
        sock: socket.socket,
        reactor: Reactor,
        stream_type: Callable[[socket.socket, Reactor], SocketStream] = SocketStream,
    ) -> None:
        SocketBase.__init__(self, sock, reactor)
<<<<<<< HEAD
        is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        self.path: BoundPath | None = None
        self.acceptor: Acceptor[SocketStream] = Acceptor(
            sock, self._registration, stream_type, set_no_delay if is_tcp else None
        )
=======
        self._stream_type = stream_type
        self._reactor = reactor
        # Plain ints, read once: the properties of a socket make an enum member each time.
        self._family, self._kind, self._protocol = int(sock.family), int(sock.type), sock.proto
        self._accept_fd = sock._accept  # type: ignore[attr-defined]
        self._batches: Counter[int] = Counter()
        self._back_off = BackOff(reactor)
        self._accepted = self._aborted = self._in_a_row = self._last_errno = 0
        self.shed: int = 0
        self.open_streams: int = 0
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Linux hands it on to accepted sockets: one call here instead of one for each.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
>>>>>>> main

    async def accept(self) -> SocketStream:
        """Wait for a connection and accept it.

        Being out of descriptors or memory makes it wait, and errors of a connection that died in
        the queue are skipped; see `accept_errors`.

        Raises:
            ClosedResourceError: the listener was closed, before the call or during it.
            BusyResourceError: another task waits for a connection.
            OSError: what the system said, if none of the above.

        Checkpoint: always. Cancellation: no connection is lost.
        """
        return await self.acceptor.accept()

    async def serve(
        self, handler: Callable[[SocketStream], Any], task_group: TaskGroup | None = None
    ) -> NoReturn:
        """Accept all connections, and start ``handler(stream)`` for each.

        Args:
            handler: an async function; it closes the stream.
            task_group: where the handlers run; one of its own by default.

        Raises:
            ClosedResourceError: the listener was closed.

        It returns only by an exception. An error of a handler ends the task group, as everywhere in
        AnyIO; `anyio_mio.serve_tcp()` can log it instead, and has limits and an orderly stop.
        """
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(anyio.create_task_group())
            name = task_name(handler)  # once, and not for each connection
            hand_over: HandOver[SocketStream] = partial(task_group.start_soon, handler, name=name)  # type: ignore[arg-type]
            while True:
                await self.acceptor.wait_until_ready()
                self.acceptor.drain(hand_over, ACCEPT_BATCH)
        raise AssertionError  # the loop above ends by an exception only

    def statistics(self) -> ListenerStatistics:
        """Return a snapshot of the counters."""
        return self.acceptor.statistics()

<<<<<<< HEAD
    def remove_path(self) -> None:
        """Remove the UNIX path, so that no client comes any more; those in the queue stay."""
        if self.path is not None:
            self.path.remove()
=======
    def _set_up(self, fd: int, address: object) -> SocketStream | None:
        """The stream for an accepted descriptor; None if this connection cannot be used."""
        sock = socket.socket(self._family, self._kind, self._protocol, fd)
        if address is None:  # macOS: a connection that was gone already has no address
            self._give_up(sock)
            return None
        try:
            stream = self._stream_type(sock, self._reactor)
        except OSError as exc:  # such as an option that a dead socket does not take
            self._last_errno = exc.errno or 0
            self._give_up(sock)
            return None
        stream._listener = self
        self.open_streams += 1
        return stream
>>>>>>> main

    def _release(self) -> None:
        self.remove_path()
        SocketBase._release(self)
