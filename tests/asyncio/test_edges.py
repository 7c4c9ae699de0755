"""A transport reads everything that comes, although its connection is edge-triggered."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from anyio import fail_after, sleep

from anyio_mio.asyncio.transports import READ_SIZE, SocketTransport

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("A1")]


class Received(asyncio.Protocol):
    """Keeps what is received, and where it ended."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_over = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.is_over = True


class BufferedReceived(asyncio.BufferedProtocol):
    """The same with a buffer of its own, of eight bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_over = False
        self.buffer = bytearray(8)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]

    def eof_received(self) -> None:
        self.is_over = True


Kind = type[Received] | type[BufferedReceived]
KINDS: list[Kind] = [Received, BufferedReceived]


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


async def connect(ours: socket.socket, kind: Kind) -> tuple[Any, Any]:
    ours.setblocking(False)
    made: tuple[Any, Any] = await asyncio.get_running_loop().create_connection(kind, sock=ours)
    await sleep(0.01)
    return made


async def until(is_so: Callable[[], bool]) -> None:
    with fail_after(5):
        while not is_so():
            await sleep(0.001)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", [socket.socketpair, tcp_pair])
async def test_what_is_more_than_one_read_is_read_without_another_edge(
    pair: Callable[[], tuple[socket.socket, socket.socket]], kind: Kind
) -> None:
    ours, theirs = pair()
    with theirs:
        transport, protocol = await connect(ours, kind)
        message = b"x" * (READ_SIZE + 9 if kind is Received else 33)
        theirs.sendall(message)
        await until(lambda: protocol.data == message)
        transport.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", [socket.socketpair, tcp_pair])
async def test_an_end_that_comes_with_the_last_bytes_is_seen(
    pair: Callable[[], tuple[socket.socket, socket.socket]], kind: Kind
) -> None:
    ours, theirs = pair()
    with theirs:
        transport, protocol = await connect(ours, kind)
        theirs.sendall(b"last")
        theirs.shutdown(socket.SHUT_WR)
        await until(lambda: protocol.is_over)
        assert protocol.data == b"last"
        assert transport.is_closing()


async def test_bytes_behind_an_urgent_mark_are_received() -> None:
    ours, theirs = tcp_pair()
    with theirs:
        transport, protocol = await connect(ours, Received)
        theirs.sendall(b"before")
        theirs.send(b"!", socket.MSG_OOB)
        theirs.sendall(b"after")
        await until(lambda: protocol.data == b"beforeafter")
        transport.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_came_while_reading_was_paused_is_received_when_it_is_resumed(
    kind: Kind,
) -> None:
    ours, theirs = tcp_pair()
    with theirs:
        transport, protocol = await connect(ours, kind)
        transport.pause_reading()
        theirs.sendall(b"message")
        await sleep(0.01)
        assert protocol.data == b""
        transport.resume_reading()
        await until(lambda: protocol.data == b"message")
        transport.close()


async def test_a_connection_that_also_waits_to_write_goes_on_reading_and_writes_everything() -> (
    None
):
    ours, theirs = tcp_pair()
    with theirs:
        theirs.setblocking(False)
        transport, protocol = await connect(ours, Received)
        message = bytes(8 << 20)
        transport.write(message)
        assert transport.get_write_buffer_size() > 0
        theirs.send(b"question")
        await until(lambda: protocol.data == b"question")
        received = 0
        with fail_after(5):
            while received < len(message):
                received += len(await asyncio.get_running_loop().sock_recv(theirs, 1 << 20))
        theirs.send(b" and another")
        await until(lambda: protocol.data == b"question and another")
        transport.close()


async def test_a_switch_of_the_protocol_loses_nothing() -> None:
    ours, theirs = tcp_pair()
    with theirs:
        transport, first = await connect(ours, Received)
        theirs.sendall(b"one")
        await until(lambda: first.data == b"one")
        second = BufferedReceived()
        transport.set_protocol(second)
        theirs.sendall(b"two, of more than eight bytes")
        await until(lambda: second.data == b"two, of more than eight bytes")
        transport.close()


async def test_a_quick_client_is_not_read_before_one_whose_data_came_earlier() -> None:
    order: list[str] = []

    class Named(asyncio.Protocol):
        def __init__(self, name: str) -> None:
            self.name = name

        def data_received(self, data: bytes) -> None:
            order.append(self.name)

    loop: Any = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(2)]
    transports = []
    for name, (ours, _) in zip(("quick", "other"), pairs, strict=True):
        ours.setblocking(False)
        made = await loop.create_connection(lambda name=name: Named(name), sock=ours)
        transports.append(made[0])
    await sleep(0.01)
    (_, quick), (_, other) = pairs
    with quick, other:
        quick.send(b"1")
        loop._callbacks._poll_for_answers()
        other.send(b"1")
        quick.send(b"2")
        loop._callbacks._poll_for_answers()
        for transport in transports:
            transport.close()
    assert order == ["quick", "other", "quick"]


async def test_tls_passes_megabytes_over_a_transport_of_ours_and_sees_the_end() -> None:
    authority, message = trustme.CA(), bytes(3_000_000)
    server_side, client_side = (
        ssl.create_default_context(purpose)
        for purpose in (ssl.Purpose.CLIENT_AUTH, ssl.Purpose.SERVER_AUTH)
    )
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(client_side)

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(message)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(send, "127.0.0.1", 0, ssl=server_side) as server:
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_side, server_hostname="localhost"
        )
        transport: Any = writer.transport
        assert type(transport._ssl_protocol._transport) is SocketTransport
        with fail_after(10):
            assert await reader.read() == message
        writer.close()
