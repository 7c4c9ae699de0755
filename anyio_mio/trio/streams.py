"""Socket streams with Trio's interface, and when their operations yield.

In Trio every operation yields, even one that could finish at once, and that is a large part of its
cost (python-trio/trio#1595, #1757). Here every operation checks for cancellation, and

* each `receive_some()` is a schedule point: it waits, or it yields once. The next
  `SENDS_PER_RECEIVE` sends on the same stream are then free;
* a free `send_all()` yields only if it has to wait. Any other yields once. A send of many bytes
  counts as several, and yields after each `MAX_SEND` bytes;
* in a handler that the serve loop has started, the first receive is free, because the task has just
  started. After a receive, closing the stream is free too.

So a task sends the answer in the step that received the request, a task that only sends yields each
time, and no task does more than `SENDS_PER_RECEIVE` sends in a row.
"""

from __future__ import annotations

import errno
import socket as stdlib_socket
from contextlib import suppress
from typing import Any, Final, final

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from anyio_mio._net.non_blocking import socket_object
from anyio_mio._net.socket_base import MAX_RECEIVE, NO_WAIT, CountsStreams
from anyio_mio._reactor.registration import (
    READ_IS_FINAL,
    WAKES_READER,
    WAKES_WRITER,
    WRITE_WOULD_BLOCK,
)
from anyio_mio._reactor.scheduler import BYTES_PER_UNIT_SHIFT, FREE_BYTES
from anyio_mio.poll._sys.bits import READABLE
from anyio_mio.trio.hub import Hub, current_hub
from anyio_mio.trio.registration import HostedRegistration

SENDS_PER_RECEIVE: Final = 16

NOT_SENT_LOW_WATER: Final = 2**14
"""With more unsent bytes in the system, a socket counts as not writable; the value is Trio's."""

MAX_SEND: Final = 262144
"""Bytes; half of `_net.socket_base.MAX_SEND`. With `NOT_SENT_LOW_WATER`, larger pieces cost 16 %
more for each byte, and a quiet client waits longer (measured: three downloads).
"""

CLOSED_ERRNOS: Final = (errno.EBADF, errno.ENOTSOCK)

IS_SENDING: Final = "another task is currently sending data on this SocketStream"
EOF_SENT: Final = "can't send data after sending EOF"
ALREADY_CLOSED: Final = "this socket was already closed"


def set_stream_options(sock: stdlib_socket.socket | trio.socket.SocketType) -> None:
    """Send small messages at once and keep the kernel's buffer short, as Trio does."""
    if sock.family == getattr(stdlib_socket, "AF_UNIX", None):
        return
    with suppress(OSError):
        sock.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, True)
    if hasattr(stdlib_socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):
            sock.setsockopt(
                stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NOTSENT_LOWAT, NOT_SENT_LOW_WATER
            )


def trusts_short_reads(sock: stdlib_socket.socket) -> bool:
    """Return whether a short read proves that no byte is left (R2).

    It does for TCP. A read from a UNIX stream also stops where descriptors were sent along.
    """
    return sock.family != getattr(stdlib_socket, "AF_UNIX", None)


def translate(error: OSError) -> Exception:
    """Return Trio's exception for a failed operation; raise it ``from`` the error."""
    if error.errno in CLOSED_ERRNOS:
        return trio.ClosedResourceError(ALREADY_CLOSED)
    return trio.BrokenResourceError(f"socket connection broken: {error}")


def take_over(socket: trio.socket.SocketType) -> stdlib_socket.socket:
    """Take the socket out of Trio's object, which then behaves as if it was closed.

    Wrapping a socket takes ownership of it: one object waits on it and closes it.
    """
    family, kind, protocol = socket.family, socket.type, socket.proto
    trio.lowlevel.notify_closing(socket)
    return socket_object(family, kind, protocol, socket.detach())


@final
class SocketStream(trio.abc.HalfCloseableStream):
    """A connected TCP or UNIX socket; `trio.SocketStream` on a cached readiness.

    Args:
        socket: a Trio socket, of type ``SOCK_STREAM`` and connected. The stream takes it over: the
            object behaves as if it had been closed, and the attribute `socket` is another one.

    Raises:
        TypeError: it is not a Trio socket.
        ValueError: it is not of type ``SOCK_STREAM``.
        RuntimeError: outside ``trio.run``.
    """

    __slots__ = (
        "__weakref__",
        "_accepted_by",
        "_has_sent_eof",
        "_is_first_step",
        "_is_sending",
        "_is_served",
        "_receive_some",
        "_registration",
        "_send_some",
        "_sends_left",
        "_sock",
        "_trio_socket",
    )

    def __init__(self, socket: trio.socket.SocketType) -> None:
        require_trio_stream_socket(socket, "SocketStream")
        hub = current_hub()
        has_sent_eof = socket.did_shutdown_SHUT_WR
        sock = take_over(socket)
        set_stream_options(sock)
        self._set_up(sock, hub, trusts_short_reads(sock))
        self._has_sent_eof = has_sent_eof

    @classmethod
    def _of(cls, sock: stdlib_socket.socket, hub: Hub, trusts_short: bool) -> SocketStream:
        """Return a stream for a connected socket that no other object owns. Private."""
        stream = cls.__new__(cls)
        stream._set_up(sock, hub, trusts_short)
        return stream

    def _set_up(self, sock: stdlib_socket.socket, hub: Hub, trusts_short: bool) -> None:
        self._sock = sock
        self._registration = HostedRegistration(hub, sock.fileno())
        self._registration.sock = sock
        self._registration.trusts_short &= trusts_short
        self._receive_some = sock.recv
        self._send_some = sock.send
        self._sends_left = 0
        self._is_sending = self._has_sent_eof = False
        self._is_served = self._is_first_step = False
        self._accepted_by: CountsStreams | None = None
        self._trio_socket: trio.socket.SocketType | None = None

    def _hand_to_handler(self) -> None:
        """Note that the serve loop starts a task for this stream, so the first receive is free."""
        self._is_served = self._is_first_step = True

    def __repr__(self) -> str:
        fd = self._sock.fileno()
        return f"<anyio_mio.trio.SocketStream {'closed' if fd == -1 else f'fd={fd}'}>"

    @property
    def socket(self) -> trio.socket.SocketType:
        """The stream's socket as Trio's object, to ask for names, to set options, to close.

        The program may then close the socket, or wait for it, through Trio. So from the first use
        of this attribute on, the stream waits where Trio's own sockets wait, and costs the same.
        """
        if self._trio_socket is None:
            self._trio_socket = trio.socket.from_stdlib_socket(self._sock)
            self._registration.share()
        return self._trio_socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: C901, PLR0912 - hot
        """Receive what has arrived, waiting for the first byte.

        Args:
            max_bytes: the most bytes to return, at least 1; None for the most, which is 64 KiB.

        Returns:
            The bytes; none at the end of the stream.

        Raises:
            ValueError: ``max_bytes`` is below 1.
            trio.ClosedResourceError: the stream was closed, before the call or during it.
            trio.BrokenResourceError: the connection is broken; the cause is the OSError.
            trio.BusyResourceError: another task waits for data.

        Checkpoint: always. Cancellation: no byte is lost.
        """
        if max_bytes is None:
            max_bytes = MAX_RECEIVE
        elif max_bytes < 1:
            raise ValueError("max_bytes must be >= 1")
        elif max_bytes > MAX_RECEIVE:
            max_bytes = MAX_RECEIVE
        registration = self._registration
        has_waited = False
        if registration.ready & WAKES_READER:
            await checkpoint_if_cancelled()
        while True:
            if not registration.ready & WAKES_READER:
                await registration.wait_readable()
                has_waited = True
            try:
                data = self._receive_some(max_bytes, NO_WAIT)
                break
            except BlockingIOError:
                registration.receive_would_block()
            except OSError as exc:
                raise translate(exc) from exc
        is_short = 0 < len(data) < max_bytes and registration.trusts_short
        if is_short and not registration.ready & READ_IS_FINAL:
            registration.ready &= ~READABLE
        self._sends_left = SENDS_PER_RECEIVE
        if not has_waited:
            if self._is_first_step:
                self._is_first_step = False
            else:
                await cancel_shielded_checkpoint()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:  # noqa: C901 - hot
        """Send all of ``data``.

        Args:
            data: bytes, or any object with a contiguous buffer.

        Raises:
            trio.ClosedResourceError: the stream was closed, before the call or during it, or its
                sending side by `send_eof()`.
            trio.BrokenResourceError: the connection is broken; the cause is the OSError.
            trio.BusyResourceError: another task is sending.

        Checkpoint: of cancellation, always; it yields when it waits, and otherwise now and then.
        Cancellation: a part may have been sent, as much as the system took.
        """
        if self._has_sent_eof:
            raise trio.ClosedResourceError(EOF_SENT)
        if self._is_sending:
            raise trio.BusyResourceError(IS_SENDING)
        await checkpoint_if_cancelled()
        registration = self._registration
        size = len(data)  # of buffers other than bytes it may count items: `_send_rest()` knows
        if data.__class__ is bytes and registration.ready & WAKES_WRITER and size <= MAX_SEND:
            try:
                sent = self._send_some(data, NO_WAIT)
            except BlockingIOError:
                registration.ready &= WRITE_WOULD_BLOCK
                sent = 0
            except OSError as exc:
                raise translate(exc) from exc
            if size > FREE_BYTES:
                self._sends_left -= sent >> BYTES_PER_UNIT_SHIFT
            if sent < size:
                await self._send_rest(memoryview(data)[sent:])
        else:
            with memoryview(data) as view, view.cast("B") as octets:
                await self._send_rest(octets)
        if self._sends_left > 0:
            self._sends_left -= 1
        else:
            await cancel_shielded_checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the system accepts more data.

        Raises:
            trio.ClosedResourceError: the stream was closed, before the call or during it.
            trio.BusyResourceError: another task is sending.

        Checkpoint: always.
        """
        if self._is_sending:
            raise trio.BusyResourceError(IS_SENDING)
        if self._sock.fileno() == -1:
            raise trio.ClosedResourceError(ALREADY_CLOSED)
        self._is_sending = True
        try:
            # The cached readiness is a hint only, so ask the system.
            await self._registration.wait_writable_directly()
        finally:
            self._is_sending = False

    async def send_eof(self) -> None:
        """Shut the sending side down; the peer sees the end of the stream.

        Raises:
            trio.ClosedResourceError: the stream was closed before.
            trio.BrokenResourceError: the connection is broken; the cause is the OSError.
            trio.BusyResourceError: another task is sending.

        Checkpoint: always.
        """
        if self._is_sending:
            raise trio.BusyResourceError(IS_SENDING)
        self._is_sending = True
        try:
            await trio.lowlevel.checkpoint()
            if not self._has_sent_eof:
                self._sock.shutdown(stdlib_socket.SHUT_WR)
                self._has_sent_eof = True
        except OSError as exc:
            raise translate(exc) from exc
        finally:
            self._is_sending = False

    async def aclose(self) -> None:
        """Close the socket at once and wake the tasks that wait on it.

        Safe to call again, and while cancelled: the descriptor is released in any case.

        Checkpoint: it always checks for cancellation. It yields too, except in a handler that the
        serve loop started, after a receive.
        """
        self._close()
        if self._is_served and self._sends_left > 0:
            self._sends_left -= 1
            await checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()

    def setsockopt(
        self,
        level: int,
        option: int,
        value: int | bytes | bytearray | memoryview | None,
        length: int | None = None,
    ) -> None:
        """Set an option of the socket; see `socket.socket.setsockopt`."""
        if (value is None) != (length is not None):
            raise TypeError(
                "either a value, or None with a length\n"
                "  wrong: stream.setsockopt(level, option, None)\n"
                "  right: stream.setsockopt(level, option, 1)"
            )
        arguments: tuple[Any, ...] = (value,) if length is None else (value, length)
        self._sock.setsockopt(level, option, *arguments)

    def getsockopt(self, level: int, option: int, buffersize: int = 0) -> int | bytes:
        """Ask for an option of the socket; see `socket.socket.getsockopt`."""
        if buffersize == 0:
            return self._sock.getsockopt(level, option)
        return self._sock.getsockopt(level, option, buffersize)

    def _close(self) -> None:
        """Close the socket, unless it is closed. Not a checkpoint."""
        sock = self._sock
        if sock.fileno() != -1:
            registration = self._registration
            registration.close()
            if self._accepted_by is not None:
                self._accepted_by.open_streams -= 1
            try:
                sock.close()
            finally:
                if registration.hub.starving:
                    registration.hub.has_room()

    async def _send_rest(self, view: memoryview) -> None:
        """Send the rest after the first system call, or a buffer that is not bytes."""
        registration = self._registration
        if self._sock.fileno() == -1:
            raise trio.ClosedResourceError(ALREADY_CLOSED)
        self._is_sending = True
        try:
            while view:
                if not registration.ready & WAKES_WRITER:
                    self._sends_left = max(self._sends_left, 1)  # it waits, so this send is free
                sent = await registration.attempt(
                    WAKES_WRITER, translate, self._send_some, view[:MAX_SEND], NO_WAIT
                )
                view = view[sent:]
                self._sends_left -= sent >> BYTES_PER_UNIT_SHIFT
                if view and self._sends_left <= 0:
                    self._sends_left = 1  # this checkpoint yields, so the next piece is free
                    await checkpoint()
        finally:
            self._is_sending = False


def require_trio_stream_socket(socket: object, wrapper: str) -> None:
    """Raise the errors of `trio.SocketStream` and `trio.SocketListener`, with their messages."""
    if not isinstance(socket, trio.socket.SocketType):
        raise TypeError(f"{wrapper} requires a Trio socket object")
    if socket.type != stdlib_socket.SOCK_STREAM:
        raise ValueError(f"{wrapper} requires a SOCK_STREAM socket")
