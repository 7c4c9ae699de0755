"""Applications that the tests serve."""

from __future__ import annotations

from typing import Any

from anyio_mio.asgi import ClientDisconnected


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def start(send: Any, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def say(send: Any, body: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def routes(scope: Any, receive: Any, send: Any) -> None:
    """One behaviour for each path."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await ROUTES[scope["path"].split("/")[1]](scope, receive, send)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await start(send, (b"content-type", b"text/plain"), (b"content-length", b"5"))
    await say(send, b"hello")


async def name(scope: Any, receive: Any, send: Any) -> None:
    """The path, so that each answer tells which request it belongs to."""
    await start(send)
    await say(send, scope["raw_path"])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = await read_body(receive)
    await start(send)
    await say(send, body)


async def stream(scope: Any, receive: Any, send: Any) -> None:
    await start(send)
    for piece in (b"one", b"", b"two", b"three"):
        await say(send, piece, more=True)
    await say(send, b"")


async def show(scope: Any, receive: Any, send: Any) -> None:
    await start(send)
    await say(send, repr({key: scope[key] for key in sorted(scope)}).encode())


async def empty(scope: Any, receive: Any, send: Any) -> None:
    """The status in the path, with a body that some of them must not have."""
    status = int(scope["path"].split("/")[2])
    await start(send, (b"content-length", b"4"), status=status)
    await say(send, b"body")


async def sized(scope: Any, receive: Any, send: Any) -> None:
    """As many bytes as the path says, in one event."""
    await start(send)
    await say(send, b"x" * int(scope["path"].split("/")[2]))


async def fail(scope: Any, receive: Any, send: Any) -> None:
    raise LookupError("the application fails")


async def fail_later(scope: Any, receive: Any, send: Any) -> None:
    await start(send)
    await say(send, b"part", more=True)
    raise LookupError("the application fails")


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


async def half(scope: Any, receive: Any, send: Any) -> None:
    await start(send)
    await say(send, b"part", more=True)


async def headless(scope: Any, receive: Any, send: Any) -> None:
    await start(send)


async def short(scope: Any, receive: Any, send: Any) -> None:
    await start(send, (b"content-length", b"10"))
    await say(send, b"short")


async def short_stream(scope: Any, receive: Any, send: Any) -> None:
    await start(send, (b"content-length", b"10"))
    await say(send, b"short", more=True)
    await say(send, b"")


async def long(scope: Any, receive: Any, send: Any) -> None:
    await start(send, (b"content-length", b"5"))
    await say(send, b"longer than that")


async def long_stream(scope: Any, receive: Any, send: Any) -> None:
    await start(send, (b"content-length", b"5"))
    await say(send, b"exact", more=True)
    await say(send, b"and more")


async def early(scope: Any, receive: Any, send: Any) -> None:
    """An answer that does not wait for the body."""
    await start(send)
    await say(send, b"early")


async def close(scope: Any, receive: Any, send: Any) -> None:
    await start(send, (b"connection", b"close"))
    await say(send, b"last")


async def big(scope: Any, receive: Any, send: Any) -> None:
    await start(send)
    for _ in range(int(scope["path"].split("/")[2])):
        await say(send, b"x" * 65536, more=True)
    await say(send, b"")


ROUTES = {
    each.__name__: each
    for each in (
        hello, name, echo, stream, show, empty, sized, fail, fail_later, nothing, half, headless,
        short, short_stream, long, long_stream, early, close, big,
    )
}  # fmt: skip
