"""What all sockets share: the socket object, and handing it out."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from anyio.abc import SocketAttribute

from anyio_mio._net.descriptor import Descriptor

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio._reactor.registration import Registration

NO_WAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)
"""Makes one call non-blocking, so an accepted socket needs no ``ioctl`` of its own."""

MAX_RECEIVE: Final = 65536
"""Bytes that one system call asks for at most.

From 128 KiB up, CPython's allocator maps and unmaps memory for each call, which makes small
messages five times as expensive (measured; cpython#85451).
"""


S = TypeVar("S", bound="SocketBase")


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
