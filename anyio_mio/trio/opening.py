"""Connect and listen, with the signatures of Trio's functions."""

from __future__ import annotations

import os
from typing import Final

import trio

from anyio_mio._net.unix_paths import listen_unix
from anyio_mio.trio.listeners import SocketListener
from anyio_mio.trio.streams import SocketStream

DELAY_BETWEEN_ATTEMPTS: Final = 0.25
MOST_BACKLOG: Final = 0xFFFF


async def open_tcp_stream(
    host: str | bytes,
    port: int,
    *,
    happy_eyeballs_delay: float | None = DELAY_BETWEEN_ATTEMPTS,
    local_address: str | None = None,
) -> SocketStream:
    """Connect to a host and port over TCP; `trio.open_tcp_stream()`.

    Trio resolves the name, with the program's own resolver if it has set one, and tries several
    addresses one after the other, without waiting long for any of them.

    Args:
        host: a name or a numeric address.
        port: the port.
        happy_eyeballs_delay: seconds after which the next address is tried as well.
        local_address: the address to connect from; None lets the system choose.

    Raises:
        OSError: no address could be connected to; the cause is a group of the reasons.

    Checkpoint: always. Cancellation: no socket stays open.
    """
    stream = await trio.open_tcp_stream(
        host, port, happy_eyeballs_delay=happy_eyeballs_delay, local_address=local_address
    )
    return SocketStream(stream.socket)


async def open_unix_socket(
    filename: str | bytes | os.PathLike[str] | os.PathLike[bytes],
) -> SocketStream:
    """Connect to a UNIX listener; `trio.open_unix_socket()`.

    Raises:
        OSError: the socket could not be connected to.
        RuntimeError: this system has no UNIX sockets.

    Checkpoint: always. Cancellation: no socket stays open.
    """
    stream = await trio.open_unix_socket(filename)
    return SocketStream(stream.socket)


async def open_tcp_listeners(
    port: int, *, host: str | bytes | None = None, backlog: int | None = None
) -> list[SocketListener]:
    """Listen on a port of each address of a host; `trio.open_tcp_listeners()`.

    Args:
        port: the port; 0 lets the system choose one for each address.
        host: a name or an address; None for all interfaces.
        backlog: how many connections may wait in the system's queue; None for the most.

    Raises:
        OSError: an address could not be bound.
        TypeError: the port or the backlog is not an integer.

    Checkpoint: always. The caller closes the listeners.
    """
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=backlog)
    return [SocketListener(listener.socket) for listener in listeners]


async def open_unix_listener(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    backlog: int | None = None,
    mode: int | None = None,
) -> SocketListener:
    """Listen on a UNIX socket.

    Args:
        path: where to make the socket. It replaces a socket that a dead server left there. Closing
            the listener removes the path. A name that begins with a null byte is abstract.
        backlog: how many connections may wait in the system's queue; None for the most.
        mode: the file's permissions; None leaves them to the umask.

    Raises:
        OSError: the socket could not be made; EADDRINUSE if a server listens at the path.
        RuntimeError: this system has no UNIX sockets.

    Checkpoint: always. The caller closes the listener.
    """
    if not hasattr(trio.socket, "AF_UNIX"):
        raise RuntimeError("this system has no UNIX sockets")
    await trio.lowlevel.checkpoint()
    sock, bound = listen_unix(path, mode=mode, backlog=MOST_BACKLOG if backlog is None else backlog)
    try:
        listener = SocketListener(trio.socket.from_stdlib_socket(sock))
    except BaseException:
        bound.remove()
        sock.close()
        raise
    listener._path = bound
    return listener
