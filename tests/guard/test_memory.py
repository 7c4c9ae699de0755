"""What a connection takes whose handler waits for data, counted by Python's own allocator.

The clients exist before anything is counted, so what is counted is the server's side alone.
"""

from __future__ import annotations

import gc
import socket
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

import anyio_mio  # noqa: F401 - registers the backend
from anyio_mio.lowlevel import statistics
from tests.guard.bounds import within

CONNECTIONS = 400
WARM_UP = 50

pytestmark = pytest.mark.anyio


async def echo(stream: SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


async def cost_of_a_connection(measure: Callable[[], int]) -> float:
    """By how much a figure grows for each connection that has come and waits."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=1000) as listener:
        port = listener.extra(SocketAttribute.local_port)
        with ExitStack() as stack:

            def connect(count: int) -> None:
                for _ in range(count):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port)))

            async with anyio.create_task_group() as group:
                connect(WARM_UP)
                group.start_soon(listener.serve, echo)
                await parked(WARM_UP)
                group.cancel_scope.cancel()
            async with anyio.create_task_group() as group:
                connect(CONNECTIONS)
                before = measure()
                group.start_soon(listener.serve, echo)
                await parked(CONNECTIONS)
                after = measure()
                group.cancel_scope.cancel()
    return (after - before) / CONNECTIONS


async def parked(count: int) -> None:
    """Wait until so many handlers wait for data."""
    with anyio.fail_after(20):
        while statistics().reactor.tasks_waiting <= count:  # the listener's task waits, too
            await anyio.sleep(0.001)


def bytes_now() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def blocks_now() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def tracked_now() -> int:
    gc.collect()
    return len(gc.get_objects())


async def test_an_idle_connection_takes_no_more_bytes_than_it_may() -> None:
    tracemalloc.start()
    try:
        cost = await cost_of_a_connection(bytes_now)
    finally:
        tracemalloc.stop()

    within("bytes: an idle connection", cost)


async def test_an_idle_connection_takes_no_more_blocks_than_it_may() -> None:
    within("blocks: an idle connection", await cost_of_a_connection(blocks_now))


async def test_an_idle_connection_gives_the_collector_no_more_to_visit_than_it_may() -> None:
    within("tracked objects: an idle connection", await cost_of_a_connection(tracked_now))
