"""Tasks of both worlds that wait for each other's end: a cancellation ends all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import anyio_mio
from anyio_mio.asyncio import run_in_task

pytestmark = [pytest.mark.invariant("A2"), pytest.mark.timeout(10)]

Wait = Callable[["asyncio.Task[Any]"], Awaitable[Any]]


async def directly(task: asyncio.Task[Any]) -> None:
    await task


async def in_a_child(task: asyncio.Task[Any]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(directly, task)


async def in_a_gather(task: asyncio.Task[Any]) -> None:
    await asyncio.gather(task, asyncio.sleep(60))


async def in_a_scope(task: asyncio.Task[Any]) -> None:
    with anyio.fail_after(60):
        await task


async def through_another_task(task: asyncio.Task[Any]) -> None:
    async def wait() -> None:
        await task

    await asyncio.ensure_future(wait())


async def through_a_task_of_mio(task: asyncio.Task[Any]) -> None:
    async def wait() -> None:
        await run_in_task(directly, task)

    await asyncio.ensure_future(wait())


async def begin(wait: Wait, ended: list[str]) -> asyncio.Task[Any]:
    """A task of asyncio, which waits for one of mio, which waits for the first."""

    async def in_mio() -> None:
        try:
            await wait(outer)
        finally:
            ended.append("mio")

    async def in_asyncio() -> None:
        try:
            await run_in_task(in_mio)
        finally:
            ended.append("asyncio")

    outer = asyncio.ensure_future(in_asyncio())
    for _ in range(5):
        await asyncio.sleep(0)
    return outer


@pytest.mark.parametrize(
    "wait",
    [
        *(directly, in_a_child, in_a_gather, in_a_scope),
        *(through_another_task, through_a_task_of_mio),
    ],
)
@pytest.mark.parametrize("how", ["cancel the task", "cancel a wait for it", "end the run"])
def test_a_circle_ends_when_one_of_its_tasks_is_cancelled(how: str, wait: Wait) -> None:
    ended: list[str] = []

    async def main() -> None:
        outer = await begin(wait, ended)
        if how == "cancel the task":
            outer.cancel()
            await asyncio.wait([outer])
            assert outer.cancelled()
        elif how == "cancel a wait for it":
            with anyio.move_on_after(0) as scope:
                await outer
            assert scope.cancelled_caught
            assert outer.cancelled()

    anyio_mio.run(main)

    assert ended == ["mio", "asyncio"]


def test_a_wait_that_is_no_circle_goes_on_until_its_future_is_done() -> None:
    async def main() -> str:
        done: list[str] = []

        async def slow_to_end() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                done.append("cleaned up")

        task = asyncio.ensure_future(slow_to_end())
        await asyncio.sleep(0)
        with anyio.move_on_after(0):
            await task
        return done[0]

    assert anyio_mio.run(main) == "cleaned up"


def test_a_circle_that_a_task_group_of_asyncio_closes_ends() -> None:
    """The group cancels its child in a later step than the one in which it is cancelled."""
    ended: list[str] = []

    async def main() -> None:
        async def in_mio() -> None:
            await outer

        async def in_asyncio() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(run_in_task(in_mio))

        outer = asyncio.ensure_future(in_asyncio())
        await asyncio.sleep(0.01)
        with anyio.move_on_after(0) as scope:
            await outer
        assert scope.cancelled_caught
        ended.append("main")

    anyio_mio.run(main)

    assert ended == ["main"]


def test_a_circle_that_the_clean_up_of_a_task_of_asyncio_closes_ends() -> None:
    async def main() -> bool:
        async def in_mio() -> None:
            await one

        async def in_asyncio() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.01)
                await other

        one = asyncio.ensure_future(in_asyncio())
        other = asyncio.ensure_future(run_in_task(in_mio))
        await asyncio.sleep(0.01)
        other.cancel()
        await asyncio.wait([one, other])
        return one.cancelled() and other.cancelled()

    assert anyio_mio.run(main)


def test_a_circle_that_the_clean_up_of_a_task_of_mio_closes_ends() -> None:
    async def main() -> bool:
        async def in_mio() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await outer

        outer = asyncio.ensure_future(run_in_task(in_mio))
        await asyncio.sleep(0.01)
        outer.cancel()
        await asyncio.wait([outer])
        return outer.cancelled()

    assert anyio_mio.run(main)


def test_a_wait_for_a_circle_of_asyncios_own_tasks_can_be_cancelled() -> None:
    """The run then ends as `asyncio.run()` does, which cannot cancel these tasks either."""
    caught: list[bool] = []

    async def main() -> None:
        async def wait_for(index: int) -> None:
            await tasks[index]

        tasks = [asyncio.ensure_future(wait_for(1)), asyncio.ensure_future(wait_for(0))]
        await asyncio.sleep(0.01)
        with anyio.move_on_after(0) as scope:
            await tasks[0]
        caught.append(scope.cancelled_caught)

    with pytest.raises(RecursionError):
        anyio_mio.run(main)

    assert caught == [True]


def test_an_error_in_a_clean_up_that_is_not_waited_for_is_reported() -> None:
    reported: list[BaseException] = []

    async def main() -> None:
        async def in_mio() -> None:
            await outer

        async def in_asyncio() -> None:
            try:
                await run_in_task(in_mio)
            except asyncio.CancelledError:
                raise LookupError("lost") from None

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        outer = asyncio.ensure_future(in_asyncio())
        await asyncio.sleep(0.01)
        outer.cancel()
        await anyio.sleep(0.01)

    anyio_mio.run(main)

    assert [repr(error) for error in reported] == ["LookupError('lost')"]
