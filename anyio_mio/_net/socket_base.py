"""What all sockets share: the socket object, and handing it out."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio._reactor.registration import Registration
    from anyio_mio._reactor.scheduler import Scheduler


class Descriptor:
    """A descriptor of ours: registered lazily, closed once.

    A subclass releases the descriptor in `_release()`, after which operations on it must fail with
    EBADF: the number itself may belong to somebody else by then.
    """

    __slots__ = ("_is_closed", "_registration", "_scheduler")

    def __init__(self, registration: Registration) -> None:
        self._scheduler: Scheduler = registration.reactor.scheduler
        self._registration = registration
        self._is_closed = False

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else f"fd={self._registration.fd}"
        return f"<{type(self).__name__} {state}>"

    async def aclose(self) -> None:
        """Close the descriptor at once, wake whoever waits on it, then pass a checkpoint.

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
            registration = self._registration
            registration.close()
            self._release()
            if registration.reactor.starving:
                for has_room in registration.reactor.starving:
                    has_room()

    def _release(self) -> None:
        """Close the descriptor itself."""
        raise NotImplementedError

    def _translate(self, error: OSError) -> Exception:
        """The exception for a failed operation; raise it ``from`` the error unless it is closed."""
        errors = self._scheduler.errors
        if self._is_closed:
            return errors.closed()
        broken = errors.broken()
        broken.__cause__ = error
        return broken


NO_WAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)
"""Makes one call non-blocking, so an accepted socket needs no ``ioctl`` of its own."""

ACCEPTED_ARE_SWITCHED: Final = sys.platform != "linux"
"""Whether accepted sockets are switched to non-blocking mode.

Windows has no MSG_DONTWAIT, and macOS's ``send()`` ignores it on some sockets."""

UNIX: Final = getattr(socket, "AF_UNIX", None)
"""The family of UNIX sockets; None on Windows, where Python has none."""

MAX_RECEIVE: Final = 65536
"""Bytes that one system call asks for at most.

From 128 KiB up, CPython's allocator maps and unmaps memory for each call, which makes small
messages five times as expensive (measured; cpython#85451).
"""


S = TypeVar("S", bound="SocketBase")


def unix_family() -> int:
    """The family of UNIX sockets.

    Raises:
        OSError: this platform has none (EAFNOSUPPORT).
    """
    if UNIX is None:
        raise OSError(
            errno.EAFNOSUPPORT,
            "this platform has no UNIX sockets\n"
            "  wrong: anyio_mio.serve_unix(...), anyio.connect_unix(...)\n"
            '  right: anyio_mio.serve_tcp(..., host="127.0.0.1"), anyio.connect_tcp(...)',
        )
    return int(UNIX)


class SocketBase(Descriptor):
    """A socket of ours, which owns the socket object that it is given.

    A subclass names one of AnyIO's socket classes after this one.
    """

    __slots__ = ("_sock",)

    def __init__(
        self, sock: socket.socket, reactor: Reactor, registration: Registration | None = None
    ) -> None:
        Descriptor.__init__(self, registration or reactor.register(sock.fileno()))
        self._sock = sock

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """AnyIO's attributes; whoever takes the raw socket may duplicate it (R5)."""
        attributes = super().extra_attributes  # type: ignore[misc] # those of AnyIO's class
        return {**attributes, SocketAttribute.raw_socket: self._hand_out}

    def _hand_out(self) -> socket.socket:
        self._registration.may_be_shared = True
        return self._raw_socket

    @property
    def _raw_socket(self) -> socket.socket:
        # Accepted sockets are blocking until somebody looks; AnyIO promises that they are not.
        sock = self._sock
        if not self._is_closed and sock.gettimeout() != 0:
            sock.setblocking(False)
        return sock

    def _release(self) -> None:
        self._sock.close()


def adopted(wrapper: S) -> S:
    """A wrapper of a socket that was made elsewhere: somebody may hold a duplicate of it (R5)."""
    wrapper._registration.may_be_shared = True
    return wrapper
