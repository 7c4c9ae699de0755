"""What all sockets share: the descriptor, its registration, and closing."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio._reactor.registration import Registration
    from anyio_mio._reactor.scheduler import Scheduler

NO_WAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)
"""Makes one call non-blocking, so an accepted socket needs no ``ioctl`` of its own."""

MAX_RECEIVE: Final = 65536
"""Bytes that one system call asks for at most.

From 128 KiB up, CPython's allocator maps and unmaps memory for each call, which makes small
messages five times as expensive (measured; cpython#85451).
"""


class SocketBase:
    """A socket of ours: registered lazily, closed once.

    It owns the socket that it is given. ``raw_socket`` handed out to users is switched to
    non-blocking mode first, as AnyIO promises.
    """

    __slots__ = ("_is_closed", "_registration", "_scheduler", "_sock")

    def __init__(
        self, sock: socket.socket, reactor: Reactor, registration: Registration | None = None
    ) -> None:
        self._sock = sock
        self._scheduler: Scheduler = reactor.scheduler
        self._registration = registration or reactor.register(sock.fileno())
        self._is_closed = False

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else f"fd={self._registration.fd}"
        return f"<{type(self).__name__} {state}>"

    @property
    def _raw_socket(self) -> socket.socket:
        sock = self._sock
        if not self._is_closed and sock.gettimeout() != 0:
            sock.setblocking(False)
        return sock

    async def aclose(self) -> None:
        """Close the socket at once, wake whoever waits on it, then pass a checkpoint.

        Safe to call again, and while cancelled: the descriptor is released in any case.
        """
        self._close()
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= 1

    def _close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._registration.close()
            self._sock.close()

    def _translate(self, error: OSError) -> Exception:
        """The exception for a failed operation; raise it ``from`` the error unless it is closed."""
        errors = self._scheduler.errors
        if self._is_closed:
            return errors.closed()
        broken = errors.broken()
        broken.__cause__ = error
        return broken
