"""Locks whose owner has ended, and borrowers that are mistaken for others."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

import anyio_mio
from anyio_mio._backend.task_info import MioTaskInfo


async def take_and_end(lock: anyio.Lock) -> None:
    await lock.acquire()
    await anyio.lowlevel.checkpoint()


async def take_and_fail(lock: anyio.Lock) -> None:
    await lock.acquire()
    await anyio.lowlevel.checkpoint()
    raise KeyError


async def take_and_be_cancelled(lock: anyio.Lock) -> None:
    with anyio.CancelScope() as scope:
        await lock.acquire()
        scope.cancel()
        await anyio.lowlevel.checkpoint()


OWNERS = [take_and_end, take_and_fail, take_and_be_cancelled]


@pytest.mark.parametrize("owner", OWNERS)
def test_those_who_wait_for_a_lock_whose_owner_ends_are_told(
    owner: Callable[[anyio.Lock], Awaitable[None]],
) -> None:
    async def main() -> list[str]:
        lock, seen = anyio.Lock(), list[str]()

        async def wait(name: str) -> None:
            try:
                await lock.acquire()
            except anyio.BrokenResourceError as error:
                seen.append(f"{name}: {str(error).splitlines()[0]}")

        async def own() -> None:
            try:
                await owner(lock)
            except KeyError:
                pass

        async with anyio.create_task_group() as group:
            group.start_soon(own, name="owner")
            for name in ("a", "b"):
                group.start_soon(wait, name)
        return seen

    text = "the task 'owner' has ended without releasing this lock."
    assert anyio_mio.run(main) == [f"a: {text}", f"b: {text}"]


def test_who_comes_after_the_owner_has_ended_is_told_too() -> None:
    async def main() -> None:
        lock = anyio.Lock()
        async with anyio.create_task_group() as group:
            group.start_soon(take_and_end, lock)
        with pytest.raises(anyio.BrokenResourceError, match="right: async with lock"):
            await lock.acquire()
        with pytest.raises(anyio.WouldBlock):
            lock.acquire_nowait()
        assert lock.statistics().tasks_waiting == 0

    anyio_mio.run(main)


def test_a_waiter_that_got_the_lock_and_ends_is_an_owner_that_has_ended() -> None:
    async def main() -> int:
        lock, told = anyio.Lock(), 0

        async def wait() -> None:
            nonlocal told
            try:
                await lock.acquire()
            except anyio.BrokenResourceError:
                told += 1

        lock.acquire_nowait()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            lock.release()
        return told

    assert anyio_mio.run(main) == 2


def test_an_owner_that_has_released_its_lock_may_end() -> None:
    async def main() -> list[int]:
        lock, seen = anyio.Lock(), list[int]()

        async def work(number: int) -> None:
            async with lock:
                await anyio.lowlevel.checkpoint()
                seen.append(number)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(work, number)
        return seen

    assert anyio_mio.run(main) == [0, 1, 2, 3, 4]


def test_an_owner_keeps_no_lock_that_its_only_waiter_has_left() -> None:
    async def main() -> object:
        from anyio_mio._kernel.kernel import running_kernel

        lock = anyio.Lock()
        async with lock:
            with anyio.move_on_after(0):
                async with anyio.create_task_group() as group:
                    group.start_soon(lock.acquire)
        task = running_kernel().current
        assert task is not None
        return task.wanted

    assert anyio_mio.run(main) is None


def test_each_of_several_locks_whose_owner_has_ended_is_lost() -> None:
    locks = [anyio.Lock() for _ in range(3)]
    lost: list[int] = []

    async def owner() -> None:
        for lock in locks:
            lock.acquire_nowait()
        await anyio.wait_all_tasks_blocked()
        locks[1].release()

    async def want(number: int) -> None:
        try:
            await locks[number].acquire()
        except anyio.BrokenResourceError:
            lost.append(number)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(owner)
            for number in range(3):
                group.start_soon(want, number)

    anyio_mio.run(main)

    assert lost == [0, 2]


def test_a_condition_whose_lock_is_lost_says_so() -> None:
    async def main() -> None:
        condition = anyio.Condition()

        async def take() -> None:
            await condition.acquire()

        async with anyio.create_task_group() as group:
            group.start_soon(take)
        with pytest.raises(anyio.BrokenResourceError):
            await condition.acquire()

    anyio_mio.run(main)


def infos_at_one_address() -> tuple[list[MioTaskInfo], int]:
    """The infos of tasks one after another, and how many of their ids are equal to an earlier."""
    infos: list[MioTaskInfo] = []

    async def note() -> None:
        info = anyio.get_current_task()
        assert isinstance(info, MioTaskInfo)
        infos.append(info)

    async def main() -> None:
        for _ in range(20):
            async with anyio.create_task_group() as group:
                group.start_soon(note)
            gc.collect(0)

    anyio_mio.run(main)
    return infos, len(infos) - len({info.id for info in infos})


def test_a_task_is_not_equal_to_an_earlier_one_at_its_address() -> None:
    infos, reused = infos_at_one_address()

    assert reused > 0
    assert all(one is other for one in infos for other in infos if one == other)


def test_a_task_cannot_give_the_token_of_an_earlier_one_back() -> None:
    async def main() -> int:
        limiter, refused = anyio.CapacityLimiter(1), 0

        async def leak() -> None:
            limiter.acquire_nowait()

        async def release() -> None:
            nonlocal refused
            with pytest.raises(RuntimeError, match="isn't holding"):
                limiter.release()
            refused += 1

        async with anyio.create_task_group() as group:
            group.start_soon(leak)
        for _ in range(5):
            async with anyio.create_task_group() as group:
                group.start_soon(release)
        return refused

    assert anyio_mio.run(main) == 5


def test_a_task_cannot_notify_a_condition_of_an_earlier_one() -> None:
    async def main() -> None:
        condition = anyio.Condition()

        async def take() -> None:
            await condition.acquire()

        async def notify() -> None:
            with pytest.raises(RuntimeError):
                condition.notify()

        async with anyio.create_task_group() as group:
            group.start_soon(take)
        for _ in range(5):
            async with anyio.create_task_group() as group:
                group.start_soon(notify)

    anyio_mio.run(main)


def test_the_info_of_a_task_is_equal_to_itself() -> None:
    async def main() -> None:
        mine = anyio.get_current_task()

        assert mine == anyio.get_current_task()
        assert mine in anyio.get_running_tasks()
        assert hash(mine) == hash(anyio.get_current_task())

    anyio_mio.run(main)


def test_tokens_are_served_in_the_order_of_asking() -> None:
    async def main() -> list[int]:
        limiter, seen = anyio.CapacityLimiter(1), list[int]()

        async def work(number: int) -> None:
            async with limiter:
                seen.append(number)
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(work, number)
        return seen

    assert anyio_mio.run(main) == [*range(6)]
