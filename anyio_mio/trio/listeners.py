"""Listeners with Trio's interface."""

from __future__ import annotations

import errno
import socket as stdlib_socket
from contextlib import suppress
from typing import Final, final

import trio

from anyio_mio._reactor.registration import WAKES_READER
from anyio_mio.trio.hub import current_hub
from anyio_mio.trio.registration import HostedRegistration
from anyio_mio.trio.streams import (
    CLOSED_ERRNOS,
    SocketStream,
    require_trio_stream_socket,
    set_stream_options,
    take_over,
    trusts_short_reads,
)

ONE_CONNECTION: Final = frozenset(
    getattr(errno, name)
    for name in (
        *("EPERM", "ECONNABORTED", "ECONNRESET", "EPROTO", "ETIMEDOUT", "EOPNOTSUPP"),
        *("ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENONET", "ENOSR"),
        *("ENOPROTOOPT", "ESOCKTNOSUPPORT", "EPROTONOSUPPORT"),
    )
    if hasattr(errno, name)
)
"""Errors of one connection that died while it waited; Trio's list."""


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

    __slots__ = (
        "__weakref__",
        "_accept_fd",
        "_family",
        "_hub",
        "_kind",
        "_protocol",
        "_registration",
        "_sock",
        "_trio_socket",
        "_trusts_short",
    )

    def __init__(self, socket: trio.socket.SocketType) -> None:
        require_trio_stream_socket(socket, "SocketListener")
        require_listening(socket)
        self._hub = current_hub()
        self._sock = take_over(socket)
        # Linux hands the options on to the sockets that are accepted: two calls here instead of two
        # for each of them.
        set_stream_options(self._sock)
        self._registration = HostedRegistration(self._hub, self._sock)
        self._trio_socket: trio.socket.SocketType | None = None
        # Plain ints, read once: the properties of a socket make an enum member each time.
        self._family, self._kind = int(self._sock.family), int(self._sock.type)
        self._protocol = self._sock.proto
        self._trusts_short = trusts_short_reads(self._sock)
        self._accept_fd = self._sock._accept  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        fd = self._sock.fileno()
        return f"<anyio_mio.trio.SocketListener {'closed' if fd == -1 else f'fd={fd}'}>"

    @property
    def socket(self) -> trio.socket.SocketType:
        """The listener's socket as Trio's object; from here on it waits where Trio's own do."""
        if self._trio_socket is None:
            self._trio_socket = trio.socket.from_stdlib_socket(self._sock)
            self._registration.share()
        return self._trio_socket

    async def accept(self) -> SocketStream:
        """Wait for a connection and accept it.

        Raises:
            trio.ClosedResourceError: the listener was closed, before or meanwhile.
            trio.BusyResourceError: another task waits for a connection.
            OSError: what the system said, if it concerns more than one connection.

        Checkpoint: always. Cancellation: no connection is lost.
        """
        while True:
            await self._wait_until_ready()
            stream = self._accept_nowait()
            if stream is not None:
                return stream

    async def aclose(self) -> None:
        """Close the socket at once and wake whoever waits on it. Checkpoint: always."""
        self._close()
        await trio.lowlevel.checkpoint()

    def _close(self) -> None:
        if self._sock.fileno() != -1:
            self._registration.close()
            self._sock.close()

    async def _wait_until_ready(self) -> None:
        """Wait until accepting may not block. Always a checkpoint."""
        registration = self._registration
        if registration.ready & WAKES_READER:
            await trio.lowlevel.checkpoint()
        while not registration.ready & WAKES_READER:
            await registration.wait_readable()

    def _accept_nowait(self) -> SocketStream | None:
        """Accept one connection; None if none waits."""
        while True:
            try:
                fd, _ = self._accept_fd()
            except BlockingIOError:
                self._registration.receive_would_block()
                return None
            except OSError as exc:
                if exc.errno in CLOSED_ERRNOS:
                    raise trio.ClosedResourceError from None
                if exc.errno not in ONE_CONNECTION:
                    raise
            else:
                sock = stdlib_socket.socket(self._family, self._kind, self._protocol, fd)
                return SocketStream._of(sock, self._hub, self._trusts_short)


def require_listening(socket: trio.socket.SocketType) -> None:
    """Refuse a socket that does not listen; not every system can tell."""
    with suppress(OSError):
        if not socket.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN):
            raise ValueError("SocketListener requires a listening socket")
