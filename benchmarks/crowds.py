"""Programs with more and more tasks and timers, whose cost `benchmarks.curves` shows.

Run as a process, as `anyio_mio._bench.inside` is: `python -m benchmarks.crowds BACKEND NAME`.
"""

from __future__ import annotations

from typing import Final

import anyio

from anyio_mio._bench import inside
from anyio_mio._bench.programs import Goes, start_and_wait


async def crowd(n: int) -> None:
    """Start tasks that wait until all of them wait, and wake them."""
    gate = anyio.Event()
    async with anyio.create_task_group() as group:
        await start_and_wait(group, n, gate.wait)
        gate.set()


async def timers(n: int) -> None:
    """Start tasks that sleep longer than it takes to start all of them, and wait for their ends.

    The deadlines are out of order, a hundred thousand in each second.
    """
    start = anyio.current_time() + 0.002 + n * 60e-6
    window = max(n, 1) * 10e-6

    async def until(deadline: float) -> None:
        await anyio.sleep(max(deadline - anyio.current_time(), 0))

    async with anyio.create_task_group() as group:
        for number in range(n):
            group.start_soon(until, start + window * (number * 7919 % 104729) / 104729)


CROWDS: Final[Goes] = {"crowd": (crowd, 1_000), "timers": (timers, 1_000)}


if __name__ == "__main__":
    inside.main(CROWDS)
