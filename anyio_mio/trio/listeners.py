"""Listeners with Trio's interface, around mio's acceptor."""

from __future__ import annotations

import socket as stdlib_socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, final

import trio

from anyio_mio._net.accept_errors import AcceptErrorKind
from anyio_mio._net.acceptor import Acceptor
from anyio_mio.trio.hub import current_hub
from anyio_mio.trio.registration import HostedRegistration
from anyio_mio.trio.streams import (
    SocketStream,
    require_trio_stream_socket,
    set_stream_options,
    take_over,
    trusts_short_reads,
)

if TYPE_CHECKING:
    from anyio_mio._net.acceptor import ListenerStatistics
    from anyio_mio._net.unix_paths import BoundPath


@final
class SocketListener(trio.abc.Listener[SocketStream]):
    """A listening TCP or UNIX socket; `trio.SocketListener` on a cached readiness.

    Args:
        socket: a Trio socket, of type ``SOCK_STREAM`` and listening. The listener takes it over:
            the object behaves as if it had been closed, and the attribute `socket` is another one.

    Raises:
        TypeError: it is not a Trio socket.
        ValueError: it is not of type ``SOCK_STREAM``, or does not listen.
        RuntimeError: outside ``trio.run``.
    """

    __slots__ = ("__weakref__", "_acceptor", "_path", "_registration", "_sock", "_trio_socket")

    def __init__(self, socket: trio.socket.SocketType) -> None:
        require_trio_stream_socket(socket, "SocketListener")
        require_listening(socket)
        hub = current_hub()
        self._sock = sock = take_over(socket)
        self._path: BoundPath | None = None
        self._registration = HostedRegistration(hub, sock.fileno())
        self._registration.sock = sock
        self._registration.yields_first = False
        self._acceptor: Acceptor[SocketStream] = Acceptor(
            sock,
            self._registration,
            hub,
            partial(SocketStream._of, trusts_short=trusts_short_reads(sock)),
            set_stream_options,
        )
        self._trio_socket: trio.socket.SocketType | None = None

    def __repr__(self) -> str:
        fd = self._sock.fileno()
        return f"<anyio_mio.trio.SocketListener {'closed' if fd == -1 else f'fd={fd}'}>"

    @property
    def socket(self) -> trio.socket.SocketType:
        """The listener's socket as Trio's object; the listener then waits where Trio's own do."""
        if self._trio_socket is None:
            self._trio_socket = trio.socket.from_stdlib_socket(self._sock)
            self._registration.share()
        return self._trio_socket

    async def accept(self) -> SocketStream:
        """Wait for a connection and accept it.

        Raises:
            trio.ClosedResourceError: the listener was closed, before the call or during it.
            trio.BusyResourceError: another task waits for a connection.
            OSError: an error of the system that concerns more than one connection.

        Checkpoint: always. Cancellation: no connection is lost.
        """
        return await self._acceptor.accept(raise_at_once)

    async def aclose(self) -> None:
        """Close the socket at once and wake the task that waits on it.

        A listener of `open_unix_listener()` removes its path, unless another server replaced it.

        Checkpoint: always.
        """
        self._close()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> ListenerStatistics:
        """Return what the listener has done so far."""
        return self._acceptor.statistics()

    def _close(self) -> None:
        sock = self._sock
        if sock.fileno() != -1:
            registration = self._registration
            registration.close()
            if self._path is not None:
                self._path.remove()
            try:
                sock.close()
            finally:
                if registration.hub.starving:
                    registration.hub.has_room()


def raise_at_once(_error: OSError, kind: AcceptErrorKind) -> AcceptErrorKind:
    """Return the kind for ``accept()``: as in Trio it does not back off, but raises."""
    return AcceptErrorKind.RAISE if kind is AcceptErrorKind.BACK_OFF else kind


def require_listening(socket: trio.socket.SocketType) -> None:
    """Raise ValueError if the socket does not listen and the system can tell."""
    with suppress(OSError):
        if not socket.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN):
            raise ValueError("SocketListener requires a listening socket")
