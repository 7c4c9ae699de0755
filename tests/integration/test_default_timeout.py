"""``socket.setdefaulttimeout()``, set by any library, makes no socket of mio's wait."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.abc
import pytest
import trio
import trio.testing

import anyio_mio
import anyio_mio.trio as mio_trio
from anyio_mio.poll import available_selectors
from tests.contract.kinds import KINDS

DEFAULT = 0.2
"""Seconds: what a blocking call would take, and a test notices."""


@pytest.fixture(autouse=True)
def _default_timeout() -> Iterator[None]:
    socket.setdefaulttimeout(DEFAULT)
    yield
    socket.setdefaulttimeout(None)


async def receive_late(receive: Callable[[], Awaitable[Any]], send: Callable[[], Any]) -> Any:
    """What a receive gives for data that comes after it began; the loop must not stand still."""
    got = []

    async def note() -> None:
        got.append(await receive())

    async with anyio.create_task_group() as group:
        group.start_soon(note)
        began = time.monotonic()
        await anyio.wait_all_tasks_blocked()
        assert time.monotonic() - began < DEFAULT / 2
        await send()
    return got[0]


@pytest.mark.parametrize("selector", available_selectors())
@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_a_receive_that_waits_does_not_stop_the_loop(kind: str, selector: str) -> None:
    async def main() -> None:
        async with KINDS[kind]() as channel:
            late = await receive_late(channel.receiver.receive, lambda: channel.sender.send(b"x"))
            assert late == b"x"

    anyio_mio.run(main, selector=selector)


def test_a_datagram_socket_does_not_stop_the_loop() -> None:
    async def main() -> None:
        async with await anyio.create_udp_socket(local_host="127.0.0.1") as ours:
            port = ours.extra(anyio.abc.SocketAttribute.local_port)
            late = await receive_late(ours.receive, lambda: ours.sendto(b"x", "127.0.0.1", port))
            assert late[0] == b"x"

    anyio_mio.run(main)


def test_a_send_that_waits_does_not_stop_the_loop() -> None:
    async def main() -> None:
        async with KINDS["tcp"]() as channel, anyio.create_task_group() as group:
            group.start_soon(channel.sender.send, bytes(1 << 24))
            began = time.monotonic()
            await anyio.wait_all_tasks_blocked()
            assert time.monotonic() - began < DEFAULT / 2
            group.cancel_scope.cancel()

    anyio_mio.run(main)


def test_the_raw_socket_of_an_accepted_connection_does_not_block() -> None:
    async def main() -> None:
        async with KINDS["tcp"]() as channel:
            raw = channel.sender.extra(anyio.abc.SocketAttribute.raw_socket)
            assert raw.gettimeout() == 0
            with pytest.raises(BlockingIOError):
                raw.recv(1)

    anyio_mio.run(main)


def test_sockets_inside_trio_do_not_stop_the_loop() -> None:
    async def main() -> list[bytes]:
        (listener,) = await mio_trio.open_tcp_listeners(0, host="127.0.0.1")
        client = await mio_trio.open_tcp_stream(*listener.socket.getsockname())
        server = await listener.accept()
        got = []

        async def note(stream: mio_trio.SocketStream) -> None:
            got.append(await stream.receive_some(10))

        async with listener, client, server, trio.open_nursery() as nursery:
            nursery.start_soon(note, client)
            nursery.start_soon(note, server)
            began = time.monotonic()
            await trio.testing.wait_all_tasks_blocked()
            assert time.monotonic() - began < DEFAULT / 2
            await client.send_all(b"x")
            await server.send_all(b"x")
        return got

    assert trio.run(main) == [b"x", b"x"]
