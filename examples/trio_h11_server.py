"""A web server on Trio whose sockets are mio's: h11 speaks HTTP, anyio_mio.trio moves the bytes.

    python examples/trio_h11_server.py 8000
    curl http://127.0.0.1:8000/a/path

It answers each request with its method, its path and its body. Take the import of `serve_tcp` from
`trio` instead, and the same program runs on Trio's own sockets.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from functools import partial

import h11
import trio

from anyio_mio.trio import SocketStream, serve_tcp

SECONDS_FOR_A_REQUEST = 10
BYTES_AT_ONCE = 65536


async def serve_connection(stream: SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    try:
        while connection.our_state is not h11.MUST_CLOSE:
            with trio.move_on_after(SECONDS_FOR_A_REQUEST) as scope:
                if not await serve_request(stream, connection):
                    return
            if scope.cancelled_caught:
                return
    except trio.BrokenResourceError:
        pass  # the peer is gone, so there is no one to answer
    except h11.RemoteProtocolError as error:
        await refuse(stream, connection, error)


async def serve_request(stream: SocketStream, connection: h11.Connection) -> bool:
    """Serve the next request of a connection; False if there is none."""
    request = await next_event(stream, connection)
    if not isinstance(request, h11.Request):
        return False
    body = b"".join([data async for data in body_of(stream, connection)])
    text = b"%s %s\n%s" % (request.method, request.target, body)
    await respond(stream, connection, 200, text)
    if connection.our_state is h11.DONE and connection.their_state is h11.DONE:
        connection.start_next_cycle()
    return True


async def body_of(stream: SocketStream, connection: h11.Connection) -> AsyncIterator[bytes]:
    while isinstance(event := await next_event(stream, connection), h11.Data):
        yield bytes(event.data)


async def next_event(stream: SocketStream, connection: h11.Connection) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        if connection.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await stream.send_all(connection.send(go_on) or b"")
        connection.receive_data(await stream.receive_some(BYTES_AT_ONCE))
    return event


async def respond(
    stream: SocketStream, connection: h11.Connection, status: int, text: bytes
) -> None:
    headers = [("content-type", "text/plain"), ("content-length", str(len(text)))]
    events = (
        h11.Response(status_code=status, headers=headers),
        h11.Data(data=text),
        h11.EndOfMessage(),
    )
    await stream.send_all(b"".join(connection.send(event) or b"" for event in events))


async def refuse(
    stream: SocketStream, connection: h11.Connection, error: h11.RemoteProtocolError
) -> None:
    if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
        text = f"{error}\n".encode()
        await respond(stream, connection, error.error_status_hint, text)


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 8000
    trio.run(partial(serve_tcp, serve_connection, port, host="127.0.0.1"))
