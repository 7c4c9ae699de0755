"""Built-in connection handlers: ``echo``, ``discard`` and ``http-hello``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import anyio
from anyio.abc import ByteStream

HANGS_UP: Final = (anyio.EndOfStream, anyio.BrokenResourceError)
"""The errors by which a handler learns that the peer has ended the connection."""

BODY: Final = b"hello from mio\n"


async def echo(stream: ByteStream) -> None:
    """Send back all data."""
    async with stream:
        try:
            while True:
                await stream.send(await stream.receive())
        except HANGS_UP:
            pass


async def discard(stream: ByteStream) -> None:
    """Read all data and send nothing."""
    async with stream:
        try:
            while True:
                await stream.receive()
        except HANGS_UP:
            pass


async def http_hello(stream: ByteStream) -> None:
    """Answer each HTTP/1 request with a greeting, and keep the connection alive."""
    import h11  # only this handler needs it

    async with stream:
        # If it is not HTTP, hang up: the peer would not understand an answer.
        with suppress(*HANGS_UP, h11.RemoteProtocolError):
            await converse(stream, h11.Connection(h11.SERVER))


async def converse(stream: ByteStream, connection: Any) -> None:
    """Answer requests until the connection has to be closed."""
    import h11

    method = b"GET"
    while connection.our_state is not h11.MUST_CLOSE:
        if connection.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            connection.start_next_cycle()
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive())
        elif isinstance(event, h11.ConnectionClosed):
            return
        elif isinstance(event, h11.Request):
            method = event.method
        elif isinstance(event, h11.EndOfMessage):
            await stream.send(answer(connection, method))


def answer(connection: Any, method: bytes) -> bytes:
    """Return the bytes of the response to a request.

    HEAD gets the greeting's headers and no body. CONNECT is refused, because there is no tunnel.
    """
    import h11

    status, body = (405, b"") if method == b"CONNECT" else (200, BODY)
    headers = [("content-type", "text/plain"), ("content-length", str(len(body)))]
    if status == 405:
        headers.append(("allow", "GET, HEAD"))
    sent = b"" if method == b"HEAD" else body
    parts = (
        h11.Response(status_code=status, headers=headers),
        h11.Data(data=sent),
        h11.EndOfMessage(),
    )
    return b"".join(connection.send(part) for part in parts)


BUILT_IN: Final[dict[str, Callable[[ByteStream], Awaitable[None]]]] = {
    "echo": echo,
    "discard": discard,
    "http-hello": http_hello,
}
