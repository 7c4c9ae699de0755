"""An echo server in a Trio program, as a process.

    python -m anyio_mio._bench.trio_server PROGRAM tcp

`trio-native` uses Trio's sockets, and `trio-hosted` those of `anyio_mio.trio`; all else is equal.
Its protocol is that of the server for AnyIO's backends.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any, Final

import trio

import anyio_mio.trio
from anyio_mio._bench.protocol import BACKLOG, PIECES, READ_SIZE, say
from anyio_mio._bench.resources import raise_descriptor_limit, stay_on, used
from anyio_mio._bench.system_calls import allow_tracing

SERVE: Final[dict[str, Any]] = {
    "trio-native": trio.serve_tcp,
    "trio-hosted": anyio_mio.trio.serve_tcp,
}


async def echo(stream: trio.abc.Stream) -> None:
    """Send each message back, or what it asks for, until the client ends."""
    try:
        while data := await stream.receive_some(READ_SIZE):
            if data.startswith(PIECES):
                await give(stream, bytes(int(data[len(PIECES) :])))
            await stream.send_all(data)
    except trio.BrokenResourceError:
        pass


async def give(stream: trio.abc.Stream, piece: bytes) -> None:
    """Send a piece repeatedly until the client ends."""
    while True:
        await stream.send_all(piece)


def port_of(listener: Any) -> int:
    """Return the port of a listener of either kind."""
    return int(listener.socket.getsockname()[1])


async def serve(program: str) -> None:
    """Serve on a free port of the loopback until standard input ends."""
    async with trio.open_nursery() as nursery:
        start = partial(SERVE[program], echo, 0, host="127.0.0.1", backlog=BACKLOG)
        [listener] = await nursery.start(start)
        say({"port": port_of(listener)})
        while await trio.to_thread.run_sync(sys.stdin.readline):
            say(used())
        nursery.cancel_scope.cancel()


def main() -> None:
    """Run the server of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=[*SERVE])
    parser.add_argument("kind", choices=["tcp", "either"])
    parser.add_argument("--where", default=".", help="not used: nothing is served but TCP")
    parser.add_argument("--processor", type=int)
    arguments = parser.parse_args()
    stay_on(arguments.processor)
    raise_descriptor_limit()
    allow_tracing()
    trio.run(serve, arguments.program)


if __name__ == "__main__":
    main()
