"""Every kind of byte stream that a program meets on mio, each as a channel of two ends."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cache

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketStream, UNIXSocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

from anyio_mio._backend.thread_pipes import ThreadPipeReceiveStream, ThreadPipeSendStream
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._net.pipes import PipeReceiveStream, PipeSendStream
from anyio_mio.serving.tls import ServerTLSStream
from tests.shared.certificates import client_context, server_context
from tests.shared.pairs import tcp_streams


@dataclass(frozen=True)
class Channel:
    """What is sent into ``sender`` comes out of ``receiver``, and nothing else does."""

    sender: ByteSendStream
    receiver: ByteReceiveStream


def bound_what_is_buffered(sender: SocketStream) -> None:
    """Keep the system from taking megabytes that are not read, as it does on a quick connection."""
    sock: socket.socket = sender._sock  # type: ignore[attr-defined]
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 * 1024)


@asynccontextmanager
async def tcp() -> AsyncIterator[Channel]:
    async with tcp_streams() as (client, server):
        bound_what_is_buffered(server)
        yield Channel(server, client)


@asynccontextmanager
async def unix() -> AsyncIterator[Channel]:
    one, other = [await UNIXSocketStream.from_socket(end) for end in socket.socketpair()]
    async with one, other:
        yield Channel(one, other)


@asynccontextmanager
async def tls() -> AsyncIterator[Channel]:
    """TLS whose end is the end of the connection, as with most servers of HTTP."""
    for_server, for_client = tls_contexts()
    async with tcp_streams() as (client, server), anyio.create_task_group() as tasks:
        bound_what_is_buffered(server)
        made: list[TLSStream] = []

        async def serve() -> None:
            made.append(
                await TLSStream.wrap(
                    server, ssl_context=for_server, server_side=True, standard_compatible=False
                )
            )

        tasks.start_soon(serve)
        receiver = await TLSStream.wrap(
            client, hostname="localhost", ssl_context=for_client, standard_compatible=False
        )
        await anyio.wait_all_tasks_blocked()
        async with made[0] as sender, receiver:
            yield Channel(sender, receiver)


@asynccontextmanager
async def tls_server_sends() -> AsyncIterator[Channel]:
    """TLS as `serve_tcp()` gives it to a handler, which sends."""
    async with tls_of_a_server() as (server, client):
        yield Channel(server, client)


@asynccontextmanager
async def tls_server_receives() -> AsyncIterator[Channel]:
    """TLS as `serve_tcp()` gives it to a handler, which receives."""
    async with tls_of_a_server() as (server, client):
        yield Channel(client, server)


@asynccontextmanager
async def tls_of_a_server() -> AsyncIterator[tuple[TLSStream, TLSStream]]:
    for_server, for_client = server_context("localhost"), tls_contexts()[1]
    for_server.num_tickets = 0  # a client that closes without reading them resets the connection
    async with tcp_streams() as (client, server), anyio.create_task_group() as tasks:
        bound_what_is_buffered(server)
        bound_what_is_buffered(client)
        made: list[TLSStream] = []

        async def serve() -> None:
            made.append(await ServerTLSStream.shake_hands(server, for_server, 10))

        tasks.start_soon(serve)
        ours = await TLSStream.wrap(
            client, hostname="localhost", ssl_context=for_client, standard_compatible=False
        )
        await anyio.wait_all_tasks_blocked()
        async with made[0] as theirs, ours:
            yield theirs, ours


@cache
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return server_context("localhost"), client_context()


@asynccontextmanager
async def pipe() -> AsyncIterator[Channel]:
    reactor = running_kernel().reactor
    reading, writing = os.pipe()
    sender, receiver = PipeSendStream(writing, reactor), PipeReceiveStream(reading, reactor)
    async with sender, receiver:
        yield Channel(sender, receiver)


@asynccontextmanager
async def pipe_in_threads() -> AsyncIterator[Channel]:
    """As on Windows, where no pipe can be polled."""
    kernel = running_kernel()
    reading, writing = os.pipe()
    sender, receiver = (
        ThreadPipeSendStream(writing, kernel),
        ThreadPipeReceiveStream(reading, kernel),
    )
    async with receiver, sender:
        yield Channel(sender, receiver)
    while kernel.system.members:  # a thread may be about to find the other end closed
        await anyio.sleep(0.001)


@asynccontextmanager
async def process() -> AsyncIterator[Channel]:
    """Through a program and back."""
    async with await anyio.open_process(["cat"], stderr=None) as cat:
        assert cat.stdin is not None
        assert cat.stdout is not None
        yield Channel(cat.stdin, cat.stdout)


@asynccontextmanager
async def memory() -> AsyncIterator[Channel]:
    """AnyIO's memory object stream, read as bytes."""
    sender, receiver = anyio.create_memory_object_stream[bytes](1000)
    async with BufferedByteReceiveStream(receiver) as stream, sender:
        yield Channel(sender, stream)  # type: ignore[arg-type]


KINDS: dict[str, Callable[[], AbstractAsyncContextManager[Channel]]] = {
    "tcp": tcp,
    "unix": unix,
    "tls": tls,
    "tls, a server sends": tls_server_sends,
    "tls, a server receives": tls_server_receives,
    "pipe": pipe,
    "pipe in threads": pipe_in_threads,
    "process": process,
    "memory": memory,
}
