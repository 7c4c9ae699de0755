"""The client at the other end of a stream: how it disconnects, and how to disconnect it."""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from typing import Any, Final

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener
from anyio.streams.tls import TLSStream

GONE: Final = (
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    OSError,  # ssl.SSLError is one
)
"""How a stream says that the client is gone."""

LINGER: Final = 2.0
"""Seconds in which a client may read its last answer while it still sends."""

MOST_LINGERING: Final = 16 * 1024 * 1024
"""Bytes that are read and thrown away during it."""

MOST_UNSENT: Final = 131072
"""Bytes that the system buffers for a client and has not sent yet. Without a limit Linux buffers
4 MB for a client that reads nothing, and a thousand of them use up its memory for TCP."""

RESET: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


def transport_of(stream: Any) -> Any:
    """Return the socket stream below TLS, or the stream itself."""
    return getattr(stream, "transport_stream", stream)


def raw_socket(stream: ByteStream) -> socket.socket:
    """Return the socket itself."""
    found: socket.socket = stream.extra(SocketAttribute.raw_socket)
    return found


def has_unread(stream: ByteStream) -> bool:
    """Return whether bytes of the client wait to be read. Never blocks."""
    try:
        return bool(raw_socket(stream).recv(1, socket.MSG_PEEK))  # no stream's socket blocks
    except (OSError, anyio.ClosedResourceError):
        return False


def reset_on_close(stream: ByteStream) -> None:
    """Let ``close()`` reset the connection, so that the client does not see an orderly end."""
    with suppress(OSError, anyio.ClosedResourceError):
        raw_socket(stream).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def limit_unsent(listener: SocketListener) -> None:
    """Set `MOST_UNSENT` for the connections of a TCP listener, where the system can."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):  # a UNIX socket has no such option
            sock = listener.extra(SocketAttribute.raw_socket)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MOST_UNSENT)


async def abort(stream: ByteStream) -> None:
    """Reset the connection: the client sees that the answer is not whole."""
    reset_on_close(stream)
    await transport_of(stream).aclose()


async def linger(stream: ByteStream) -> None:
    """Give the client time to read its last answer while it still sends.

    To close at once would reset the connection, and that could destroy the answer on its way.
    """
    transport = transport_of(stream)
    left = MOST_LINGERING
    with anyio.move_on_after(LINGER), suppress(*GONE):
        if isinstance(stream, TLSStream):
            with suppress(*GONE):
                await stream.unwrap()  # says the end, and waits for the client's
        else:
            await stream.send_eof()
        while left > 0:
            left -= len(await transport.receive())
