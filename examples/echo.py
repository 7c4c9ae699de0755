"""An echo server with a limit, which ends in good order.

    python examples/echo.py              # serves 127.0.0.1:7007 until Ctrl-C or SIGTERM
    echo hello | nc -N 127.0.0.1 7007

`serve_tcp()` takes all connections that are queued at each wake-up, never more than a thousand at a
time, and logs what a handler raises instead of ending. When it is told to stop it closes the
listener first, gives the handlers five seconds, cancels the rest and says what it did.
"""

from __future__ import annotations

import signal
from typing import Any

import anyio
from anyio.abc import SocketStream, TaskStatus

import anyio_mio


async def echo(stream: SocketStream) -> None:
    async for data in stream:  # ends when the client has sent everything
        await stream.send(data)


async def main(
    port: int = 7007, *, task_status: TaskStatus[Any] = anyio.TASK_STATUS_IGNORED, **policy: Any
) -> anyio_mio.serving.ServeSummary:
    return await anyio_mio.serve_tcp(
        echo,
        port,
        host="127.0.0.1",
        max_connections=1000,
        grace=5,
        signals=(signal.SIGINT, signal.SIGTERM),
        task_status=task_status,
        **policy,
    )


if __name__ == "__main__":
    print(anyio_mio.run(main))
