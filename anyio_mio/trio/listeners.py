"""Listeners with Trio's interface, around the accept loop that all of mio shares."""

from __future__ import annotations

import socket as stdlib_socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast, final

import trio

from anyio_mio._net.accept_errors import Verdict
from anyio_mio._net.listeners import SocketListener as Drain
from anyio_mio.trio.hub import Hub, current_hub
from anyio_mio.trio.streams import (
    SocketStream,
    require_trio_stream_socket,
    set_stream_options,
    take_over,
    trusts_short_reads,
)

if TYPE_CHECKING:
    from anyio_mio._net.listeners import ListenerStatistics
    from anyio_mio.trio.registration import HostedRegistration


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

    __slots__ = ("__weakref__", "_drain", "_registration", "_sock", "_trio_socket")

    def __init__(self, socket: trio.socket.SocketType) -> None:
        require_trio_stream_socket(socket, "SocketListener")
        require_listening(socket)
        hub = current_hub()
        self._sock = take_over(socket)
        # Linux hands the options on to the sockets that are accepted: two calls here instead of two
        # for each of them.
        set_stream_options(self._sock)
        self._drain = drain_of(self._sock, hub)
        self._registration = cast("HostedRegistration", self._drain._registration)
        self._registration.sock = self._sock
        self._registration.yields_first = False
        self._trio_socket: trio.socket.SocketType | None = None

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
        accepted: list[Any] = []
        while not accepted:
            await self._drain.wait_until_ready()
            self._drain.drain(accepted.append, 1, raise_at_once)
        stream: SocketStream = accepted[0]
        return stream

    async def aclose(self) -> None:
        """Close the socket at once and wake whoever waits on it. Checkpoint: always."""
        self._close()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> ListenerStatistics:
        """What the listener has done so far."""
        return self._drain.statistics()

    def _close(self) -> None:
        if self._sock.fileno() != -1:
            self._drain._close()


def drain_of(sock: stdlib_socket.socket, hub: Hub) -> Drain:
    """The shared accept loop on a socket, making streams for Trio."""
    trusts_short: Final = trusts_short_reads(sock)

    def make_stream(accepted: stdlib_socket.socket, _: object) -> Any:
        return SocketStream._of(accepted, hub, trusts_short)

    return Drain(sock, hub, make_stream)


def raise_at_once(_error: OSError, verdict: Verdict) -> Verdict:
    """What Trio does in ``accept()``: it has no back-off, the caller may have one."""
    return Verdict.RAISE if verdict is Verdict.BACK_OFF else verdict


def require_listening(socket: trio.socket.SocketType) -> None:
    """Refuse a socket that does not listen; not every system can tell."""
    with suppress(OSError):
        if not socket.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN):
            raise ValueError("SocketListener requires a listening socket")
