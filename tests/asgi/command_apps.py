"""Applications and handlers for tests of the command."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteStream
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{os.getpid()} {os.environ.get('FROM_FILE', '')}")


starlette = Starlette(routes=[Route("/", hello)])


async def plain(scope: Any, receive: Any, send: Any) -> None:
    await starlette(scope, receive, send)


def make() -> Starlette:
    return starlette


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"from WSGI"]


async def handler(stream: ByteStream) -> None:
    async with stream:
        await stream.send(b"from a handler")


async def any_number(*arguments: Any) -> None:
    if len(arguments) == 3:
        await starlette(*arguments)
    else:
        await handler(*arguments)


async def two(a: Any, b: Any) -> None:
    pass


async def fails_to_start(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


@asynccontextmanager
async def fails(app: Starlette) -> AsyncIterator[None]:
    raise LookupError("no such database")
    yield


fails_in_lifespan = Starlette(lifespan=fails)


async def raises_at_startup(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    raise LookupError("no such database")


async def hangs_at_shutdown(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await starlette(scope, receive, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await anyio.sleep_forever()


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """Takes a second for an answer, and says in the log that it was shut down."""
    if scope["type"] == "http":
        await anyio.sleep(1)
        await starlette({**scope, "path": "/"}, receive, send)
        return
    for _ in range(2):
        message = await receive()
        await send({"type": message["type"] + ".complete"})
    logging.getLogger("slow").warning("shut down")


async def wrong(scope: Any, receive: Any, send: Any) -> None:
    """Does the wrong thing that the path names."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    kind = scope["path"][1:]
    start: dict[str, Any] = {"type": "http.response.start", "status": 200}
    if kind == "order":
        await send({"type": "http.response.body", "body": b"x"})
    elif kind == "types":
        await send({**start, "headers": [("name", "value")]})
    elif kind == "protocol":
        await send({"type": "websocket.accept"})
    else:
        await send(start)
        await send({"type": "http.response.body", "body": b"x"})
        if kind == "late":
            await send({"type": "http.response.body", "body": b"y"})


class NoApplication:
    def __call__(self, scope: Any) -> None:
        pass


no_application = NoApplication()

text = "no application"
