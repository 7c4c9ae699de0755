"""Datagram sockets: UDP and UNIX, connected and not.

The four classes differ in their items: bytes if the peer is fixed, otherwise bytes and an address.
A datagram socket reads until WouldBlock, because a short read proves nothing here (R2).

Datagram sockets have three peculiarities:

* An error of an earlier send, such as an ICMP refusal, arrives as EPOLLERR, perhaps alone. The next
  call raises it as BrokenResourceError. The socket remains usable.
* If an unconnected UNIX socket sends to a peer whose queue is full, no event tells when there is
  room again: epoll reports writable all the time, because the socket's own buffer has room.
* macOS and the BSDs report ENOBUFS in this case, also for connected sockets and for a full network
  interface. No event tells when that ends, so the send is tried again after some milliseconds.
"""

from __future__ import annotations

import errno
import random
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import anyio
from anyio.abc import ConnectedUDPSocket as AbstractConnectedUDPSocket
from anyio.abc import ConnectedUNIXDatagramSocket as AbstractConnectedUNIXDatagramSocket
from anyio.abc import UDPSocket as AbstractUDPSocket
from anyio.abc import UNIXDatagramSocket as AbstractUNIXDatagramSocket

from anyio_mio._net.non_blocking import open_socket
from anyio_mio._net.socket_base import NO_WAIT, SocketBase
from anyio_mio._reactor.registration import WAKES_READER, WAKES_WRITER
from anyio_mio._reactor.scheduler import BYTES_PER_UNIT_SHIFT, OPERATION

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor

Address: TypeAlias = "tuple[str, int]"
T = TypeVar("T")

MAX_DATAGRAM: Final = 65536
"""Bytes. No UDP datagram is longer."""

NOT_LOOKED_UP: Final = ("", "<broadcast>")
"""Hosts that CPython's socket module translates to an address without a look-up."""

FIRST_RETRY_SECONDS: Final = 0.001
LONGEST_RETRY_SECONDS: Final = 0.02


class NoBuffers(Exception):
    """The system has no buffers for a datagram. No event tells when it has: try again."""


class DatagramSocket(SocketBase, Generic[T]):
    """A socket that sends and receives one datagram at a time."""

    __slots__ = ("_receive_some", "_send_some")

    def __init__(self, sock: socket.socket, reactor: Reactor) -> None:
        SocketBase.__init__(self, sock, reactor)
        self._receive_some: Callable[[int, int], Any] = self._reception(sock)
        self._send_some: Callable[..., int] = sock.send

    def _reception(self, sock: socket.socket) -> Callable[[int, int], Any]:
        """Return what `receive()` calls with a size and flags."""
        return sock.recv

    async def receive(self) -> T:
        """Receive one datagram, which may be empty; wait if there is none.

        Raises:
            ClosedResourceError: the socket was closed, before the call or during it.
            BrokenResourceError: an operation failed, perhaps an earlier send; the cause is the
                OSError. The socket remains usable.
            BusyResourceError: another task waits for a datagram.

        Checkpoint: always. Cancellation: no datagram is lost.
        """
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= OPERATION
        item = await self._registration.attempt(
            WAKES_READER, self._translate, self._receive_some, MAX_DATAGRAM, NO_WAIT
        )
        data = item if item.__class__ is bytes else item[0]
        scheduler.budget -= len(data) >> BYTES_PER_UNIT_SHIFT
        return item  # type: ignore[no-any-return]

    async def _send(self, *arguments: Any) -> None:
        """Give one datagram to the system; wait until the system accepts it."""
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= OPERATION
        while True:
            try:
                sent = await self._registration.attempt(
                    WAKES_WRITER, self._translate_sending, self._send_some, *arguments
                )
            except NoBuffers:
                await anyio.sleep(LONGEST_RETRY_SECONDS * random.uniform(0.5, 1.0))
            else:
                scheduler.budget -= sent >> BYTES_PER_UNIT_SHIFT
                return

    def _translate_sending(self, error: OSError) -> Exception:
        return NoBuffers() if error.errno == errno.ENOBUFS else self._translate(error)


class ConnectedUDPSocket(DatagramSocket[bytes], AbstractConnectedUDPSocket):
    """A UDP socket with one peer."""

    __slots__ = ()

    async def send(self, item: bytes) -> None:
        """Send one datagram; wait until the system accepts it.

        Raises:
            ClosedResourceError, BrokenResourceError: as for `receive()`.
            BusyResourceError: another task waits to send.

        Checkpoint: always. Cancellation: the datagram was not sent.
        """
        await self._send(item, NO_WAIT)


class UDPSocket(DatagramSocket["tuple[bytes, Address]"], AbstractUDPSocket):
    """A UDP socket without a fixed peer. Addresses are ``(host, port)``."""

    __slots__ = ()

    def __init__(self, sock: socket.socket, reactor: Reactor) -> None:
        DatagramSocket.__init__(self, sock, reactor)
        self._send_some = sock.sendto

    def _reception(self, sock: socket.socket) -> Callable[[int, int], Any]:
        if sock.family == socket.AF_INET6:
            return partial(receive_from_ipv6, sock)
        return sock.recvfrom

    async def send(self, item: tuple[bytes, Address]) -> None:
        """Send one datagram, given as ``(data, address)``; see `ConnectedUDPSocket.send()`.

        If the host is a name, it is looked up at each call, in a worker thread.
        """
        data, address = item
        if address.__class__ is tuple and not is_numeric(address[0]):
            address = await self._look_up(address)
        await self._send(data, NO_WAIT, address)

    async def _look_up(self, address: Address) -> Address:
        """Return the first numeric address of a name, of the socket's family."""
        host, port = address[:2]
        try:
            found = await anyio.getaddrinfo(
                host, port, family=self._sock.family, type=socket.SOCK_DGRAM
            )
        except OSError as exc:
            raise self._translate(exc) from exc
        return found[0][4]


class ConnectedUNIXDatagramSocket(DatagramSocket[bytes], AbstractConnectedUNIXDatagramSocket):
    """A UNIX datagram socket with one peer."""

    __slots__ = ()

    async def send(self, item: bytes) -> None:
        """Send one datagram; see `ConnectedUDPSocket.send()`."""
        await self._send(item, NO_WAIT)


class UNIXDatagramSocket(DatagramSocket["tuple[bytes, str]"], AbstractUNIXDatagramSocket):
    """A UNIX datagram socket without a fixed peer. Addresses are paths, or bytes if abstract."""

    __slots__ = ("_is_sending",)

    def __init__(self, sock: socket.socket, reactor: Reactor) -> None:
        DatagramSocket.__init__(self, sock, reactor)
        self._is_sending = False

    def _reception(self, sock: socket.socket) -> Callable[[int, int], Any]:
        return sock.recvfrom

    async def send(self, item: tuple[bytes, str]) -> None:
        """Send one datagram, given as ``(data, path)``; see `ConnectedUDPSocket.send()`.

        While the peer's queue is full it tries again after 1 ms, 2 ms and so on up to 20 ms: the
        system makes no event when there is room.
        """
        data, path = item
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= OPERATION
        if self._is_sending:
            raise scheduler.errors.busy("writing to")
        self._is_sending = True
        try:
            delay = FIRST_RETRY_SECONDS
            while not self._is_taken(data, path):
                await anyio.sleep(delay * random.uniform(0.75, 1.25))
                delay = min(2 * delay, LONGEST_RETRY_SECONDS)
        finally:
            self._is_sending = False

    def _is_taken(self, data: bytes, path: str) -> bool:
        """Try to send; False if there is no room."""
        try:
            sent = self._sock.sendto(data, NO_WAIT, path)
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno == errno.ENOBUFS:
                return False
            raise self._translate(exc) from exc
        self._scheduler.budget -= sent >> BYTES_PER_UNIT_SHIFT
        return True


def is_numeric(host: str) -> bool:
    """Return whether a host needs no look-up: an address, or a special name."""
    return ":" in host or host.replace(".", "").isdecimal() or host in NOT_LOOKED_UP


def receive_from_ipv6(sock: socket.socket, size: int, flags: int) -> tuple[bytes, Address]:
    """Call ``recvfrom()``, and put the scope into the host's name: ``("fe80::1%2", 53)``."""
    data, (host, port, _, scope) = sock.recvfrom(size, flags)
    return data, (f"{host}%{scope}" if scope else host, port)


def make_udp_socket(
    reactor: Reactor,
    family: int,
    local_address: Address | None,
    remote_address: Address | None,
    reuse_port: bool,
) -> UDPSocket | ConnectedUDPSocket:
    """Make a UDP socket, bound and connected to the addresses that are given.

    Raises:
        OSError: what the system said; the socket is closed then.
    """
    sock = open_socket(family, socket.SOCK_DGRAM)
    try:
        if reuse_port:
            share_port(sock)
        if local_address is not None:
            sock.bind(local_address)
        if remote_address is not None:
            sock.connect(remote_address)
    except BaseException:
        sock.close()
        raise
    return (UDPSocket if remote_address is None else ConnectedUDPSocket)(sock, reactor)


def share_port(sock: socket.socket) -> None:
    """Let other sockets bind the same port.

    Raises:
        OSError: this platform cannot (ENOPROTOOPT).
    """
    if sys.platform == "win32":
        raise OSError(
            errno.ENOPROTOOPT,
            "Windows has no SO_REUSEPORT\n  right: anyio.create_udp_socket(..., reuse_port=False)",
        )
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def make_unix_datagram_socket(
    reactor: Reactor, sock: socket.socket, remote_path: str | bytes | None
) -> UNIXDatagramSocket | ConnectedUNIXDatagramSocket:
    """Wrap ``sock`` in a UNIX datagram socket, connected if there is a path.

    Raises:
        OSError: what the system said; the socket is closed then.
    """
    if remote_path is None:
        return UNIXDatagramSocket(sock, reactor)
    try:
        sock.connect(remote_path)
    except BaseException:
        sock.close()
        raise
    return ConnectedUNIXDatagramSocket(sock, reactor)
