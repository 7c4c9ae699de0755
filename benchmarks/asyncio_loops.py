"""Compare the cost of an echo server on three loops: asyncio's own, mio's and uvloop's.

    python -m benchmarks.asyncio_loops [--rounds 3] [--seconds 1]

The server is an `asyncio.Protocol`, or a handler of `asyncio.start_server()`. The figures are its
CPU time for a round trip of 64 bytes, and in brackets the 95th and 99th percentile of a round trip
in milliseconds: medians of the rounds, in which the loops take turns. Server and load are those of
`anyio-mio bench`, so before the first round trip a connection has come and gone.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Final

import anyio_mio.asyncio
from anyio_mio._bench.measuring import Figures, figures, run
from anyio_mio._bench.processes import Drive, come_and_go, loading, python_module, running_server
from anyio_mio._bench.protocol import BACKLOG, READ_SIZE, say
from anyio_mio._bench.resources import processor_pair, stay_on, used

CONNECTIONS: Final = (1, 50)
KINDS: Final = ("Protocol", "start_server")
FIGURES: Final = ("cpu_us", "p95_us", "p99_us")


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no asyncio.Transport for isinstance().
        self.write = transport.write  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.write(data)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes."""
    while data := await reader.read(READ_SIZE):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve(kind: str) -> None:
    """Serve until the process is killed, and answer as the servers of `anyio-mio bench` do."""
    if kind == "Protocol":
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=BACKLOG)
    else:
        server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=BACKLOG)
    say({"port": server.sockets[0].getsockname()[1]})
    threading.Thread(target=answer, daemon=True).start()
    await server.serve_forever()


def answer() -> None:
    """Print the resources that this process has used, for each line of standard input."""
    for _ in sys.stdin:
        say(used())


def factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes such a loop."""
    if loop == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return anyio_mio.asyncio.new_event_loop if loop == "mio" else asyncio.new_event_loop


def measure(loop: str, kind: str, connections: int, seconds: float) -> Figures:
    """Measure one loop once."""
    command = python_module("benchmarks.asyncio_loops", f"--serve={kind}", processor_pair()[0])
    drive = Drive("tcp", connections)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server([*command, f"--loop={loop}"], loop, folder) as server,
    ):
        come_and_go(server.port)
        with loading(server, drive, seconds) as load:
            return figures(run(server, load), drive)


def cell(rounds: list[Figures]) -> str:
    """Return the medians of the rounds."""
    cpu, p95, p99 = (median(each[name] for each in rounds) for name in FIGURES)
    return f"{cpu:.1f} ({p95 / 1000:.2f}, {p99 / 1000:.2f})"


def show(name: str, cells: list[str]) -> None:
    """Print a row."""
    sys.stdout.write(name.ljust(44) + "".join(each.rjust(22) for each in cells) + "\n")
    sys.stdout.flush()


def compare(rounds: int, seconds: float) -> None:
    """Measure all loops in all rows."""
    loops = ["asyncio", "mio", *(["uvloop"] if find_spec("uvloop") else [])]
    show("CPU of the server, µs (p95, p99 in ms)", loops)
    for kind in KINDS:
        for connections in CONNECTIONS:
            cells: dict[str, list[Figures]] = {loop: [] for loop in loops}
            for _ in range(rounds):
                for loop in loops:
                    cells[loop].append(measure(loop, kind, connections, seconds))
            show(f"asyncio.{kind}, {connections} connections", [*map(cell, cells.values())])


def main() -> None:
    """Measure, or serve for a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--loop", help=argparse.SUPPRESS)
    parser.add_argument("--processor", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is None:
        compare(given.rounds, given.seconds)
        return
    stay_on(given.processor)
    with asyncio.Runner(loop_factory=factory(given.loop)) as runner:
        runner.run(serve(given.serve))


if __name__ == "__main__":
    main()
