"""Sockets that never block, with any value of ``socket.setdefaulttimeout()``.

Facts. A new socket object gets the process's default timeout, and then each of its calls may wait
for that time, even with MSG_DONTWAIT. A library that sets the default would block the whole event
loop. If the type of a socket object includes SOCK_NONBLOCK, CPython gives it no timeout. This works
for an existing descriptor too, and needs no system call.

Decision. Every socket of ours is made with `NON_BLOCKING` in its type. An accepted descriptor
itself stays in blocking mode. This has no effect, because all calls pass MSG_DONTWAIT. It is
switched when the program asks for the raw socket.

On platforms without the flag, each accepted descriptor is switched at once, which costs one more
system call: Windows has no MSG_DONTWAIT either, and macOS's ``send()`` ignores it on some sockets.
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import Final

NON_BLOCKING: Final = (
    getattr(socket, "SOCK_NONBLOCK", 0) if sys.implementation.name == "cpython" else 0
)
"""Flag in a socket's type; 0 on platforms where a call has to set the mode."""

UNIX: Final = getattr(socket, "AF_UNIX", None)
"""The family of UNIX sockets; None on Windows, where Python does not have them."""


def open_socket(family: int, kind: int) -> socket.socket:
    """Make a non-blocking socket."""
    sock = socket.socket(family, kind | NON_BLOCKING)
    if not NON_BLOCKING:
        sock.setblocking(False)
    return sock


def open_unix_socket(kind: int) -> socket.socket:
    """Make a non-blocking UNIX socket.

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
    return open_socket(int(UNIX), kind)


def socket_object(family: int, kind: int, protocol: int, fd: int) -> socket.socket:
    """Make the object for a connected descriptor; its calls don't wait if they pass MSG_DONTWAIT.

    Args:
        family: that of the socket.
        kind: its type.
        protocol: its protocol.
        fd: the descriptor, which the object owns.
    """
    sock = socket.socket(family, kind | NON_BLOCKING, protocol, fd)
    if not NON_BLOCKING:
        sock.setblocking(False)
    return sock
