"""An echo server on mio that ends with its standard input; prints its port."""

from __future__ import annotations

import sys

import anyio
from anyio.abc import SocketAttribute, SocketStream

import anyio_mio


async def echo(stream: SocketStream) -> None:
    async with stream:
        try:
            while True:
                await stream.send(await stream.receive())
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass


async def main() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=4096)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        sys.stdout.write(f"{listener.extra(SocketAttribute.local_port)}\n")
        sys.stdout.flush()
        await anyio.wait_readable(0)
        group.cancel_scope.cancel()


if __name__ == "__main__":
    anyio_mio.run(main)
