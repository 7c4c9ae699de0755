"""A server on a given backend, as a process: `python -m anyio_mio._bench.server BACKEND KIND`.

It talks as the demonstration's server does: it prints `{"port": ...}` once it serves (0 for a UNIX
socket), answers each line on standard input by what it has used so far, and ends with it.
"""

from __future__ import annotations

import argparse
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread
from anyio.streams.tls import TLSListener

from anyio_mio._bench.resources import raise_descriptor_limit, used
from anyio_mio._bench.system_calls import allow_tracing
from anyio_mio._bench.transfer import TRANSFER
from anyio_mio._demo import backends, processor
from anyio_mio._demo.server import BACKLOG, READ_SIZE, counted, echo, say


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


def repeated(
    step: Callable[[anyio.abc.ByteStream], Awaitable[None]],
) -> Callable[[anyio.abc.ByteStream], Awaitable[None]]:
    """A handler that takes this step until the client is done."""

    async def handle(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await step(stream)

    return handle


async def return_packets(socket: anyio.abc.UDPSocket) -> None:
    """Send each datagram back to where it came from."""
    async for packet, (host, port) in socket:
        await socket.sendto(packet, host, port)


DATA: Final = bytes(TRANSFER)
HANDLERS: Final = {"take": repeated(take), "give": repeated(give)}


async def listen(kind: str, where: str) -> tuple[Any, int]:
    """Open what serves this kind.

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


def main() -> None:
    """Run the server that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend")
    parser.add_argument("kind", choices=["tcp", "tls", "udp", "unix", *HANDLERS])
    parser.add_argument("--where", default=".", help="folder of the socket and the certificate")
    parser.add_argument("--processor", type=int)
    arguments = parser.parse_args()
    processor.stay_on(arguments.processor)
    raise_descriptor_limit()
    allow_tracing()
    run = backends.run_arguments(arguments.backend)
    anyio.run(serve, arguments.kind, arguments.where, **run)


if __name__ == "__main__":
    main()
