"""After ``send_eof()`` no send waits, and waiting in one direction costs the other nothing."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream, UNIXSocketStream

import anyio_mio
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._net.unix_streams import UNIXPacketStream
from anyio_mio.poll import available_selectors

Pair = tuple[SocketStream, socket.socket]

FULL = bytes(2**22)
SOME = bytes(60_000)


def tcp_sockets() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        return client, server.accept()[0]


def unix_sockets() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def packet_sockets() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


KINDS = {"tcp": tcp_sockets, "unix": unix_sockets, "packets": packet_sockets}


@asynccontextmanager
async def stream_and_peer(kind: str) -> AsyncIterator[Pair]:
    ours, peer = KINDS[kind]()
    with peer:
        async with await wrap(ours, kind) as stream:
            yield stream, peer


async def wrap(sock: socket.socket, kind: str) -> SocketStream:
    if kind == "tcp":
        return await SocketStream.from_socket(sock)
    if kind == "unix":
        return await UNIXSocketStream.from_socket(sock)
    sock.setblocking(False)  # AnyIO has no way to wrap a socket of this kind
    return UNIXPacketStream(sock, running_kernel().reactor)


async def fill(stream: SocketStream, kind: str) -> None:
    """Send until a send waits, then give that send up."""
    with anyio.move_on_after(0.02):
        while True:
            await stream.send(FULL if kind != "packets" else SOME)


def run(main: Callable[[], Awaitable[object]], selector: str) -> object:
    async def limited() -> object:
        with anyio.fail_after(5):
            return await main()

    return anyio_mio.run(limited, selector=selector)


@pytest.mark.parametrize("selector", available_selectors())
@pytest.mark.parametrize("kind", KINDS)
def test_a_send_after_the_end_fails_although_the_peer_reads_nothing(
    kind: str, selector: str
) -> None:
    async def main() -> None:
        async with stream_and_peer(kind) as (stream, _):
            await fill(stream, kind)
            await stream.send_eof()
            with pytest.raises(anyio.BrokenResourceError):
                await stream.send(b"x")

    run(main, selector)


@pytest.mark.parametrize("selector", available_selectors())
@pytest.mark.parametrize("kind", KINDS)
def test_a_send_that_waits_fails_when_another_task_sends_the_end(kind: str, selector: str) -> None:
    async def main() -> list[str]:
        log = list[str]()

        async def send() -> None:
            try:
                while True:
                    await stream.send(FULL if kind != "packets" else SOME)
            except anyio.BrokenResourceError:
                log.append("broken")

        async with stream_and_peer(kind) as (stream, _), anyio.create_task_group() as group:
            group.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            await stream.send_eof()
        return log

    assert run(main, selector) == ["broken"]


@pytest.mark.parametrize("selector", available_selectors())
def test_descriptors_after_the_end_fail_although_the_peer_reads_nothing(selector: str) -> None:
    async def main() -> None:
        async with stream_and_peer("unix") as (stream, _):
            assert isinstance(stream, UNIXSocketStream)
            await fill(stream, "unix")
            await stream.send_eof()
            with pytest.raises(anyio.BrokenResourceError):
                await stream.send_fds(b"x", [0])

    run(main, selector)


@pytest.mark.parametrize("selector", available_selectors())
@pytest.mark.parametrize("kind", KINDS)
def test_a_receive_goes_on_after_the_end(kind: str, selector: str) -> None:
    async def main() -> bytes:
        async with stream_and_peer(kind) as (stream, peer):
            await stream.send_eof()
            peer.send(b"answer")
            return await stream.receive()

    assert run(main, selector) == b"answer"


@pytest.mark.parametrize("selector", available_selectors())
@pytest.mark.parametrize("kind", KINDS)
def test_a_send_for_which_there_is_room_does_not_wait_because_another_task_receives(
    kind: str, selector: str
) -> None:
    async def main() -> None:
        async with stream_and_peer(kind) as (stream, _), anyio.create_task_group() as group:
            await stream.send(SOME)
            group.start_soon(stream.receive)
            await anyio.wait_all_tasks_blocked()
            await stream.send(b"small")
            group.cancel_scope.cancel()

    run(main, selector)


@pytest.mark.parametrize("selector", available_selectors())
def test_descriptors_do_not_wait_because_another_task_receives(selector: str) -> None:
    async def main() -> None:
        async with stream_and_peer("unix") as (stream, peer), anyio.create_task_group() as group:
            assert isinstance(stream, UNIXSocketStream)
            await stream.send(SOME)
            group.start_soon(stream.receive)
            await anyio.wait_all_tasks_blocked()
            await stream.send_fds(b"x", [0])
            group.cancel_scope.cancel()
            peer.recv(len(SOME))
            _, [(_, _, rights)], _, _ = peer.recvmsg(10, socket.CMSG_SPACE(4))
            [fd] = array.array("i", rights)
            os.close(fd)

    run(main, selector)
