"""The shuffled run queue: another order for each seed, the same for the same, fair in any case."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import anyio_mio
from anyio_mio._kernel.fairness import ShuffledQueue


def order_of_tasks(**options: Any) -> list[int]:
    log: list[int] = []

    async def note(number: int) -> None:
        log.append(number)
        await anyio.lowlevel.checkpoint()
        log.append(number)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(note, number)

    anyio_mio.run(main, **options)
    return log


def test_without_a_seed_tasks_run_in_the_order_of_their_wake_ups() -> None:
    assert order_of_tasks() == [*range(10), *range(10)]


def test_a_seed_makes_another_order_and_the_same_each_time() -> None:
    orders = [order_of_tasks(shuffle=seed) for seed in (1, 2, 1)]

    assert orders[0] == orders[2]
    assert orders[0] != orders[1]
    assert orders[0] != order_of_tasks()


def test_all_of_a_generation_run_before_the_next() -> None:
    log = order_of_tasks(shuffle=3)

    assert sorted(log[:10]) == sorted(log[10:]) == list(range(10))


def test_what_comes_later_belongs_to_the_next_generation() -> None:
    queue: Any = ShuffledQueue(Random(0))
    for task in range(4):
        queue.append(task)

    first = [queue.popleft()]
    queue.append(99)
    first += [queue.popleft() for _ in range(3)]

    assert sorted(first) == [0, 1, 2, 3]
    assert queue.popleft() == 99


def test_looking_at_the_first_task_changes_nothing() -> None:
    queue: Any = ShuffledQueue(Random(0))
    for task in range(10):
        queue.append(task)

    assert {queue[0] for _ in range(10)} == {queue.popleft()}


def test_an_empty_queue_says_so() -> None:
    with pytest.raises(IndexError):
        ShuffledQueue(Random(0)).popleft()


def test_programs_work_in_any_order() -> None:
    async def main() -> list[int]:
        send, receive = anyio.create_memory_object_stream[int](2)
        received: list[int] = []

        async def produce() -> None:
            async with send:
                for number in range(50):
                    await send.send(number)

        async with anyio.create_task_group() as group, receive:
            group.start_soon(produce)
            async for number in receive:
                received.append(number)  # noqa: PERF401 - one by one
        return received

    for seed in range(5):
        assert anyio_mio.run(main, shuffle=seed) == list(range(50))


class JumpingClock:
    """A clock on which each look at it takes a time."""

    def __init__(self, seconds: float) -> None:
        self.time = 0.0
        self.seconds = seconds

    def now(self) -> float:
        self.time += self.seconds
        return self.time

    def time_to_wait(self, deadline: float) -> float:
        return 0.0


def test_time_does_not_decide_a_shuffled_order() -> None:
    quick = order_of_tasks(shuffle=1, clock=JumpingClock(1e-9))
    slow = order_of_tasks(shuffle=1, clock=JumpingClock(1.0))

    assert quick == slow
