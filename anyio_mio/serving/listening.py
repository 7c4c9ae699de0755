"""The listeners of a server: made for a host and a port, or passed in by the program."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio

from anyio_mio._net.listeners import SocketListener


async def listen_tcp(
    host: str | None, port: int, *, backlog: int, reuse_port: bool, threads: int
) -> list[SocketListener]:
    """Listen on each address of a host; with several threads on sockets that share their port.

    Raises:
        OSError: the port cannot be bound.
    """
    if threads > 1 and port and not reuse_port:
        # SO_REUSEPORT alone would let two servers share a port, each with half of the clients.
        await (await anyio.create_tcp_listener(local_host=host, local_port=port)).aclose()
    multi = await anyio.create_tcp_listener(
        local_host=host, local_port=port, backlog=backlog, reuse_port=reuse_port or threads > 1
    )
    return [listener for listener in multi.listeners if isinstance(listener, SocketListener)]


def flatten(listeners: Iterable[Any]) -> list[SocketListener]:
    """Return the socket listeners in a list that may hold AnyIO's multi-listeners.

    Raises:
        TypeError: an element is not a listener of mio.
        ValueError: a listener is in the list twice.
    """
    flat = [each for one in listeners for each in getattr(one, "listeners", [one])]
    for each in flat:
        if not isinstance(each, SocketListener):
            raise TypeError(
                f"{each!r} is not a socket listener of mio\n"
                "  right: await anyio.create_tcp_listener(local_port=8000), while mio runs"
            )
    if len(set(flat)) < len(flat):
        raise ValueError("the same listener is given twice\n  right: each listener once")
    return flat
