"""The listening sockets of all workers, and the paths to remove when they are closed."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

import contextlib
import errno
import socket
from dataclasses import replace
from typing import TypeAlias, final

from anyio_mio._net.accept_queue import is_reached_by_network, refuse_new
from anyio_mio._supervisor.binding import NOT_HERE, BindError, TcpAddress, UnixAddress, parse
from anyio_mio._supervisor.port_holder import find_port_holder

Address: TypeAlias = TcpAddress | UnixAddress


@final
class ListeningSockets:
    """The listening sockets of a server.

    Args:
        workers: how many workers there are.
        backlog: how many connections may wait in the system's queue of a socket.
        share: True if all workers accept from one socket.

    Attributes:
        slots: the sockets of each worker.
        are_shared: whether several workers share a socket.
    """

    def __init__(self, workers: int, backlog: int, *, share: bool) -> None:
        self.slots: list[list[socket.socket]] = [[] for _ in range(workers)]
        self.are_shared = False
        self._backlog = backlog
        self._share = share
        self._own: list[tuple[Address, socket.socket]] = []
        self._at_end = contextlib.ExitStack()

    def __enter__(self) -> ListeningSockets:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove our own paths, but not another server's, and close the sockets."""
        self._at_end.close()

    def refuse_new(self) -> bool:
        """Refuse new clients; the workers still accept the queued connections.

        Sockets that were passed to this process stay as they are: another process may serve them
        next.

        Returns:
            Whether handshakes may be under way, so that some more will be queued.
        """
        for address, sock in self._own:
            address.clean_up()
            if isinstance(address, TcpAddress):
                refuse_new(sock)
        return any(is_reached_by_network(sock) for _, sock in self._own)

    def addresses(self) -> list[str]:
        """Return the addresses that the sockets are bound to, each once."""
        return [address_of(sock) for sock in self.slots[0]]

    def add(self, sock: socket.socket) -> None:
        """Add a socket that listens already; all workers share it."""
        self._at_end.callback(sock.close)
        self.are_shared = len(self.slots) > 1
        for slot in self.slots:
            slot.append(sock)

    def bind(self, text: str) -> None:
        """Listen on every address of ``text``; see `parse()`.

        Raises:
            BindError: it cannot be bound.
        """
        addresses = parse(text)
        port = 0  # all addresses use the port that the system chose for the first one
        unavailable: list[Exception] = []
        for address in addresses:
            if isinstance(address, TcpAddress) and port:
                address = replace(address, port=port)
            try:
                port = self._bind(address)
            except OSError as error:
                refusal = BindError(f"cannot listen on {address}: {explain(error, address)}")
                if error.errno not in NOT_HERE:
                    raise refusal from None
                unavailable.append(refusal)
        if len(unavailable) == len(addresses):
            raise unavailable[0] from None

    def _bind(self, address: Address) -> int:
        """Make the sockets for one address; return its port, 0 if it has none."""
        is_tcp = isinstance(address, TcpAddress)
        own = is_tcp and not self._share and len(self.slots) > 1
        if own:
            # SO_REUSEPORT alone would let two servers share a port, each with half of the clients.
            address.bind(backlog=None, reuse_port=False).close()
        first = address.bind(backlog=self._backlog, reuse_port=own)
        self._own.append((address, first))
        if not own:
            self.add(first)
            self._at_end.callback(address.clean_up)  # called before the socket is closed
            return port_of(first) if is_tcp else 0
        same = TcpAddress(*first.getsockname()[:2])
        for number, slot in enumerate(self.slots):
            sock = same.bind(backlog=self._backlog, reuse_port=True) if number else first
            if number:
                self._own.append((same, sock))
            self._at_end.callback(sock.close)
            slot.append(sock)
        return same.port


def explain(error: OSError, address: Address) -> str:
    """Return why an address cannot be bound, with advice if it is in use or not allowed."""
    reason = error.strerror or str(error)  # a path that is too long has no number
    if error.errno == errno.EACCES and isinstance(address, TcpAddress):
        return f"{reason}\n  right: a port from 1024 on, or the capability CAP_NET_BIND_SERVICE"
    if error.errno != errno.EADDRINUSE:
        return reason
    if isinstance(address, UnixAddress):
        return f"{reason}\n  right: another path, or stop the server that listens there"
    holder = find_port_holder(address.port)
    another = replace(address, port=address.port + 1 if address.port < 65535 else 8000)
    return (
        f"{reason}{f' by {holder}' if holder else ''}\n"
        f"  right: another port, such as {another}, or stop the program that listens there"
    )


def port_of(sock: socket.socket) -> int:
    """Return the port of a TCP socket."""
    return int(sock.getsockname()[1])


def address_of(sock: socket.socket) -> str:
    """Return the address of a listening socket as ``--bind`` takes it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    return str(TcpAddress(*name[:2]))
