"""Outgoing connections."""

from __future__ import annotations

import errno
import os
import random
import socket
import sys
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from anyio_mio._net.non_blocking import UNIX, open_socket, open_unix_socket
from anyio_mio._net.socket_base import set_no_delay
from anyio_mio._reactor.registration import WAKES_WRITER, WRITE_WOULD_BLOCK

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio._reactor.registration import Registration

Address: TypeAlias = "tuple[str, int] | str | bytes"

IN_PROGRESS: Final = (errno.EINPROGRESS, errno.EWOULDBLOCK)

BACKLOG_RETRY_SECONDS: Final = 0.005
"""If a UNIX listener's backlog is full, ``connect()`` fails at once, and no event tells when there
is room again (measured on Linux). So it is called again after this delay, with some jitter."""


async def connect_tcp(
    reactor: Reactor, host: str, port: int, local_address: tuple[str, int] | None = None
) -> tuple[socket.socket, Registration]:
    """Connect to a numeric address.

    Returns:
        The non-blocking socket and its registration. The stream that is made of them owns both.

    Raises:
        OSError: connecting failed. The socket is then closed, as it is after a cancellation.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = open_socket(family, socket.SOCK_STREAM)
    registration = reactor.register(sock.fileno())
    try:
        set_no_delay(sock)
        if local_address is not None:
            sock.bind(local_address)
        await connect(sock, (host, port), registration)
    except BaseException:
        registration.close()
        sock.close()
        raise
    return sock, registration


async def connect_unix(
    reactor: Reactor, path: str | bytes, kind: int = socket.SOCK_STREAM
) -> tuple[socket.socket, Registration]:
    """Connect to a UNIX listener; returns and raises as `connect_tcp()`."""
    sock = open_unix_socket(kind)
    registration = reactor.register(sock.fileno())
    try:
        while not await connect(sock, path, registration):
            await anyio.sleep(BACKLOG_RETRY_SECONDS * random.uniform(0.5, 1.5))
    except BaseException:
        registration.close()
        sock.close()
        raise
    return sock, registration


async def connect(sock: socket.socket, address: Address, registration: Registration) -> bool:
    """Connect a non-blocking socket: try, wait for writable, ask SO_ERROR. Always a checkpoint.

    Returns:
        False if a UNIX listener's backlog is full.
    """
    await registration.reactor.scheduler.checkpoint()
    code = sock.connect_ex(address)
    if code == errno.EWOULDBLOCK and sock.family == UNIX:
        return False
    if code in IN_PROGRESS:
        registration.ready &= WRITE_WOULD_BLOCK
        while not registration.ready & WAKES_WRITER:
            await registration.wait_writable()
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, error_text(code))
    return True


def error_text(code: int) -> str:
    """Return the system's message for an error number of a socket."""
    if sys.platform == "win32":
        from ctypes import FormatError  # strerror() knows only the C library's numbers

        return FormatError(code)
    return os.strerror(code)
