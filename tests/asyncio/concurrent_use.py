"""Use a library from many tasks of mio, and cancel it by a scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio


async def at_once(work: Callable[[int], Awaitable[Any]], number: int = 10) -> list[Any]:
    """Call a function in many tasks; return what it returned, sorted."""
    results = []

    async def call(n: int) -> None:
        results.append(await work(n))

    async with anyio.create_task_group() as group:
        for n in range(number):
            group.start_soon(call, n)
    return sorted(results)


async def cancel(work: Callable[[], Awaitable[Any]]) -> None:
    """Cancel a call by a scope, and fail if it does not end."""
    with anyio.fail_after(5), anyio.move_on_after(0.1) as scope:
        await work()
    assert scope.cancelled_caught
