"""UNIX streams: bytes or whole messages (SEQPACKET), and the descriptors sent with them.

Facts. If a peer sends descriptors, a short read proves nothing (R2). A read stops after the bytes
that descriptors came with, even if more bytes wait and no receive asked for the descriptors, and no
new edge reports the remaining bytes (measured on Linux). ``recvmsg()`` reports it on Linux: called
without room for ancillary data, it sets MSG_CTRUNC if there was some. It always sets it if the
socket asks for credentials, which limit a read in the same way (net/unix/af_unix.c,
``__scm_recv_common()``).

Decision. On Linux, `receive()` calls ``recvmsg()`` and trusts a short read without that flag. This
costs 0.6 µs more than ``recv()``; a further read that finds nothing would cost 1.6 µs. On other
systems UNIX sockets read until WouldBlock.
"""

from __future__ import annotations

import array
import os
import socket
import sys
from collections.abc import Callable, Collection
from io import IOBase
from typing import TYPE_CHECKING, Any, Final, TypeVar

from anyio.abc import UNIXSocketStream as AbstractUNIXSocketStream

from anyio_mio._net.non_blocking import UNIX
from anyio_mio._net.socket_base import NO_WAIT
from anyio_mio._net.streams import MAX_BYTES_ERROR, SocketStream
from anyio_mio._reactor.registration import WAKES_READER, WAKES_WRITER
from anyio_mio._reactor.scheduler import BYTES_PER_UNIT_SHIFT, OPERATION

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio._reactor.registration import Registration

T = TypeVar("T")


INT_SIZE: Final = array.array("i").itemsize

CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""Child processes do not inherit received descriptors (PEP 446).

macOS has no such flag, so each descriptor is switched after it was received."""


class UNIXSocketStream(SocketStream, AbstractUNIXSocketStream):
    """A connected UNIX socket that carries bytes."""

    __slots__ = ()

    def __init__(
        self, sock: socket.socket, reactor: Reactor, registration: Registration | None = None
    ) -> None:
        SocketStream.__init__(self, sock, reactor, registration)
        if sys.platform == "linux" and not reactor.emulated:  # only there MSG_CTRUNC proves it
            self._receive_some = telling(sock.recvmsg, self._registration)
        else:
            self._registration.trusts_short = False

    async def send_fds(self, message: bytes, fds: Collection[int | IOBase]) -> None:
        """Send descriptors with the first byte of ``message``, then the rest of the message.

        Args:
            message: at least one byte.
            fds: descriptors, or files; the peer gets duplicates, the caller's stay open.

        Raises:
            ValueError: ``message`` or ``fds`` is empty.
            ClosedResourceError: the stream was closed, before the call or during it.
            BrokenResourceError: the connection is broken; the cause is the OSError.
            BusyResourceError: another task is in the middle of sending.

        Checkpoint: always. Cancellation: a part may have been sent, with the descriptors.
        """
        if not message:
            raise ValueError("message must not be empty")
        if not fds:
            raise ValueError("fds must not be empty")
        if sys.platform == "win32":
            raise AssertionError("there are no UNIX sockets")
        numbers = array.array("i", [fd if isinstance(fd, int) else fd.fileno() for fd in fds])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)]
        sent = await self._write(self._sock.sendmsg, [message], rights, NO_WAIT)
        self._scheduler.budget -= sent >> BYTES_PER_UNIT_SHIFT
        await self._send_rest(memoryview(message).cast("B")[sent:])

    async def receive_fds(self, msglen: int, maxfds: int) -> tuple[bytes, list[int]]:
        """Receive bytes and the descriptors that came with them.

        Args:
            msglen: the most bytes to return.
            maxfds: the most descriptors to receive; the system closes further ones.

        Returns:
            The bytes, and descriptors that the caller owns and closes.

        Raises:
            ValueError: ``msglen`` is negative or ``maxfds`` below 1.
            EndOfStream: the peer has shut its sending side down.
            RuntimeError: ancillary data other than descriptors arrived.
            ClosedResourceError, BrokenResourceError, BusyResourceError: as for `receive()`.

        Checkpoint: always. Cancellation: nothing is lost.
        """
        if not isinstance(msglen, int) or msglen < 0:
            raise ValueError("msglen must be a non-negative integer")
        if not isinstance(maxfds, int) or maxfds < 1:
            raise ValueError("maxfds must be a positive integer")
        if sys.platform == "win32":
            raise AssertionError("there are no UNIX sockets")
        room = socket.CMSG_LEN(maxfds * INT_SIZE)
        message, ancillary, _, _ = await self._read(
            self._sock.recvmsg, msglen, room, NO_WAIT | CLOSE_ON_EXEC
        )
        if not message and not ancillary:
            raise self._scheduler.errors.end_of_stream
        self._scheduler.budget -= len(message) >> BYTES_PER_UNIT_SHIFT
        return message, descriptors_in(ancillary)

    async def _read(self, operation: Callable[..., T], *arguments: Any) -> T:
        """Spend budget, then call the operation until it does not block."""
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= OPERATION
        return await self._registration.attempt(
            WAKES_READER, self._translate, operation, *arguments
        )

    async def _write(self, operation: Callable[..., T], *arguments: Any) -> T:
        """Do the same as `_read()` for an operation that writes."""
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= OPERATION
        if self._is_sending:
            raise scheduler.errors.busy("writing to")
        self._is_sending = True
        try:
            return await self._registration.attempt(
                WAKES_WRITER, self._translate, operation, *arguments
            )
        finally:
            self._is_sending = False


class UNIXPacketStream(UNIXSocketStream):
    """A connected UNIX socket of kind SEQPACKET: each send and each receive is one message.

    The part of a message that exceeds ``max_bytes`` is lost, so a receive asks the system for
    exactly that many bytes. An empty message looks like the end of the stream, so `send()` does not
    send it.
    """

    __slots__ = ()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receive one message; see `SocketStream.receive()`."""
        if max_bytes < 1:
            raise ValueError(MAX_BYTES_ERROR)
        message = await self._read(self._sock.recv, max_bytes, NO_WAIT)
        if not message:
            raise self._scheduler.errors.end_of_stream
        self._scheduler.budget -= len(message) >> BYTES_PER_UNIT_SHIFT
        return message

    async def send(self, item: bytes) -> None:
        """Send one message, as a whole or not at all; see `SocketStream.send()`."""
        if item:
            sent = await self._write(self._sock.send, item, NO_WAIT)
            self._scheduler.budget -= sent >> BYTES_PER_UNIT_SHIFT
        else:
            await self._scheduler.checkpoint()


def telling(
    recvmsg: Callable[[int, int, int], tuple[bytes, object, int, object]],
    registration: Registration,
) -> Callable[[int, int], bytes]:
    """Return a ``recv()`` that notes in ``registration`` whether a short read proves anything."""

    def receive_some(max_bytes: int, flags: int) -> bytes:
        data, _, seen, _ = recvmsg(max_bytes, 0, flags)
        registration.trusts_short = not seen & socket.MSG_CTRUNC
        return data

    return receive_some


def stream_type(sock: socket.socket) -> type[SocketStream]:
    """Return the class of streams for a connected socket, or for the streams of a listener."""
    if sock.family != UNIX:
        return SocketStream
    return UNIXSocketStream if sock.type == socket.SOCK_STREAM else UNIXPacketStream


def descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors in what ``recvmsg()`` returned.

    Raises:
        RuntimeError: there is other ancillary data; the descriptors are then closed.
    """
    if sys.platform == "win32":
        return []  # it has no UNIX sockets
    numbers = array.array("i")
    strangers = []
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(data[: len(data) - len(data) % INT_SIZE])
        else:
            strangers.append((level, kind))
    if strangers:
        for number in numbers:
            os.close(number)
        raise RuntimeError(
            f"expected descriptors as ancillary data, received (level, type) {strangers}.\n"
            "  wrong: setsockopt(SOL_SOCKET, SO_PASSCRED, 1) and then receive_fds()\n"
            "  right: receive_fds() on a socket without options that add ancillary data"
        )
    if not CLOSE_ON_EXEC:
        for number in numbers:
            os.set_inheritable(number, False)
    return list(numbers)
