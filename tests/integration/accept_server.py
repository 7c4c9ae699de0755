"""An echo server under a limit of open files; prints its port, and how it ended.

    python accept_server.py FILES HOLD [shed]

FILES is its limit of open files (0: none), HOLD how many seconds a connection is kept after the
first message. With `shed`, what cannot be served is closed.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskStatus

import anyio_mio
from anyio_mio._net.listeners import SocketListener
from anyio_mio.serving import serve_tcp


async def echo(stream: SocketStream) -> None:
    try:
        while True:
            await stream.send(await stream.receive())
            await anyio.sleep(float(sys.argv[2]))
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        pass


async def main() -> None:
    async with anyio.create_task_group() as group:
        (listener,) = await group.start(serve)
        sys.stdout.write(f"{listener.extra(SocketAttribute.local_port)}\n")
        sys.stdout.flush()


async def serve(*, task_status: TaskStatus[Sequence[SocketListener]]) -> None:
    listeners: list[SocketListener] = []

    class Keep(TaskStatus[Sequence[SocketListener]]):
        def started(self, value: Sequence[SocketListener] | None = None) -> None:
            assert value is not None
            listeners.extend(value)
            task_status.started(value)

    summary = await serve_tcp(
        echo,
        0,
        host="127.0.0.1",
        signals=(signal.SIGTERM,),
        grace=5,
        shed="shed" in sys.argv,
        task_status=Keep(),
    )
    figures = asdict(summary)
    for listener in listeners:
        figures |= asdict(listener.statistics())
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if int(sys.argv[1]):
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
    anyio_mio.run(main)
