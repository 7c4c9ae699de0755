"""Tasks that are cancelled at random moments, and what they may leave behind."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from anyio_mio.lowlevel import task_tree

SECONDS = [2, pytest.param(60, marks=pytest.mark.slow)]
"""How long: a look in each run of the tests, and a minute of it where it is asked for."""


def skip_the_minute(seconds: float) -> None:
    """Skip a minute of cancellations, unless it was asked for."""
    if seconds > 10 and not os.environ.get("ANYIO_MIO_SOAK"):
        pytest.skip("a minute of this: ANYIO_MIO_SOAK=1 pytest -m slow tests/asyncio")


async def cancel_at_random(
    work: Callable[[], Awaitable[object]],
    seconds: float,
    *,
    tasks: int = 8,
    scopes_alone: bool = False,
) -> dict[str, int]:
    """Have tasks work and be cancelled at any moment, many times; count how each ended.

    Args:
        work: what the tasks do, again and again. It is done once before: a task is cancelled after
            three times as long at the latest, so that some are done on a slow machine too.
        seconds: for how long.
        tasks: how many work at once.
        scopes_alone: whether AnyIO's scopes alone cancel, and not ``asyncio.timeout()`` too.
    """
    counts = {"done": 0, "cancelled": 0}
    start, chance = time.monotonic(), random.Random(1)
    await work()
    within = 3 * (time.monotonic() - start)
    end = time.monotonic() + seconds

    async def repeat() -> None:
        while time.monotonic() < end:
            limit, by_scope = chance.random() * within, scopes_alone or chance.random() < 0.5
            is_done = await (move_on_after if by_scope else time_out_after)(limit, work)
            counts["done" if is_done else "cancelled"] += 1

    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(repeat)
    assert counts["done"] > 10
    assert counts["cancelled"] > 10
    return counts


async def move_on_after(seconds: float, work: Callable[[], Awaitable[object]]) -> bool:
    """Work in one of AnyIO's scopes; return whether it was done in time."""
    with anyio.move_on_after(seconds) as scope:
        await work()
    return not scope.cancelled_caught


async def time_out_after(seconds: float, work: Callable[[], Awaitable[object]]) -> bool:
    """Work in one of asyncio's time limits; return whether it was done in time."""
    try:
        async with asyncio.timeout(seconds):
            await work()
    except TimeoutError:
        return False
    return True


def descriptors() -> int:
    """Return how many descriptors this process has open; 0 where that cannot be counted."""
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


def counted() -> tuple[int, int, int]:
    """Return the numbers of descriptors, of tasks, and of what asyncio watches."""
    loop: Any = asyncio.get_running_loop()
    return descriptors(), len(task_tree().tasks), len(loop._selector.watches)


async def until_no_more_than(before: tuple[int, int, int], seconds: float = 10) -> None:
    """Wait until what a program has left behind is gone, and fail if it stays."""
    end = time.monotonic() + seconds
    while any(now > then for now, then in zip(counted(), before, strict=True)):
        assert time.monotonic() < end, (
            f"descriptors, tasks, watched: {before} before, {counted()} after"
        )
        await anyio.sleep(0.02)
