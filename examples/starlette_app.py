"""A Starlette application under anycorn on mio: a page, a stream and a WebSocket.

    python examples/starlette_app.py     # serves http://127.0.0.1:8000 until SIGTERM or Ctrl-C
    curl -N http://127.0.0.1:8000/count

It needs `pip install anycorn starlette`. anycorn is an ASGI server on AnyIO; `worker_class="mio"`
names the backend. It hears SIGTERM itself on asyncio alone, so the program brings a trigger.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from signal import SIGINT, SIGTERM
from typing import Any

import anyio
from anycorn import Config, serve
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

import anyio_mio


async def page(request: object) -> Response:
    return Response("hello\n")


async def count(request: object) -> Response:
    async def lines() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number}\n"
            await anyio.sleep(0.1)

    return StreamingResponse(lines(), media_type="text/plain")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


routes = [Route("/", page), Route("/count", count), WebSocketRoute("/echo", echo)]


async def told_to_stop() -> None:
    with anyio.open_signal_receiver(SIGTERM, SIGINT) as signals:
        await anext(aiter(signals))


async def main(bind: str = "127.0.0.1:8000", **options: Any) -> None:
    app: Any = Starlette(routes=routes)
    config = Config.from_mapping(bind=[bind], worker_class="mio")
    await serve(app, config, **{"shutdown_trigger": told_to_stop, **options})


if __name__ == "__main__":
    anyio_mio.run(main)
