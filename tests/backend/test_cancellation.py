"""Who hears of a cancellation, in which order, and what it costs."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

import anyio_mio
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._kernel.task import Task

FEW, MANY = 6, 1000


def held_lock() -> anyio.Lock:
    lock = anyio.Lock()
    lock.acquire_nowait()
    return lock


def full_limiter() -> anyio.CapacityLimiter:
    limiter = anyio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("another")
    return limiter


def condition_wait() -> Callable[[], Awaitable[object]]:
    condition = anyio.Condition()

    async def wait() -> None:
        async with condition:
            await condition.wait()

    return wait


QUEUES: dict[str, Callable[[], Callable[[], Awaitable[object]]]] = {
    "sleep": lambda: anyio.sleep_forever,
    "event": lambda: anyio.Event().wait,
    "lock": lambda: held_lock().acquire,
    "semaphore": lambda: anyio.Semaphore(0).acquire,
    "limiter": lambda: full_limiter().acquire,
    "condition": condition_wait,
    "idle": lambda: anyio.wait_all_tasks_blocked,
}


@pytest.mark.parametrize("queue", QUEUES)
def test_tasks_hear_of_a_cancellation_in_the_order_of_their_start(queue: str) -> None:
    async def main() -> list[int]:
        wait, seen = QUEUES[queue](), list[int]()

        async def waiter(number: int) -> None:
            try:
                await wait()
            finally:
                seen.append(number)

        async with anyio.create_task_group() as group:
            for number in range(FEW):
                group.start_soon(waiter, number)
            for _ in range(2 * FEW):  # and not until all are blocked, which some wait for
                await running_kernel().checkpoint()
            group.cancel_scope.cancel()
        return seen

    assert anyio_mio.run(main) == [*range(FEW)]


def test_the_children_of_a_task_hear_of_it_after_the_task_and_before_the_next() -> None:
    async def main() -> list[str]:
        seen = list[str]()

        async def leaf(name: str) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                seen.append(name)

        async def branch(name: str) -> None:
            async with anyio.create_task_group() as inner:
                inner.start_soon(leaf, f"{name}1")
                inner.start_soon(leaf, f"{name}2")
                await leaf(name)

        async with anyio.create_task_group() as group:
            group.start_soon(branch, "a")
            group.start_soon(leaf, "b")
            group.start_soon(branch, "c")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        return seen

    assert anyio_mio.run(main) == ["a", "a1", "a2", "b", "c", "c1", "c2"]


@pytest.mark.parametrize("order", ["first to last", "last to first", "random"])
@pytest.mark.parametrize("queue", [name for name in QUEUES if name != "condition"])
def test_a_cancelled_task_leaves_its_queue_without_a_look_at_the_others(
    queue: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0

    def equal(one: Task, other: object) -> bool:
        nonlocal compared
        compared += 1
        return one is other

    monkeypatch.setattr(Task, "__eq__", equal)
    monkeypatch.setattr(Task, "__hash__", lambda task: id(task) >> 4)

    async def main() -> None:
        nonlocal compared
        wait, scopes = QUEUES[queue](), list[anyio.CancelScope]()

        async def waiter() -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await wait()

        async with anyio.create_task_group() as group:
            for _ in range(MANY):
                group.start_soon(waiter)
            await running_kernel().checkpoint()
            if order == "last to first":
                scopes.reverse()
            elif order == "random":
                random.Random(1).shuffle(scopes)
            compared = 0
            for scope in scopes:
                scope.cancel()
            assert compared < 4 * MANY

    anyio_mio.run(main)


def test_a_deep_tree_is_cancelled_in_one_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of each task's exception is that of the cause, and is looked up once."""
    from anyio_mio._kernel import cancel_scope

    asked = 0
    message = cancel_scope.CancelScope.cancel_message

    def counted(scope: cancel_scope.CancelScope) -> str:
        nonlocal asked
        asked += 1
        return message(scope)

    monkeypatch.setattr(cancel_scope.CancelScope, "cancel_message", counted)

    async def nest(depth: int) -> None:
        async with anyio.create_task_group() as group:
            if depth:
                group.start_soon(nest, depth - 1)
            await anyio.sleep_forever()

    async def main() -> None:
        nonlocal asked
        async with anyio.create_task_group() as group:
            group.start_soon(nest, 100)
            await anyio.wait_all_tasks_blocked()
            asked = 0
            group.cancel_scope.cancel()
            assert asked == 1

    anyio_mio.run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio", "mio"])
def test_a_group_whose_children_were_cancelled_from_outside_says_so(backend: str) -> None:
    async def main() -> bool:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                scope.cancel()
        return group.cancel_scope.cancel_called

    assert anyio.run(main, backend=backend)


def test_a_group_whose_children_were_cancelled_from_outside_has_not_caught_it() -> None:
    async def main() -> tuple[bool, bool]:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                scope.cancel()
        return group.cancel_scope.cancelled_caught, scope.cancelled_caught

    assert anyio_mio.run(main) == (False, True)


@pytest.mark.invariant("K6")
@pytest.mark.parametrize("backend", ["trio", "mio"])
def test_a_group_whose_last_child_has_ended_is_not_cancelled_any_more(backend: str) -> None:
    async def main() -> list[object]:
        event, seen = anyio.Event(), list[object]()

        async def other() -> None:
            await anyio.wait_all_tasks_blocked()
            event.set()
            await anyio.lowlevel.cancel_shielded_checkpoint()
            outer.cancel()

        async with anyio.create_task_group() as others:
            others.start_soon(other)
            with anyio.CancelScope() as outer:
                async with anyio.create_task_group() as group:
                    group.start_soon(event.wait)
                seen.append("the group ended")
            seen.append(outer.cancelled_caught)
        return seen

    assert anyio.run(main, backend=backend) == ["the group ended", False]


def test_a_group_whose_task_is_shielded_again_does_not_raise_the_cancellation() -> None:
    async def main() -> list[object]:
        seen = list[object]()

        async def child() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            outer.cancel()
            inner.shield = True

        with anyio.CancelScope() as outer, anyio.CancelScope() as inner:
            async with anyio.create_task_group() as group:
                group.start_soon(child)
            seen.append("the group ended")
        return seen

    assert anyio_mio.run(main) == ["the group ended"]


WRONG_DEADLINES = {"text": "x", "number as text": "5", "None": None, "list": [1]}


@pytest.mark.parametrize("value", WRONG_DEADLINES.values(), ids=WRONG_DEADLINES)
def test_a_deadline_that_is_no_number_is_a_type_error(value: object) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="right: CancelScope"):
            anyio.CancelScope(deadline=value)  # type: ignore[arg-type]
        with anyio.CancelScope() as scope:
            with pytest.raises(TypeError, match="right: CancelScope"):
                scope.deadline = value  # type: ignore[assignment]
            await anyio.lowlevel.checkpoint()

    anyio_mio.run(main)


@pytest.mark.parametrize("value", ["no", 1, None])
def test_a_shield_that_is_no_bool_is_a_type_error(value: object) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="shield must be a bool"):
            anyio.CancelScope(shield=value)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="shield must be a bool"):
            anyio.CancelScope().shield = value  # type: ignore[assignment]
        with pytest.raises(TypeError, match="shield must be a bool"):
            anyio.move_on_after(1, shield=value)  # type: ignore[arg-type]
        await anyio.lowlevel.checkpoint()

    anyio_mio.run(main)


def test_a_deadline_may_be_any_real_number() -> None:
    from decimal import Decimal
    from fractions import Fraction

    async def main() -> list[float]:
        numbers = (5, 5.0, Decimal(5), Fraction(5), True)
        return [anyio.CancelScope(deadline=number).deadline for number in numbers]  # type: ignore[arg-type]

    assert anyio_mio.run(main) == [5.0, 5.0, 5.0, 5.0, 1.0]


def test_scopes_that_a_task_has_left_open_are_forgotten_with_their_last_task() -> None:
    async def leaves_a_group_open() -> None:
        group = anyio.create_task_group()
        await group.__aenter__()
        group.start_soon(anyio.sleep_forever)

    async def main() -> tuple[int, int]:
        kernel = running_kernel()
        most = 0
        for _ in range(10):
            with pytest.raises(ExceptionGroup):
                async with anyio.create_task_group() as group:
                    group.start_soon(leaves_a_group_open)
            most = max(most, len(kernel.abandoned))
        await anyio.wait_all_tasks_blocked()
        return most, len(kernel.abandoned)

    most, left = anyio_mio.run(main)
    assert most <= 2
    assert left == 0
