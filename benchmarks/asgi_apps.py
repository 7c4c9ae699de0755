"""The applications for `asgi_servers.py`. Needs `pip install fastapi`."""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"5")],
}
BODY = {"type": "http.response.body", "body": b"hello"}
LARGE = b"x" * 400_000


async def plain(scope: Any, receive: Any, send: Any) -> None:
    """Answer without a framework."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send(START)
    await send(BODY)


async def hello(request: Request) -> Response:
    """Answer five bytes."""
    return PlainTextResponse("hello")


async def echo(request: Request) -> Response:
    """Answer the body."""
    return PlainTextResponse(await request.body())


async def file(request: Request) -> Response:
    """Answer a file, which the benchmark makes."""
    return FileResponse(os.environ["BENCHMARK_FILE"])


async def large(request: Request) -> Response:
    """Answer more bytes than the socket of a client that does not read can hold."""
    return Response(LARGE)


async def talk(socket: WebSocket) -> None:
    """Answer each message with itself."""
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass


starlette = Starlette(
    routes=[
        Route("/", hello),
        Route("/echo", echo, methods=["POST"]),
        Route("/file", file),
        Route("/large", large),
        WebSocketRoute("/talk", talk),
    ]
)

fastapi = FastAPI()


class Item(BaseModel):
    """What FastAPI answers."""

    name: str
    price: float
    tags: list[str] = []


@fastapi.get("/")
async def item(q: int = 1) -> Item:
    """Answer JSON that pydantic has checked."""
    return Item(name="x", price=q * 1.5, tags=["a", "b"])
