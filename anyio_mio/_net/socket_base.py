"""The base classes of our descriptors and sockets: closing, errors, AnyIO's attributes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, final

from anyio.abc import SocketAttribute

from anyio_mio._reactor.scheduler import OPERATION

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio._reactor.registration import Registration
    from anyio_mio._reactor.scheduler import Scheduler


class Descriptor:
    """A descriptor of ours: registered lazily, closed once.

    A subclass releases the descriptor in `_release()`. After that its operations must fail with
    EBADF, because the number may belong to another file by then.
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
        """Close the descriptor at once, wake the tasks that wait on it, then pass a checkpoint.

        Safe to call again, and while cancelled: the descriptor is released in any case.

        Raises:
            OSError: the system's close failed: EBADF, for instance, if the program has closed the
                descriptor by its number. The stream is closed all the same.
        """
        self._close()
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= OPERATION

    def _close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            registration = self._registration
            registration.close()
            try:
                self._release()
            finally:
                if registration.reactor.starving:
                    registration.reactor.has_room()

    def _release(self) -> None:
        """Close the descriptor itself."""
        raise NotImplementedError

    def _translate(self, error: OSError) -> Exception:
        """Return the exception to raise for a failed operation."""
        errors = self._scheduler.errors
        if self._is_closed:
            return errors.closed()
        broken = errors.broken()
        broken.__cause__ = error
        return broken


NO_WAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)
"""Makes one call non-blocking, so an accepted socket needs no ``ioctl`` of its own."""

MAX_RECEIVE: Final = 65536
"""Bytes that one system call asks for at most.

From 128 KiB up, CPython's allocator maps and unmaps memory for each call, which makes small
messages five times as expensive (measured; cpython#85451).
"""

MAX_SEND: Final = 524288
"""Bytes that one system call gets at most.

A call with a buffer of megabytes would make the other tasks wait for milliseconds. With half of
this limit, a download costs 40 % more CPU time for each byte. With four times the limit it costs
the same, and a quiet client beside three downloads waits longer (measured).
"""

S = TypeVar("S", bound="SocketBase")


class CountsStreams(Protocol):
    """The acceptor of a stream, as the stream knows it: closing the stream counts down.

    Attributes:
        open_streams: how many of the accepted streams are open.
    """

    open_streams: int


class SocketBase(Descriptor):
    """A socket of ours. It owns the socket object that it gets.

    A subclass also inherits from one of AnyIO's socket classes, after this one.
    """

    __slots__ = ("_sock",)

    def __init__(
        self, sock: socket.socket, reactor: Reactor, registration: Registration | None = None
    ) -> None:
        Descriptor.__init__(self, registration or reactor.register(sock.fileno()))
        self._sock = sock

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """AnyIO's attributes; each is looked up when it is asked for."""
        return SocketAttributes(self)

    @property
    def _raw_socket(self) -> socket.socket:
        """The socket for the program, which may duplicate it (R5), in non-blocking mode."""
        registration = self._registration
        if not registration.may_be_shared:
            registration.may_be_shared = True
            if not self._is_closed:
                self._sock.setblocking(False)  # an accepted descriptor is in blocking mode
        return self._sock

    def _peer_name(self) -> Any:
        """Return the other end's address.

        Raises:
            OSError: there is none, or it is gone.
        """
        return convert_address(self._sock.getpeername())

    def _release(self) -> None:
        self._sock.close()


@final
class SocketAttributes(Mapping[Any, Callable[[], Any]]):
    """AnyIO's attributes of a socket: only the requested attribute costs a system call.

    A library asks for the raw socket of each idle connection for each request (httpcore does), so
    this must not build the whole table, and must not ask the system for the peer's name.
    """

    __slots__ = ("_owner",)

    def __init__(self, owner: SocketBase) -> None:
        self._owner = owner

    def __getitem__(self, attribute: Any) -> Callable[[], Any]:
        owner = self._owner
        if attribute is RAW_SOCKET:
            return partial(getattr, owner, "_raw_socket")
        getter = GETTERS[attribute]
        self._require(attribute)
        return partial(getter, owner)

    def __iter__(self) -> Iterator[Any]:
        for attribute in GETTERS:
            with suppress(KeyError):
                self._require(attribute)
                yield attribute

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _require(self, attribute: Any) -> None:
        """Raise KeyError for an attribute that this socket does not have."""
        owner = self._owner
        if attribute in IP_ATTRIBUTES and owner._sock.family not in IP_FAMILIES:
            raise KeyError(attribute)
        if attribute in PEER_ATTRIBUTES:
            try:
                owner._peer_name()
            except OSError:
                raise KeyError(attribute) from None


RAW_SOCKET: Final = SocketAttribute.raw_socket

GETTERS: Final[dict[Any, Callable[[SocketBase], Any]]] = {
    SocketAttribute.raw_socket: lambda owner: owner._raw_socket,
    SocketAttribute.family: lambda owner: owner._sock.family,
    SocketAttribute.local_address: lambda owner: convert_address(owner._sock.getsockname()),
    SocketAttribute.local_port: lambda owner: owner._sock.getsockname()[1],
    SocketAttribute.remote_address: lambda owner: owner._peer_name(),
    SocketAttribute.remote_port: lambda owner: owner._peer_name()[1],
}

PEER_ATTRIBUTES: Final = frozenset({SocketAttribute.remote_address, SocketAttribute.remote_port})
IP_ATTRIBUTES: Final = frozenset({SocketAttribute.local_port, SocketAttribute.remote_port})
IP_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)


def convert_address(address: Any) -> Any:
    """Return an IPv6 address as ``(host, port)``, with the scope in the host; leave others."""
    if isinstance(address, tuple) and len(address) == 4:
        host, port, _, scope = address
        return (f"{host.split('%')[0]}%{scope}" if scope else host, port)
    return address


def set_no_delay(sock: socket.socket) -> None:
    """Send small messages at once. On Linux accepted sockets inherit this from the listener."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def adopted(wrapper: S) -> S:
    """Mark a socket as made by other code, which may hold a duplicate of it (R5)."""
    wrapper._registration.may_be_shared = True
    return wrapper
