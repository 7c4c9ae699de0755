"""After each kind of failure there are as many descriptors, tasks and registrations as before."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

import anyio_mio
from anyio_mio.lowlevel import statistics
from tests.models.selectors import SELECTORS
from tests.shared.leaks import open_descriptors
from tests.shared.pairs import tcp_sockets
from tests.shared.ports import reserved_port


async def connected() -> tuple[SocketStream, socket.socket]:
    ours, peer = tcp_sockets()
    return await SocketStream.from_socket(ours), peer


async def connecting_is_refused() -> None:
    with reserved_port() as port, pytest.raises(OSError, match=r"attempts failed|refused"):
        await anyio.connect_tcp("127.0.0.1", port)


async def connecting_is_cancelled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.connect_tcp(*listener.getsockname())


async def receiving_times_out() -> None:
    stream, peer = await connected()
    with peer:
        async with stream:
            with anyio.move_on_after(0.001):
                await stream.receive()


async def the_peer_resets() -> None:
    stream, peer = await connected()
    async with stream:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()


async def a_handler_crashes() -> None:
    async def handler(stream: SocketStream) -> None:
        async with stream:
            raise KeyError

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener:
        with pytest.raises(ExceptionGroup):  # noqa: PT012 - the group is the statement
            async with anyio.create_task_group() as group:
                group.start_soon(listener.serve, handler)
                async with await anyio.connect_tcp("127.0.0.1", port):
                    await anyio.sleep(5)


async def a_handshake_fails() -> None:
    stream, peer = await connected()
    with peer:
        peer.sendall(b"this is no TLS\r\n")
        with pytest.raises((OSError, anyio.BrokenResourceError)):
            await TLSStream.wrap(stream, hostname="localhost")
    await stream.aclose()


async def closing_is_cancelled() -> None:
    stream, peer = await connected()
    with peer, anyio.CancelScope() as scope:
        scope.cancel()
        await stream.aclose()


async def a_group_is_cancelled_while_all_its_tasks_wait() -> None:
    stream, peer = await connected()
    with peer:
        async with stream, anyio.create_task_group() as group:
            group.start_soon(stream.receive)
            group.start_soon(anyio.sleep_forever)
            group.start_soon(anyio.Event().wait)
            group.start_soon(anyio.wait_readable, peer)  # type: ignore[arg-type]
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        anyio.notify_closing(peer)


async def waiting_for_a_raw_socket_is_cancelled() -> None:
    stream, peer = await connected()
    with peer:
        async with stream, anyio.create_task_group() as group:
            group.start_soon(stream.receive)
            group.start_soon(anyio.wait_readable, stream.extra(SocketAttribute.raw_socket))  # type: ignore[arg-type]
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()


FAILURES = [
    connecting_is_refused,
    connecting_is_cancelled,
    receiving_times_out,
    the_peer_resets,
    a_handler_crashes,
    a_handshake_fails,
    closing_is_cancelled,
    a_group_is_cancelled_while_all_its_tasks_wait,
    waiting_for_a_raw_socket_is_cancelled,
]


def counts() -> tuple[int, int, int, int]:
    now = statistics()
    return len(open_descriptors()), now.tasks, now.reactor.registrations, now.reactor.tasks_waiting


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.__name__)
def test_nothing_is_left_when(
    failure: Callable[[], Coroutine[Any, Any, None]], selector: str
) -> None:
    async def main() -> None:
        await failure()
        before = counts()
        for _ in range(3):
            await failure()
        assert counts() == before

    anyio_mio.run(main, selector=SELECTORS[selector]())
