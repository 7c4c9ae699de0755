"""A Starlette application with one route for each thing that a server must get right.

Importing it makes mio available, which is what a worker process needs that anycorn spawns.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from sniffio import current_async_library
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

import anyio_mio as anyio_mio


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """What requests share exists while the server runs."""
    app.state.arrived = 0
    app.state.all_arrived = anyio.Event()
    app.state.may_go_on = anyio.Event()
    app.state.hung_up = anyio.Event()
    yield


async def who(request: Request) -> Response:
    """Which backend answers, and which connection was used."""
    assert request.client is not None
    return JSONResponse({"backend": current_async_library(), "port": request.client.port})


async def upload(request: Request) -> Response:
    """Reads the body as it comes."""
    digest = hashlib.sha256()
    chunks = 0
    async for chunk in request.stream():
        digest.update(chunk)
        chunks += bool(chunk)
    encoding = request.headers.get("transfer-encoding")
    return JSONResponse({"sha256": digest.hexdigest(), "chunks": chunks, "encoding": encoding})


async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each piece of the body back as it comes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send(
            {"type": "http.response.body", "body": message.get("body", b""), "more_body": more}
        )


async def two_parts(request: Request) -> Response:
    """The second part is sent when another request allows it."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"first "
        await request.app.state.may_go_on.wait()
        yield b"second"

    return StreamingResponse(parts())


async def go_on(request: Request) -> Response:
    """Allows the second part."""
    request.app.state.may_go_on.set()
    return PlainTextResponse("ok")


async def endless(request: Request) -> Response:
    """Sends until the client is gone."""

    async def parts() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            request.app.state.hung_up.set()

    return StreamingResponse(parts())


async def together(request: Request) -> Response:
    """Answers when as many requests are here as the query says."""
    state = request.app.state
    state.arrived += 1
    if state.arrived == int(request.query_params["count"]):
        state.all_arrived.set()
    await state.all_arrived.wait()
    return PlainTextResponse(str(state.arrived))


async def file(request: Request) -> Response:
    """A file, which anycorn sends with the system's sendfile()."""
    return FileResponse(Path(request.query_params["path"]))


async def blocking(request: Request) -> Response:
    """Work in a worker thread, which comes back into the loop."""

    def work() -> str:
        return anyio.from_thread.run_sync(current_async_library)

    return PlainTextResponse(await anyio.to_thread.run_sync(work))


async def broken(request: Request) -> Response:
    raise ValueError("on purpose")


async def echo(websocket: WebSocket) -> None:
    """Sends each message back until the client closes."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


app = Starlette(
    routes=[
        Route("/who", who),
        Route("/upload", upload, methods=["POST"]),
        Mount("/mirror", mirror),
        Route("/two-parts", two_parts),
        Route("/go-on", go_on),
        Route("/endless", endless),
        Route("/together", together),
        Route("/file", file),
        Route("/blocking", blocking),
        Route("/broken", broken),
        WebSocketRoute("/echo", echo),
    ],
    lifespan=lifespan,
)
