"""The two ends of a connection over the loopback."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream


def tcp_sockets() -> tuple[socket.socket, socket.socket]:
    """Two blocking sockets: the client's and the server's. The caller closes them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        return client, server


@asynccontextmanager
async def tcp_streams() -> AsyncIterator[tuple[SocketStream, SocketStream]]:
    """Two streams of the running backend: the client's and the server's."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as multi:
        listener = multi.listeners[0]
        assert isinstance(listener, SocketListener)
        port = listener.extra(SocketAttribute.local_port)
        client = await anyio.connect_tcp("127.0.0.1", port)
        server = await listener.accept()
    async with client, server:
        yield client, server
