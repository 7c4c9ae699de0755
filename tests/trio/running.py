"""Runs of Trio that end, and sockets that are really parked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
import trio.testing

import anyio_mio.trio as mio_trio
from anyio_mio.trio.hub import Hub, current_hub

T = TypeVar("T")
Pair = tuple[mio_trio.SocketStream, mio_trio.SocketStream]

SECONDS = 10
QUIET = 0.02
"""Seconds without a runnable task, after which all that could happen on the loopback has."""


def run(async_fn: Callable[..., Awaitable[T]], *args: Any, **options: Any) -> T:
    """`trio.run()` that cannot hang."""

    async def within_time() -> T:
        with trio.fail_after(SECONDS):
            return await async_fn(*args)

    return trio.run(within_time, **options)


async def tcp_pair() -> Pair:
    (listener,) = await mio_trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        client = await mio_trio.open_tcp_stream(*listener.socket.getsockname())
        return client, await listener.accept()


async def unix_pair() -> Pair:
    left, right = trio.socket.socketpair()
    return mio_trio.SocketStream(left), mio_trio.SocketStream(right)


@asynccontextmanager
async def tcp_streams() -> AsyncIterator[Pair]:
    client, server = await tcp_pair()
    async with client, server:
        yield client, server


async def everything_is_blocked() -> None:
    await trio.testing.wait_all_tasks_blocked(QUIET)


async def fill(stream: mio_trio.SocketStream) -> None:
    """Send until the system takes no more."""
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            while True:
                await stream.send_all(bytes(10_000))

        nursery.start_soon(send)
        await everything_is_blocked()
        nursery.cancel_scope.cancel()


async def enter_the_nested_set() -> Hub:
    """Make one wait, so that the hub moves, with the fixture `nested`."""
    hub = current_hub()
    async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.receive_some)
        await everything_is_blocked()
        await client.send_all(b"x")
    assert hub.is_nested
    return hub
