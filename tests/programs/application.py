"""A Starlette application, and serving it with anycorn on mio.

Run as a program it serves until SIGTERM: ``python application.py`` prints its port.
"""

from __future__ import annotations

import hashlib
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
from anycorn import Config, serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

import anyio_mio

CHUNKS = [f"chunk {number}\n" for number in range(20)]


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def upload(request: Request) -> JSONResponse:
    digest, size = hashlib.sha256(), 0
    async for chunk in request.stream():
        digest.update(chunk)
        size += len(chunk)
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


async def stream(request: Request) -> StreamingResponse:
    async def body() -> AsyncIterator[str]:
        for chunk in CHUNKS:
            yield chunk
            await anyio.lowlevel.checkpoint()

    return StreamingResponse(body(), media_type="text/plain")


async def slow(request: Request) -> PlainTextResponse:
    await anyio.sleep(0.5)
    return PlainTextResponse("finished")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


# Starlette's own types of ASGI are looser than anycorn's.
app: Any = Starlette(
    routes=[
        Route("/", hello),
        Route("/upload", upload, methods=["POST"]),
        Route("/stream", stream),
        Route("/slow", slow),
        WebSocketRoute("/echo", echo),
    ]
)


def configuration(**changes: object) -> Config:
    """anycorn's configuration for a free port of the loopback."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.worker_class = "mio"
    config.accesslog = None
    config.errorlog = None
    for name, value in changes.items():
        setattr(config, name, value)
    return config


async def until_told_to_stop() -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            return


async def main() -> None:
    async with anyio.create_task_group() as group:

        async def run(*, task_status: anyio.abc.TaskStatus[list[str]]) -> None:
            await serve(
                app, configuration(), shutdown_trigger=until_told_to_stop, task_status=task_status
            )

        (url,) = await group.start(run)
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio_mio.run(main)
