"""What the sockets promise (N1 to N6), on real connections."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

import anyio_mio
from anyio_mio.lowlevel import statistics
from tests.models.selectors import SELECTORS

pytestmark = pytest.mark.parametrize("selector", SELECTORS)


def run(main: Callable[[], Awaitable[None]], selector: str) -> None:
    async def limited() -> None:
        with anyio.fail_after(10):
            await main()

    anyio_mio.run(limited, selector=SELECTORS[selector]())


async def pair() -> tuple[anyio.abc.ByteStream, socket.socket]:
    ours, peer = socket.socketpair()
    return await anyio.abc.UNIXSocketStream.from_socket(ours), peer


async def listen() -> tuple[anyio.abc.SocketListener, tuple[str, int]]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    address = listener.extra(anyio.abc.SocketAttribute.local_address)
    (inner,) = listener.listeners
    assert isinstance(inner, anyio.abc.SocketListener)
    return inner, (str(address[0]), int(address[1]))


@pytest.mark.invariant("N1")
@pytest.mark.parametrize("count", [1, 64, 65, 200])
def test_one_event_serves_all_queued_connections(selector: str, count: int) -> None:
    served = 0

    async def handler(stream: anyio.abc.SocketStream) -> None:
        nonlocal served
        await stream.aclose()
        served += 1

    async def main() -> None:
        listener, address = await listen()
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, handler)
            await anyio.wait_all_tasks_blocked()
            before = statistics().reactor.events
            # All before the listener gets to look: none of them makes an event of its own.
            clients = [socket.create_connection(address) for _ in range(count)]
            while served < count:
                await anyio.sleep(0.001)
            assert statistics().reactor.events == before + 1
            group.cancel_scope.cancel()
        for client in clients:
            client.close()

    run(main, selector)


@pytest.mark.invariant("N2")
def test_a_cancelled_accept_leaves_the_connection_in_the_queue(selector: str) -> None:
    async def main() -> None:
        listener, address = await listen()
        async with listener:
            with anyio.CancelScope() as scope:
                client = socket.create_connection(address)
                scope.cancel()
                await listener.accept()
            with client:
                stream = await listener.accept()
                client.sendall(b"hello")
                assert await stream.receive() == b"hello"
                await stream.aclose()

    run(main, selector)


@pytest.mark.invariant("N4")
@pytest.mark.parametrize("operation", ["receive", "send", "accept"])
def test_closing_wakes_who_waits_with_the_closed_error(selector: str, operation: str) -> None:
    async def repeat(function: Callable[[], Awaitable[object]]) -> None:
        while True:
            await function()

    async def wait(function: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await repeat(function)

    async def main() -> None:
        stream, peer = await pair()
        listener, _ = await listen()
        waits: dict[str, Callable[[], Awaitable[object]]] = {
            "receive": stream.receive,
            "send": lambda: stream.send(b"x" * 65536),
            "accept": listener.accept,
        }
        async with anyio.create_task_group() as group:
            group.start_soon(wait, waits[operation])
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
            await listener.aclose()
        peer.close()

    run(main, selector)


@pytest.mark.invariant("N5")
def test_a_cancelled_operation_has_no_effect(selector: str) -> None:
    async def main() -> None:
        stream, peer = await pair()
        peer.setblocking(False)
        peer.send(b"kept")
        with anyio.CancelScope() as scope:
            scope.cancel()
            for operation in (lambda: stream.send(b"never"), stream.receive):
                with pytest.raises(anyio.get_cancelled_exc_class()):
                    await operation()
            await anyio.lowlevel.checkpoint()
        with pytest.raises(BlockingIOError):
            peer.recv(9)
        assert await stream.receive() == b"kept"
        await stream.aclose()
        peer.close()

    run(main, selector)


@pytest.mark.invariant("N6")
def test_a_connection_whose_bytes_are_there_never_reaches_the_selector(selector: str) -> None:
    async def main() -> None:
        before = statistics().reactor.registrations
        stream, peer = await pair()
        for _ in range(3):
            peer.send(b"x")
            await stream.receive(1)  # more would be a short read, and that proves WouldBlock
            await stream.send(b"y")
        assert statistics().reactor.registrations == before

        with anyio.move_on_after(0.001):
            await stream.receive()
        assert statistics().reactor.registrations == before + 1

        await stream.aclose()
        assert statistics().reactor.registrations == before
        peer.close()

    run(main, selector)


@pytest.mark.invariant("R2")
def test_what_lies_behind_an_urgent_mark_is_received(selector: str) -> None:
    # A read stops at the mark, so it is short; the bytes behind the mark make no edge of their own.
    received: list[bytes] = []

    async def receive(stream: anyio.abc.SocketStream) -> None:
        while sum(map(len, received)) < len(b"beforeafter"):
            received.append(await stream.receive())

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            stream = await anyio.connect_tcp(*server.getsockname())
            peer, _ = server.accept()
            with peer:  # open to the end: its close would be an edge
                async with stream, anyio.create_task_group() as group:
                    group.start_soon(receive, stream)
                    await anyio.wait_all_tasks_blocked()
                    peer.sendall(b"before")
                    peer.send(b"!", socket.MSG_OOB)
                    peer.sendall(b"after")

    run(main, selector)
    assert b"".join(received) == b"beforeafter"
