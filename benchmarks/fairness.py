"""Measure the round trips of a quiet client beside greedy ones, over each kind of stream.

    python -m benchmarks.fairness [--backends mio,trio,asyncio,uvloop] [--streams tcp,unix,...]

`anyio-mio bench fairness` has the rows over TCP. This program has them over UNIX sockets and TLS,
beside datagrams and memory streams, for a client whose answer passes through memory streams, and
for Trio programs on Trio's sockets and on those of `anyio_mio.trio` (backends `trio-native` and
`trio-hosted`). The greedy clients are on another processor than the server.
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
from anyio.streams.tls import TLSListener

from anyio_mio._bench import backends
from anyio_mio._bench.processes import make_certificate
from anyio_mio._bench.resources import processor_pair, stay_on

ROWS: Final = ((3, 65536), (30, 65536), (30, 1000), (3, 50_000_000))  # clients, bytes of a piece
STREAMS: Final = ("tcp", "unix", "tls", "beside-udp", "beside-memory", "through-memory")
TRIO: Final = ("trio-native", "trio-hosted")
ROUND_TRIPS: Final = 150
PAUSE: Final = 0.01  # seconds between two round trips
PIECES: Final = b"pieces of "
DATAGRAM: Final = 32768


async def answer(stream: anyio.abc.ByteStream) -> None:
    """Send each message back, or the pieces that it asks for."""
    async with stream:
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
            while True:
                data = await stream.receive()
                if data.startswith(PIECES):
                    await give(stream.send, int(data[len(PIECES) :]))
                await stream.send(data)


async def answer_through_memory(stream: anyio.abc.ByteStream) -> None:
    """Do as `answer()`, but send in another task, behind a memory stream."""
    sender, receiver = anyio.create_memory_object_stream[bytes](1)

    async def send_all() -> None:
        async for data in receiver:
            if data.startswith(PIECES):
                await give(stream.send, int(data[len(PIECES) :]))
            await stream.send(data)

    async with stream, anyio.create_task_group() as group, receiver:
        group.start_soon(send_all)
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
            async for data in stream:
                await sender.send(data)
        group.cancel_scope.cancel()


async def give(send: Callable[[bytes], Any], size: int) -> None:
    """Send pieces without end."""
    piece = bytes(size)
    while True:
        await send(piece)


async def return_packets(udp: anyio.abc.UDPSocket) -> None:
    """Send each datagram back."""
    async for packet, (host, port) in udp:
        await udp.sendto(packet, host, port)


async def pump(group: anyio.abc.TaskGroup) -> None:
    """Pass objects from one task to another without end."""
    sender, receiver = anyio.create_memory_object_stream[bytes](16)

    async def take() -> None:
        async for _ in receiver:
            pass

    group.start_soon(take)
    await give(sender.send, 1000)


def write(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def serve(kind: str, folder: str, hogs: int) -> None:
    """Serve one kind of stream until the process is killed."""
    listener: Any
    if kind == "unix":
        listener, port = await anyio.create_unix_listener(f"{folder}/socket"), 0
    else:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    if kind == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/certificate.pem", f"{folder}/key.pem")
        listener = TLSListener(listener, context)
    async with anyio.create_task_group() as group:
        if kind == "beside-udp":
            udp = await anyio.create_udp_socket(local_host="127.0.0.1", local_port=port)
            group.start_soon(return_packets, udp)
        if kind == "beside-memory":
            for _ in range(hogs):
                group.start_soon(pump, group)
        handler = answer_through_memory if kind == "through-memory" else answer
        write(f"{port}")
        await listener.serve(handler)


async def serve_trio(program: str) -> None:
    """Serve in a Trio program, on Trio's sockets or on those of `anyio_mio.trio`."""
    import trio

    import anyio_mio.trio

    async def answer(stream: Any) -> None:
        with suppress(trio.BrokenResourceError):
            while data := await stream.receive_some():
                if data.startswith(PIECES):
                    await give(stream.send_all, int(data[len(PIECES) :]))
                await stream.send_all(data)

    start: Any = trio.serve_tcp if program == "trio-native" else anyio_mio.trio.serve_tcp
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(start, answer, 0, host="127.0.0.1"))
        write(f"{listener.socket.getsockname()[1]}")


def connect(kind: str, folder: str, port: int) -> socket.socket:
    """A connection of the kind, blocking."""
    if kind == "unix":
        client = socket.socket(socket.AF_UNIX)
        client.connect(f"{folder}/socket")
        return client
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if kind != "tls":
        return client
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(client)


def load(kind: str, folder: str, port: int, clients: int, size: int) -> None:
    """Receive as much as possible on all connections until the process is killed."""
    if kind == "beside-udp":
        flood(port, clients)
    opened = [connect(kind, folder, port) for _ in range(clients)]
    for client in opened:
        client.sendall(PIECES + b"%d" % size)
    with selectors.DefaultSelector() as selector:
        for client in opened:
            # What comes is not decrypted: it only has to be taken.
            raw = socket.socket(fileno=os.dup(client.fileno()))
            raw.setblocking(False)
            selector.register(raw, selectors.EVENT_READ, raw)
        room = bytearray(1 << 20)
        while True:
            for key, _ in selector.select():
                key.data.recv_into(room)


def flood(port: int, clients: int) -> None:
    """Send datagrams without end."""
    sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(clients)]
    for each in sockets:
        each.setblocking(False)
        each.connect(("127.0.0.1", port))
    while True:
        for each in sockets:
            with suppress(OSError):
                each.send(bytes(DATAGRAM))
            with suppress(OSError):
                each.recv(DATAGRAM)


@contextmanager
def process(*arguments: object, place: int | None, **options: Any) -> Iterator[Any]:
    """Run this module as a process, and kill it at the end of the block."""
    command = [sys.executable, "-m", "benchmarks.fairness", *map(str, arguments)]
    with subprocess.Popen([*command, f"--processor={place}"], text=True, **options) as child:
        try:
            yield child
        finally:
            child.kill()


def wait_beside(backend: str, kind: str, clients: int, size: int) -> tuple[float, float]:
    """Return median and 95th percentile of a round trip, in milliseconds."""
    server_place, load_place = processor_pair()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if kind == "tls":
            make_certificate(folder)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        where = ("--where", folder, "--hogs", clients)
        server = stack.enter_context(
            process("--serve", backend, kind, *where, place=server_place, **pipes)
        )
        port = int(server.stdout.readline())
        if kind != "beside-memory":
            hog = ("--load", kind, port, clients, size, "--where", folder)
            stack.enter_context(process(*hog, place=load_place, stderr=subprocess.DEVNULL))
        time.sleep(0.7)
        client = stack.enter_context(connect(kind, folder, port))
        times = sorted(round_trip(client) for _ in range(ROUND_TRIPS))
    return statistics.median(times), times[len(times) * 95 // 100]


def round_trip(client: socket.socket) -> float:
    """Return the time of a round trip in milliseconds, after a pause."""
    time.sleep(PAUSE)
    began = time.perf_counter()
    client.send(b"p")
    client.recv(1)
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    """Print the table, or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--backends", default=",".join(backends.installed()))
    parser.add_argument("--streams", default=",".join(STREAMS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--where", default=".", help=argparse.SUPPRESS)
    parser.add_argument("--hogs", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--processor", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.processor and given.processor.isdecimal():
        stay_on(int(given.processor))
    if given.serve:
        backend, kind = given.serve
        be_the_server(backend, kind, given.where, given.hogs)
    elif given.load:
        kind, *numbers = given.load
        port, clients, size = map(int, numbers)
        load(kind, given.where, port, clients, size)
    else:
        print_table(given.backends.split(","), given.streams.split(","), given.rounds)


def be_the_server(backend: str, kind: str, where: str, hogs: int) -> None:
    """Serve until the process is killed."""
    if backend in TRIO:
        import trio

        trio.run(serve_trio, backend)
    else:
        anyio.run(serve, kind, where, hogs, **backends.run_arguments(backend))


def print_table(names: list[str], streams: list[str], rounds: int) -> None:
    """Print a line for each row: median and 95th percentile on each backend."""
    for kind in streams:
        for clients, size in ROWS[:1] if kind.startswith("beside") else ROWS:
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
            for _ in range(rounds):
                for name in names:
                    runs[name].append(wait_beside(name, kind, clients, size))
            cells = "; ".join(
                f"{name} {statistics.median(m for m, _ in all_of):.2f},"
                f" {statistics.median(p for _, p in all_of):.2f}"
                for name, all_of in runs.items()
            )
            write(f"{kind:14} {clients:2} x {size:8}: {cells} ms")


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main()
