"""Python function calls for each operation, counted with a profile hook.

Every call on a hot path was justified once (docs/design/performance.md has the list). A bound here
that is exceeded means that somebody added one; raise it only with a reason.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from types import FrameType

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute, SocketListener, SocketStream

import anyio_mio  # noqa: F401 - registers the backend

N = 1000

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "mio"


async def calls_of_mio(body: Callable[[], Awaitable[object]]) -> int:
    """How many Python functions of this package are called or resumed while ``body()`` runs."""
    calls = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        if event == "call" and frame.f_globals.get("__name__", "").startswith("anyio_mio."):
            calls += 1

    sys.setprofile(profile)
    try:
        await body()
    finally:
        sys.setprofile(None)
    return calls


async def test_an_echo_round_trip_makes_few_calls() -> None:
    left, right = await stream_pair()

    async def echo() -> None:
        for _ in range(N):
            await right.send(await right.receive())

    async def body() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(echo)
            for _ in range(N):
                await left.send(b"x")
                await left.receive()

    async with left, right:
        # Both ends are here: two sends, two receives (each called, parked and resumed), two turns.
        assert await calls_of_mio(body) / N <= 26


async def test_a_checkpoint_is_one_call() -> None:
    async def body() -> None:
        for _ in range(N):
            await anyio.lowlevel.checkpoint()

    # Once in a while it yields, which is a turn of the kernel.
    assert await calls_of_mio(body) / N <= 1.3


async def test_a_timeout_that_does_not_fire_makes_few_calls() -> None:
    async def body() -> None:
        for _ in range(N):
            with anyio.move_on_after(60):  # noqa: ASYNC100 - its own cost is what is counted
                pass

    assert await calls_of_mio(body) / N <= 12


async def test_a_task_makes_few_calls() -> None:
    async def child() -> None:
        pass

    async def body() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(N):
                group.start_soon(child)

    assert await calls_of_mio(body) / N <= 26


async def stream_pair() -> tuple[SocketStream, SocketStream]:
    """Two connected TCP streams."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as multi:
        listener = multi.listeners[0]
        assert isinstance(listener, SocketListener)
        port = listener.extra(SocketAttribute.local_port)
        left = await anyio.connect_tcp("127.0.0.1", port)
        return left, await listener.accept()
