"""Calls of this package's Python functions for each operation, counted with a profile hook.

A coroutine that is resumed counts as a call: it costs the same. Every call on a hot path was
justified once; docs/design/performance.md has the list.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from types import FrameType

import anyio
import anyio.lowlevel
import pytest

import anyio_mio  # noqa: F401 - registers the backend
from anyio_mio._bench import programs
from tests.guard.bounds import within
from tests.shared.pairs import tcp_streams

N = 1000

pytestmark = pytest.mark.anyio


async def calls_for_each(body: Callable[[], Awaitable[object]]) -> float:
    """How many calls of this package ``body()`` makes for each of its N operations."""
    calls = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("anyio_mio.") and "._bench." not in name:
            calls += 1

    await body()
    sys.setprofile(profile)
    try:
        await body()
    finally:
        sys.setprofile(None)
    return calls / N


@pytest.mark.parametrize(
    "name, program",
    [
        ("a checkpoint", programs.checkpoint),
        ("an event there and back", programs.ping_pong),
        ("an item through a memory stream", programs.memory_stream),
        ("a lock that others want", programs.lock),
        ("a task", programs.spawn),
        ("a group of two tasks", programs.nested),
        ("a timeout around a checkpoint", programs.timeout),
        ("a sleep in a task", programs.sleepers),
        ("a cancelled task", programs.cancel_tree),
        ("a hop to a worker thread, without the thread's side", programs.to_thread),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_operation_makes_no_more_calls_than_it_may(
    name: str, program: programs.Program
) -> None:
    within(f"calls: {name}", await calls_for_each(lambda: program(N)))


async def test_a_round_trip_makes_no_more_calls_than_it_may() -> None:
    async def echo() -> None:
        for _ in range(N):
            await right.send(await right.receive())

    async def body() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(echo)
            for _ in range(N):
                await left.send(b"x")
                await left.receive()

    async with tcp_streams() as (left, right):
        within("calls: a round trip, both ends", await calls_for_each(body))


async def test_a_receive_and_a_send_that_need_not_wait_make_two_calls() -> None:
    async def body() -> None:
        for _ in range(N):
            await left.send(b"x")
            await right.receive(1)

    async with tcp_streams() as (left, right):
        await left.send(b"x" * 64)  # there is always more, so no receive waits
        within("calls: a receive and a send that need not wait", await calls_for_each(body))
