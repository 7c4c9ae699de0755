"""TCP streams: bytes in both directions over a connected socket.

`receive()` and `send()` are the hottest code of the project. Both have the same steps: spend
budget, wait if the last operation saw WouldBlock, make the system call, and draw the conclusion
from a short result (R2).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from anyio.abc import SocketStream as AbstractSocketStream

from anyio_mio._net.socket_base import MAX_RECEIVE, MAX_SEND, NO_WAIT, SocketBase
from anyio_mio._reactor.registration import (
    READ_IS_FINAL,
    READ_WOULD_BLOCK,
    WAKES_READER,
    WAKES_WRITER,
    WRITE_WOULD_BLOCK,
)
from anyio_mio._reactor.scheduler import BYTES_PER_UNIT_SHIFT, FREE_BYTES, OPERATION
from anyio_mio.poll._sys.bits import READABLE

if TYPE_CHECKING:
    from anyio_mio._net.socket_base import CountsStreams
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio._reactor.registration import Registration

NOT_READABLE: Final = ~READABLE
MAX_BYTES_ERROR = "max_bytes must be a positive integer"


class SocketStream(SocketBase, AbstractSocketStream):
    """A connected TCP socket, or a UNIX socket of a kind that carries no descriptors."""

    __slots__ = ("_accepted_by", "_is_sending", "_peer", "_receive_some", "_send_some")

    def __init__(
        self, sock: socket.socket, reactor: Reactor, registration: Registration | None = None
    ) -> None:
        SocketBase.__init__(self, sock, reactor, registration)
        self._receive_some: Callable[[int, int], bytes] = sock.recv
        self._send_some = sock.send
        self._is_sending = False
        self._accepted_by: CountsStreams | None = None
        self._peer: Any = None

    async def receive(self, max_bytes: int = 65536) -> bytes:  # noqa: C901, PLR0912 - hot: one frame
        """Receive what has arrived, waiting for the first byte.

        Args:
            max_bytes: the most to return; at least 1.

        Raises:
            ValueError: ``max_bytes`` is below 1.
            EndOfStream: the peer has shut its sending side down.
            ClosedResourceError: the stream was closed, before the call or during it.
            BrokenResourceError: the connection is broken; the cause is the OSError.
            BusyResourceError: another task waits for data.

        Checkpoint: always. Cancellation: no byte is lost.
        """
        if max_bytes < 1:
            raise ValueError(MAX_BYTES_ERROR)
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= OPERATION
        if max_bytes > MAX_RECEIVE:
            max_bytes = MAX_RECEIVE
        registration = self._registration
        receive_some = self._receive_some  # a call of the attribute would look it up more slowly
        while True:
            if not registration.ready & WAKES_READER:
                await registration.wait_readable()
            try:
                data = receive_some(max_bytes, NO_WAIT)
            except BlockingIOError:
                registration.ready &= READ_WOULD_BLOCK
                continue
            except OSError as exc:
                raise self._translate(exc) from exc
            size = len(data)
            if size > FREE_BYTES:
                scheduler.budget -= size >> BYTES_PER_UNIT_SHIFT
            if size < max_bytes:
                if not data:
                    raise scheduler.errors.end_of_stream
                if not registration.ready & READ_IS_FINAL and registration.trusts_short:
                    registration.ready &= NOT_READABLE
            return data

    async def send(self, item: bytes) -> None:
        """Send all of ``item``.

        Args:
            item: bytes, or any object with a contiguous buffer.

        Raises:
            ClosedResourceError: the stream was closed, before the call or during it.
            BrokenResourceError: the connection is broken; the cause is the OSError.
            BusyResourceError: another task is in the middle of sending.

        Checkpoint: always. Cancellation: a part may have been sent, as much as the system took.
        """
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= OPERATION
        if self._is_sending:
            raise scheduler.errors.busy("writing to")
        registration = self._registration
        size = len(item)  # items, not bytes, in some buffers: `_send_rest()` converts them
        if registration.ready & WAKES_WRITER and size <= MAX_SEND:
            send_some = self._send_some
            try:
                sent = send_some(item, NO_WAIT)
            except BlockingIOError:
                registration.ready &= WRITE_WOULD_BLOCK
                sent = 0
            except OSError as exc:
                raise self._translate(exc) from exc
            if size > FREE_BYTES:
                scheduler.budget -= sent >> BYTES_PER_UNIT_SHIFT
            if sent == size and item.__class__ is bytes:
                return
        else:
            sent = 0
        await self._send_rest(memoryview(item).cast("B")[sent:])

    async def send_eof(self) -> None:
        """Shut the sending side down; the peer sees the end of the stream. Not a checkpoint.

        It is no error if the peer is gone already, or if it is called again.
        """
        if not self._is_closed:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as exc:
                if exc.errno not in (errno.ENOTCONN, errno.EPIPE, errno.ECONNRESET):
                    raise
            self._registration.try_writing_again()

    def _peer_name(self) -> Any:
        """Return the peer's address, which stays the same as long as the stream lives."""
        if self._peer is None:
            self._peer = SocketBase._peer_name(self)
        return self._peer

    def _release(self) -> None:
        if self._accepted_by is not None:
            self._accepted_by.open_streams -= 1
        self._sock.close()

    async def _send_rest(self, view: memoryview) -> None:
        """Send the part of a payload that the first system call did not take, piece by piece."""
        scheduler, registration = self._scheduler, self._registration
        self._is_sending = True
        try:
            while view:
                if scheduler.budget < 0:  # at 0 it has paid for this piece
                    await scheduler.checkpoint()
                sent = await registration.attempt(
                    WAKES_WRITER, self._translate, self._send_some, view[:MAX_SEND], NO_WAIT
                )
                scheduler.budget -= OPERATION + (sent >> BYTES_PER_UNIT_SHIFT)
                view = view[sent:]
        finally:
            self._is_sending = False
