"""Hundreds of clients at the same moment: how many connections one wake-up accepts.

    python examples/accept_storm.py      # 500 clients; prints a histogram and who was served

While the server's task does something else the connections queue in the kernel. The event that
tells of them comes once, so the listener accepts until it would block. A loop
that takes one connection for each event leaves the others waiting until one more client comes.
"""

from __future__ import annotations

import socket
from functools import partial

import anyio
from anyio.abc import SocketAttribute, SocketStream

import anyio_mio

CLIENTS = 500


async def greet(stream: SocketStream) -> None:
    await stream.send(b"hello")


def connect(port: int) -> socket.socket:
    """The kernel completes the connection; it has not been accepted yet."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setblocking(False)
    return client


async def main(clients: int = CLIENTS) -> tuple[int, dict[int, int]]:
    served = 0
    async with anyio.create_task_group() as group:
        stop = anyio.Event()
        serve = partial(anyio_mio.serve_tcp, greet, 0, host="127.0.0.1", stop=stop)
        [listener] = await group.start(serve)
        port = listener.extra(SocketAttribute.local_port)
        waiting = [connect(port) for _ in range(clients)]  # the loop does not run during this
        for client in waiting:
            async with await SocketStream.from_socket(client) as stream:
                served += await stream.receive() == b"hello"
        statistics = listener.statistics()
        stop.set()
    print(f"{served} of {clients} were served")
    for batch, times in sorted(statistics.accepts_per_wakeup.items()):
        print(f"{times:4} wake-ups accepted {batch:3} {'#' * times}")
    return served, statistics.accepts_per_wakeup


if __name__ == "__main__":
    anyio_mio.run(main)
