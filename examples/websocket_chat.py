"""A chat over WebSockets, in plain ASGI: what one says, all others hear.

    python examples/websocket_chat.py    # serves ws://127.0.0.1:8000 until SIGTERM or Ctrl-C
    python -m websockets ws://127.0.0.1:8000/        # in two terminals

A client that reads too slowly loses messages, and holds up none of the others. It needs
the extra `asgi`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectSendStream

import anyio_mio.asgi

others: set[MemoryObjectSendStream[str]] = set()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        raise NotImplementedError  # no lifespan; and HTTP gets a 500
    await receive()
    await send({"type": "websocket.accept"})
    queue, messages = anyio.create_memory_object_stream[str](100)
    async with queue, messages, anyio.create_task_group() as group:
        others.add(queue)
        group.start_soon(forward, messages, send)
        while (event := await receive())["type"] == "websocket.receive":
            say(event.get("text", ""), queue)
        others.remove(queue)
        group.cancel_scope.cancel()


async def forward(messages: Any, send: Any) -> None:
    """Send to one client what the others say."""
    async for text in messages:
        await send({"type": "websocket.send", "text": text})


def say(text: str, speaker: MemoryObjectSendStream[str]) -> None:
    """Put a message into the queue of each other client that has room."""
    for queue in others - {speaker}:
        with suppress(anyio.WouldBlock):
            queue.send_nowait(text)


if __name__ == "__main__":
    anyio_mio.asgi.run(app, port=8000)
