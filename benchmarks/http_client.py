"""Measure the cost of a request in a client that uses httpx: one at a time, and twenty at once.

    python -m benchmarks.http_client                  # each backend that is installed
    python -m benchmarks.http_client --backends mio,trio --rounds 5 --seconds 2

The figure is CPU time of the client; the server is another process and is not counted. Needs
`pip install httpx`. The two names below are also programs of `anyio_mio._bench.inside`.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import statistics
import subprocess
import sys
from typing import Final

import anyio
import httpx

from anyio_mio._bench import backends, inside
from anyio_mio._bench.programs import Goes

AT_ONCE: Final = 20

SERVER: Final = """
import sys, anyio, anyio_mio
ANSWER = b"HTTP/1.1 200 OK\\r\\ncontent-length: 5\\r\\n\\r\\nhello"
async def answer(stream):
    async for data in stream:
        await stream.send(ANSWER * data.count(b"\\r\\n\\r\\n"))
async def main():
    async with anyio.create_task_group() as group:
        serve = lambda *, task_status: anyio_mio.serve_tcp(
            answer, 0, host="127.0.0.1", task_status=task_status)
        (listener,) = await group.start(serve)
        print(listener.extra(anyio.abc.SocketAttribute.local_port), flush=True)
anyio_mio.run(main)
"""


@functools.cache
def url() -> str:
    """Return the URL of a server, which is started once for this process."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    atexit.register(server.wait)
    atexit.register(server.kill)
    assert server.stdout is not None
    return f"http://127.0.0.1:{server.stdout.readline().strip()}/"


async def get(client: httpx.AsyncClient, n: int) -> None:
    """Make requests one after the other."""
    for _ in range(n):
        response = await client.get(url())
        assert response.content == b"hello"


async def one_at_a_time(n: int) -> None:
    """Make a request over a connection that is kept alive."""
    async with httpx.AsyncClient() as client:
        await get(client, n)


async def twenty_at_once(n: int) -> None:
    """Make a request while nineteen other tasks of the same client do."""
    async with httpx.AsyncClient() as client, anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(get, client, n // AT_ONCE)


GOES: Final[Goes] = {
    "httpx": (one_at_a_time, 200),
    "httpx-20": (twenty_at_once, 400),
}


def main() -> None:
    """Measure both rows on each backend, in turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", default=",".join(backends.installed()))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    names = given.backends.split(",")
    for row in GOES:
        costs: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(given.rounds):
            for name in names:
                figures = inside.measure_program(
                    name, row, given.seconds, module="benchmarks.http_client"
                )
                costs[name].append(figures["cpu_us"])
        medians = "  ".join(f"{name} {statistics.median(costs[name]):.0f}" for name in names)
        print(f"{row}: {medians}  µs of CPU for a request")  # noqa: T201 - a script


if __name__ == "__main__":
    if sys.argv[1:] and not sys.argv[1].startswith("-"):
        inside.main(GOES)
    else:
        main()
