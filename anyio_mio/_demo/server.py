"""An echo server on a given backend, as a process: `python -m anyio_mio._demo.server BACKEND`.

It prints `{"port": ...}` once it listens. Every line on standard input is answered by a line with
the processor time it has used and what its listener has counted. It ends when standard input does.
"""

import argparse
import json
import sys
import time
from collections import Counter
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread

from anyio_mio._demo import backends, processor

READ_SIZE: Final = 65536  # what asyncio, Trio and AnyIO itself ask for by default
BACKLOG: Final = 4096  # Linux' own limit since 5.4 (net.core.somaxconn); bursts fit in


async def echo(stream: anyio.abc.SocketStream) -> None:
    """Send back what comes until the client is done."""
    async with stream:
        try:
            while True:
                await stream.send(await stream.receive(READ_SIZE))
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass


async def serve() -> None:
    """Serve on a free port of the loopback until standard input ends."""
    listener = await anyio.create_tcp_listener(
        local_host="127.0.0.1", local_port=0, backlog=BACKLOG
    )
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        say({"port": listener.extra(anyio.abc.SocketAttribute.local_port)})
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            say({"cpu_seconds": time.process_time(), **counted(listener)})
        tasks.cancel_scope.cancel()


def counted(listener: Any) -> dict[str, Any]:
    """What a listener has counted; nothing where the backend's listeners do not count.

    Args:
        listener: A listener, or several in a multi-listener.
    """
    listeners = [listener, *getattr(listener, "listeners", [])]
    readers = [getattr(each, "statistics", None) for each in listeners]
    statistics = [read() for read in readers if read is not None]
    if not statistics:
        return {}
    batches: Counter[int] = Counter()
    for each in statistics:
        batches.update(getattr(each, "accepts_per_wakeup", {}))
    return {
        "accepted": sum(each.accepted for each in statistics),
        "accepts_per_wakeup": dict(sorted(batches.items())),
    }


def say(message: dict[str, Any]) -> None:
    """Print one line of JSON."""
    print(json.dumps(message), flush=True)


def main() -> None:
    """Run the server that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend")
    parser.add_argument("--processor", type=int)
    arguments = parser.parse_args()
    processor.stay_on(arguments.processor)
    anyio.run(serve, **backends.run_arguments(arguments.backend))


if __name__ == "__main__":
    main()
