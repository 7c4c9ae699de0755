"""A chat: what one client says, all others hear; a client that does not listen delays no other.

    python examples/chat.py              # serves 127.0.0.1:7007 until Ctrl-C
    nc 127.0.0.1 7007                    # in several terminals

Each client has a queue and a task that empties it. The task of a client that speaks never waits: a
client whose queue is full is disconnected, or one stopped terminal would fill the memory.
"""

from __future__ import annotations

from signal import SIGINT
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

import anyio_mio

QUEUED, LONGEST = 16, 4096
clients: dict[SocketStream, tuple[MemoryObjectSendStream[bytes], anyio.CancelScope]] = {}


def tell_all_but(speaker: SocketStream, line: bytes) -> None:
    for client, (queue, connection) in clients.items():
        if client is not speaker:
            try:
                queue.send_nowait(line)
            except anyio.WouldBlock:
                connection.cancel()  # too slow: this hangs up


async def deliver(client: SocketStream, lines: MemoryObjectReceiveStream[bytes]) -> None:
    async for line in lines:
        await client.send(line)


async def converse(client: SocketStream) -> None:
    queue, lines = anyio.create_memory_object_stream[bytes](QUEUED)
    received = BufferedByteReceiveStream(client)
    try:
        async with queue, lines, anyio.create_task_group() as group:
            clients[client] = queue, group.cancel_scope
            group.start_soon(deliver, client, lines)
            while True:
                tell_all_but(client, await received.receive_until(b"\n", LONGEST) + b"\n")
    except* (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.DelimiterNotFound):
        pass
    finally:
        del clients[client]


async def main(port: int = 7007, **more: Any) -> None:
    await anyio_mio.serve_tcp(converse, port, host="127.0.0.1", signals=(SIGINT,), grace=0, **more)


if __name__ == "__main__":
    anyio_mio.run(main)
