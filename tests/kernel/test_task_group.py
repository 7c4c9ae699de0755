"""Task groups: no child outlives the block, and errors go where they belong."""

from __future__ import annotations

import pytest

from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.cancelled import Cancelled
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.task_group import TaskGroup
from tests.kernel.harness import Box, Group, make_kernel, run


@pytest.mark.invariant("K4")
def test_the_block_ends_after_its_last_child() -> None:
    log: list[str] = []

    async def child(kernel: Kernel, seconds: float) -> None:
        await kernel.sleep(seconds)
        log.append(f"child {seconds}")

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            group.spawn(child(kernel, 2))
            group.spawn(child(kernel, 1))
        log.append("after")

    run(main)

    assert log == ["child 1", "child 2", "after"]


@pytest.mark.invariant("K4")
def test_a_child_that_starts_while_an_empty_block_ends_is_waited_for() -> None:
    # The end of an empty block is a schedule point; who came in then was left behind.
    log: list[str] = []

    async def late(kernel: Kernel) -> None:
        await kernel.sleep(1)
        log.append("late")

    async def other(kernel: Kernel, group: Group) -> None:
        group.spawn(late(kernel))

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as outer:
            async with Group(kernel) as inner:
                outer.spawn(other(kernel, inner))
            log.append("inner is over")

    run(main)

    assert log == ["late", "inner is over"]


@pytest.mark.invariant("K4")
def test_a_child_that_is_started_by_the_last_child_is_waited_for() -> None:
    log: list[str] = []

    async def last(kernel: Kernel) -> None:
        await kernel.sleep(1)
        log.append("last")

    async def first(kernel: Kernel, group: Group) -> None:
        group.spawn(last(kernel))

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            group.spawn(first(kernel, group))
        log.append("over")

    run(main)

    assert log == ["last", "over"]


def test_errors_come_in_the_order_of_their_arrival() -> None:
    async def fail(kernel: Kernel, seconds: float, error: Exception) -> None:
        try:
            await kernel.sleep(seconds)
        finally:
            raise error

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            group.spawn(fail(kernel, 9, KeyError()))
            group.spawn(fail(kernel, 1, ValueError()))

    with pytest.raises(ExceptionGroup) as caught:
        run(main)

    assert [type(error) for error in caught.value.exceptions] == [ValueError, KeyError]


def test_a_stray_cancellation_ends_the_group_in_silence() -> None:
    log: list[str] = []

    async def stray(kernel: Kernel) -> None:
        raise Cancelled("kept from somewhere")

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            group.spawn(stray(kernel))
            try:
                await kernel.sleep(9)
            except Cancelled:
                log.append("the body was cancelled")
                raise
        log.append("over")

    run(main)

    assert log == ["the body was cancelled", "over"]


def test_a_group_that_is_left_in_another_task_is_an_error_and_wakes_nobody() -> None:
    # It resumed the task that had entered the group, wherever that was waiting.
    log: list[str] = []

    async def leave(group: TaskGroup) -> None:
        with pytest.raises(RuntimeError, match="different task"):
            await group.__aexit__(None, None, None)
        log.append("refused")

    async def main(kernel: Kernel) -> None:
        box = Box(kernel)
        async with Group(kernel) as outer:
            group = TaskGroup()
            await group.__aenter__()
            outer.spawn(leave(group))
            with CancelScope(shield=True) as scope:
                kernel.deadlines.add(scope, 5)
                await box.wait()
            log.append("the deadline came")
            await group.__aexit__(None, None, None)

    kernel = make_kernel()
    run(main, kernel)

    assert log == ["refused", "the deadline came"]
    assert kernel.now() == 5


def test_children_of_a_group_that_was_never_left_are_cancelled_and_waited_for() -> None:
    log: list[str] = []

    async def child(kernel: Kernel) -> None:
        try:
            await kernel.sleep(100)
        finally:
            log.append(f"child at {kernel.now()}")

    async def main(kernel: Kernel) -> None:
        group = TaskGroup()
        await group.__aenter__()
        group.spawn(child(kernel), "child")
        await kernel.sleep(1)

    kernel = make_kernel()
    with pytest.raises(RuntimeError, match="left open"):
        run(main, kernel)

    assert log == ["child at 1.0"]
    assert kernel.tasks() == []


def test_an_error_of_such_a_child_is_not_lost() -> None:
    async def child(kernel: Kernel) -> None:
        try:
            await kernel.sleep(100)
        finally:
            raise KeyError

    async def main(kernel: Kernel) -> None:
        group = TaskGroup()
        await group.__aenter__()
        group.spawn(child(kernel), "child")
        await kernel.sleep(1)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)

    assert [type(error) for error in caught.value.exceptions] == [KeyError, RuntimeError]


def test_a_task_that_fails_and_leaves_a_group_open_keeps_its_error_with_a_note() -> None:
    async def main(kernel: Kernel) -> None:
        group = TaskGroup()
        await group.__aenter__()
        group.spawn(kernel.sleep(9), "child")
        raise KeyError("the cause of it all")

    with pytest.raises(KeyError, match="the cause of it all") as caught:
        run(main)

    assert "left open" in caught.value.__notes__[0]


def test_a_mere_scope_that_was_left_open_is_forgotten_with_its_deadline() -> None:
    async def child(kernel: Kernel) -> None:
        CancelScope(deadline=50).__enter__()

    async def main(kernel: Kernel) -> int:
        async with Group(kernel) as group:
            group.spawn(child(kernel))
        return 0

    kernel = make_kernel()
    assert run(main, kernel) == 0

    assert kernel.deadlines.alive() == 0
