"""What asyncio's loops cost an echo server: asyncio's own, mio's and uvloop's.

    python -m benchmarks.asyncio_loops [--rounds 3] [--seconds 1]

The server is an `asyncio.Protocol`, or a handler of `asyncio.start_server()`; the figure is its
CPU time for a round trip of 64 bytes. Server and load have a processor each, where there are two,
and the loops take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Final

import anyio_mio.asyncio
from anyio_mio._bench.resources import processor_pair, stay_on

CONNECTIONS: Final = (1, 50)
MESSAGE: Final = b"x" * 64


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no asyncio.Transport for isinstance().
        self.write = transport.write  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.write(data)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve(kind: str) -> None:
    """Serve for ever; print the port, and the CPU time for each line of standard input."""
    if kind == "Protocol":
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
    else:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - a script
    threading.Thread(target=answer, daemon=True).start()
    await asyncio.sleep(3600)


def answer() -> None:
    """Print the CPU time of this process for each line."""
    for _ in sys.stdin:
        print(time.process_time(), flush=True)  # noqa: T201 - a script


def factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes such a loop."""
    if loop == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return anyio_mio.asyncio.new_event_loop if loop == "mio" else asyncio.new_event_loop


def measure(loop: str, kind: str, connections: int, seconds: float) -> float:
    """Return microseconds of the server's CPU time for a round trip."""
    command = [sys.executable, "-m", "benchmarks.asyncio_loops", "--serve", loop, kind]
    with ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(server.kill)
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(connections)
        ]
        converse(clients, 0.1)  # warm up
        marks = []
        for _ in range(2):
            print(file=server.stdin, flush=True)
            marks.append(float(server.stdout.readline()))
            if len(marks) == 1:
                done = converse(clients, seconds)
    return (marks[1] - marks[0]) / done * 1e6


def converse(clients: list[socket.socket], seconds: float) -> int:
    """Make round trips on all connections; return how many."""
    done = 0
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
            client.sendall(MESSAGE)
        waiting = len(clients)
        while waiting:
            goes_on = time.monotonic() < end
            for key, _ in selector.select():
                client = key.fileobj  # type: ignore[assignment]
                client.recv(65536)
                done += 1
                if goes_on:
                    client.sendall(MESSAGE)
                else:
                    waiting -= 1
    return done


def cell(rounds: list[float]) -> str:
    """Return the median of the rounds, and the least and the most."""
    return f"{statistics.median(rounds):.1f} ({min(rounds):.1f} to {max(rounds):.1f})"


def show(name: str, cells: list[str]) -> None:
    """Print a row."""
    print(name.ljust(44), *(each.rjust(20) for each in cells), flush=True)  # noqa: T201 - a script


def main() -> None:
    """Measure, or serve for a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for_server, for_load = processor_pair()
    if options.serve:
        stay_on(for_server)
        with asyncio.Runner(loop_factory=factory(options.serve[0])) as runner:
            runner.run(serve(options.serve[1]))
        return
    stay_on(for_load)
    loops = ["asyncio", "mio", *(["uvloop"] if find_spec("uvloop") else [])]
    show("CPU time of the server for a round trip, µs", loops)
    for kind in ("Protocol", "start_server()"):
        for connections in CONNECTIONS:
            figures: dict[str, list[float]] = {loop: [] for loop in loops}
            for _ in range(options.rounds):
                for loop in loops:
                    figures[loop].append(measure(loop, kind, connections, options.seconds))
            show(f"asyncio.{kind}, {connections} connections", [*map(cell, figures.values())])


if __name__ == "__main__":
    main()
