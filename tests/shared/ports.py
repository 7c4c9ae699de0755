"""Ports for servers that cannot take a socket and must be told a number.

A port that was found free and let go again can be given to another test before the server binds
it. So these ports stay reserved: a socket is bound to each, with ``SO_REUSEADDR``, and does not
listen. Linux gives such a port to no other socket that asks for any port, and to no connection; a
server that sets ``SO_REUSEADDR`` itself, as all do, can still bind it by its number. A client that
comes before the server listens is refused, as on a port that nothing uses.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

LOCAL = "127.0.0.1"


def reserve() -> socket.socket:
    """Return a socket that reserves a port of 127.0.0.1 until it is closed."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((LOCAL, 0))
    return sock


@contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a port of 127.0.0.1 while the block runs; yields its number."""
    with reserve() as sock:
        yield port_of(sock)


def port_of(sock: socket.socket) -> int:
    """Return the port that a socket is bound to."""
    port: int = sock.getsockname()[1]
    return port
