"""start(): whoever is cancelled, crashes or says `started` at whatever moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskStatus

import anyio_mio


def run_main(main: Callable[[], Awaitable[object]]) -> None:
    async def limited() -> None:
        with anyio.fail_after(5):
            await main()

    anyio_mio.run(limited)


def test_the_value_comes_back_and_the_child_goes_on_in_the_group() -> None:
    log: list[str] = []

    async def child(*, task_status: TaskStatus[int]) -> None:
        task_status.started(5)
        await anyio.sleep(0.001)
        log.append("child over")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            assert await group.start(child) == 5
            assert log == []
        assert log == ["child over"]

    run_main(main)


def test_a_crash_before_comes_out_bare_and_leaves_the_group_alone() -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        raise KeyError

    async def main() -> None:
        async with anyio.create_task_group() as group:
            with pytest.raises(KeyError):
                await group.start(child)
            await anyio.lowlevel.checkpoint()

    run_main(main)


def test_a_crash_after_belongs_to_the_group() -> None:
    async def child(*, task_status: TaskStatus[str]) -> None:
        task_status.started("value")
        raise KeyError

    async def main() -> None:
        values = []
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                values.append(await group.start(child))
        assert values == ["value"]
        assert isinstance(caught.value.exceptions[0], KeyError)

    run_main(main)


def test_an_end_without_started_is_an_error() -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        pass

    async def main() -> None:
        async with anyio.create_task_group() as group:
            with pytest.raises(RuntimeError, match="Child exited"):
                await group.start(child)

    run_main(main)


def test_started_twice_is_an_error_of_the_child() -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        with pytest.raises(RuntimeError, match="called 'started' twice"):
            task_status.started()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            await group.start(child)

    run_main(main)


def test_a_cancelled_caller_cancels_the_child_and_waits_for_it() -> None:
    log: list[str] = []

    async def child(*, task_status: TaskStatus[None]) -> None:
        try:
            await anyio.sleep(10)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            log.append("child over")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            with anyio.move_on_after(0.01) as scope:
                await group.start(child)
            assert scope.cancelled_caught
            assert log == ["child over"]
            assert not group.cancel_scope.cancel_called

    run_main(main)


def test_a_caller_that_was_cancelled_before_still_lets_the_child_begin() -> None:
    log: list[str] = []

    async def child(*, task_status: TaskStatus[None]) -> None:
        log.append("began")
        task_status.started()
        await anyio.sleep(10)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await group.start(child)
            assert scope.cancelled_caught

    run_main(main)

    assert log == ["began"]


def test_a_group_that_is_cancelled_reaches_the_child_only_when_it_has_started() -> None:
    log: list[str] = []

    async def child(*, task_status: TaskStatus[None]) -> None:
        await anyio.sleep(0.01)
        log.append("not cancelled yet")
        task_status.started()
        await anyio.sleep(10)
        log.append("never")

    async def main() -> None:
        async with anyio.create_task_group() as outer, anyio.create_task_group() as target:
            outer.start_soon(target.start, child)
            await anyio.lowlevel.checkpoint()
            target.cancel_scope.cancel()

    run_main(main)

    assert log == ["not cancelled yet"]


def test_the_group_waits_for_a_start_that_is_pending() -> None:
    log: list[str] = []

    async def child(*, task_status: TaskStatus[None]) -> None:
        await anyio.sleep(0.01)
        task_status.started()
        log.append("started")

    async def main() -> None:
        async with anyio.create_task_group() as outer:
            async with anyio.create_task_group() as target:
                outer.start_soon(target.start, child)
                await anyio.lowlevel.checkpoint()
            assert log == ["started"]

    run_main(main)


def test_scopes_that_the_child_is_in_move_with_it() -> None:
    log: list[str] = []

    async def child(*, task_status: TaskStatus[anyio.CancelScope]) -> None:
        with anyio.CancelScope() as own:
            with anyio.CancelScope(shield=True):
                task_status.started(own)
                await anyio.sleep(0.01)
                log.append("shielded")
            await anyio.lowlevel.checkpoint()
            log.append("never")
        log.append("own scope caught it" if own.cancelled_caught else "went through")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            own = await group.start(child)
            own.cancel()

    run_main(main)

    assert log == ["shielded", "own scope caught it"]


def test_a_child_that_crashes_while_its_cancelled_caller_waits_tells_its_error() -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        try:
            await anyio.sleep(10)
        finally:
            raise KeyError

    async def main() -> None:
        async with anyio.create_task_group() as group:
            with pytest.raises(KeyError), anyio.move_on_after(0.01):
                await group.start(child)

    run_main(main)


def test_started_after_the_caller_was_cancelled_does_nothing() -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        try:
            await anyio.sleep(10)
        except anyio.get_cancelled_exc_class():
            task_status.started()
            task_status.started()
            raise

    async def main() -> None:
        async with anyio.create_task_group() as group:
            with anyio.move_on_after(0.01) as scope:
                await group.start(child)
            assert scope.cancelled_caught

    run_main(main)


def test_starts_may_nest() -> None:
    async def inner(*, task_status: TaskStatus[str]) -> None:
        task_status.started("inner")

    async def outer(group: anyio.abc.TaskGroup, *, task_status: TaskStatus[str]) -> None:
        task_status.started(await group.start(inner))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            assert await group.start(outer, group) == "inner"

    run_main(main)


def test_a_caller_that_is_shielded_again_gets_the_value() -> None:
    async def main() -> None:
        async def child(*, task_status: TaskStatus[int]) -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.001)
            outer.cancel()
            inner.shield = True
            task_status.started(12)

        values = []
        with anyio.CancelScope() as outer, anyio.CancelScope() as inner:
            async with anyio.create_task_group() as group:
                values.append(await group.start(child))
        assert values == [12]

    run_main(main)


def test_a_child_that_ends_well_after_its_caller_was_shielded_again_has_a_value() -> None:
    async def main() -> None:
        async def child(*, task_status: TaskStatus[int]) -> None:
            outer.cancel()
            task_status.started(12)
            inner.shield = True

        values = []
        with anyio.CancelScope() as outer, anyio.CancelScope() as inner:
            async with anyio.create_task_group() as group:
                values.append(await group.start(child))
        assert values == [12]

    run_main(main)


@pytest.mark.invariant("K6")
def test_a_caller_that_is_cancelled_after_its_wake_up_gets_the_value() -> None:
    async def main() -> None:
        log: list[str] = []

        async def child(*, task_status: TaskStatus[int]) -> None:
            await anyio.lowlevel.checkpoint()
            task_status.started(1)
            scope.cancel()
            with pytest.raises(RuntimeError, match="twice"):
                task_status.started(2)
            log.append("told")

        values = []
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                values.append(await group.start(child))
        assert (values, log) == ([1], ["told"])

    run_main(main)


def starts_early(*, task_status: TaskStatus[str]) -> Coroutine[Any, Any, None]:
    """Says that it has started before its coroutine exists."""
    task_status.started("early")
    return anyio.sleep(0.001)


def test_a_start_before_the_coroutine_exists_is_a_checkpoint() -> None:
    async def main() -> None:
        log: list[str] = []

        async def other() -> None:
            log.append("other ran")

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            assert await group.start(starts_early) == "early"
            assert log == ["other ran"]

    run_main(main)


def test_a_start_before_the_coroutine_exists_is_cancelled_with_its_child() -> None:
    async def main() -> None:
        async def child() -> None:
            try:
                await anyio.sleep(0.001)
            except anyio.get_cancelled_exc_class():
                log.append("child cancelled")
                raise

        def early(*, task_status: TaskStatus[None]) -> Coroutine[Any, Any, None]:
            task_status.started()
            return child()

        log: list[str] = []
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await group.start(early)
            assert scope.cancelled_caught
            assert log == ["child cancelled"]

    run_main(main)


def test_started_twice_before_the_coroutine_exists_is_an_error() -> None:
    def early(*, task_status: TaskStatus[None]) -> Coroutine[Any, Any, None]:
        task_status.started()
        task_status.started()
        return anyio.lowlevel.checkpoint()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            with pytest.raises(RuntimeError, match="twice"):
                await group.start(early)

    run_main(main)
