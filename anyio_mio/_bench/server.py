"""A server on a given backend, as a process: `python -m anyio_mio._bench.server BACKEND KIND`.

It prints `{"port": ...}` when it serves (0 for a UNIX socket). For each line on standard input it
prints a line with the resources that it has used and its listener's counters. It ends when standard
input ends.
"""

from __future__ import annotations

import argparse
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread
from anyio.streams.tls import TLSListener

from anyio_mio._bench import backends
from anyio_mio._bench.protocol import BACKLOG, PIECES, READ_SIZE, TRANSFER, say
from anyio_mio._bench.resources import raise_descriptor_limit, stay_on, used
from anyio_mio._bench.system_calls import allow_tracing


async def echo(stream: anyio.abc.SocketStream) -> None:
    """Send each message back until the client ends."""
    async with stream:
        try:
            while True:
                await stream.send(await stream.receive(READ_SIZE))
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass


async def take(stream: anyio.abc.ByteStream) -> None:
    """Receive a transfer, and answer by one byte."""
    missing = TRANSFER
    while missing:
        missing -= len(await stream.receive(READ_SIZE))
    await stream.send(b".")


async def give(stream: anyio.abc.ByteStream) -> None:
    """Answer a byte by a transfer."""
    await stream.receive(1)
    await stream.send(DATA)


async def echo_or_give(stream: anyio.abc.ByteStream) -> None:
    """Send a message back, or send pieces of the size that it asks for until the client ends."""
    data = await stream.receive(READ_SIZE)
    if not data.startswith(PIECES):
        await stream.send(data)
        return
    piece = bytes(int(data[len(PIECES) :]))
    while True:
        await stream.send(piece)


def repeated(
    step: Callable[[anyio.abc.ByteStream], Awaitable[None]],
) -> Callable[[anyio.abc.ByteStream], Awaitable[None]]:
    """Return a handler that repeats this step until the client ends."""

    async def handle(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await step(stream)

    return handle


async def return_packets(socket: anyio.abc.UDPSocket) -> None:
    """Send each datagram back to its sender."""
    async for packet, (host, port) in socket:
        await socket.sendto(packet, host, port)


DATA: Final = bytes(TRANSFER)
HANDLERS: Final = {
    "take": repeated(take),
    "give": repeated(give),
    "either": repeated(echo_or_give),
}


async def listen(kind: str, where: str) -> tuple[Any, int]:
    """Open the listener or socket for this kind of load.

    Args:
        kind: One of the command line's.
        where: A folder: the UNIX socket is made and the certificate lies there.

    Returns:
        A listener or a UDP socket, and its port.
    """
    local: dict[str, Any] = {"local_host": "127.0.0.1", "local_port": 0}
    if kind == "unix":
        return await anyio.create_unix_listener(Path(where) / "socket", backlog=BACKLOG), 0
    if kind == "udp":
        server: Any = await anyio.create_udp_socket(**local)
    else:
        server = await anyio.create_tcp_listener(**local, backlog=BACKLOG)
    port = server.extra(anyio.abc.SocketAttribute.local_port)
    if kind == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{where}/certificate.pem", f"{where}/key.pem")
        server = TLSListener(server, context)
    return server, port


async def serve(kind: str, where: str) -> None:
    """Serve until standard input ends."""
    server, port = await listen(kind, where)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        if kind == "udp":
            tasks.start_soon(return_packets, server)
        else:
            tasks.start_soon(server.serve, HANDLERS.get(kind, echo))
        say({"port": port})
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            say({**used(), **counted(server)})
        tasks.cancel_scope.cancel()


def counted(listener: Any) -> dict[str, Any]:
    """Return a listener's counters; nothing if the backend's listeners do not count.

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


def main() -> None:
    """Run the server of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend")
    parser.add_argument("kind", choices=["tcp", "tls", "udp", "unix", *HANDLERS])
    parser.add_argument("--where", default=".", help="folder of the socket and the certificate")
    parser.add_argument("--processor", type=int)
    arguments = parser.parse_args()
    stay_on(arguments.processor)
    raise_descriptor_limit()
    allow_tracing()
    run = backends.run_arguments(arguments.backend)
    anyio.run(serve, arguments.kind, arguments.where, **run)


if __name__ == "__main__":
    main()
