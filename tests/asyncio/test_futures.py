"""A task of mio awaits what is asyncio's, and is cancelled by AnyIO's scopes (A2)."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("A2")]


async def value_after(seconds: float, value: str = "value") -> str:
    await asyncio.sleep(seconds)
    return value


async def test_a_future_that_a_callback_sets_resumes_the_task() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    loop.call_soon(future.set_result, "value")

    assert await future == "value"


async def test_the_exception_of_a_future_is_raised_where_it_is_awaited() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    loop.call_soon(future.set_exception, LookupError("gone"))

    with pytest.raises(LookupError, match="gone"):
        await future


async def test_tasks_gather_and_wait_for_work_in_a_task_of_mio() -> None:
    task = asyncio.create_task(value_after(0, "one"))

    assert await task == "one"
    both = await asyncio.gather(value_after(0, "two"), value_after(0, "three"))
    assert list(both) == ["two", "three"]
    assert await asyncio.wait_for(value_after(0, "four"), 5) == "four"


async def test_events_locks_and_queues_of_asyncio_work_between_both_worlds() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    lock, event = asyncio.Lock(), asyncio.Event()
    received: list[int] = []

    async def produce() -> None:
        async with lock:
            for number in range(3):
                await queue.put(number)
        event.set()

    producer = asyncio.create_task(produce())
    async with anyio.create_task_group() as group:
        group.start_soon(event.wait)
        received += [await queue.get() for _ in range(3)]
        async with lock:
            await producer

    assert received == [0, 1, 2]


async def test_a_bare_yield_lets_the_others_run() -> None:
    steps = []

    async def other() -> None:
        steps.append("other")

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        steps.append("main")

    assert steps == ["other", "main"]


async def test_a_loop_of_bare_yields_can_be_cancelled() -> None:
    with anyio.move_on_after(0.01) as scope:
        while True:
            await asyncio.sleep(0)

    assert scope.cancelled_caught


async def test_a_cancelled_scope_cancels_the_future_that_its_task_awaits() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    with anyio.move_on_after(0.01) as scope:
        await future

    assert scope.cancelled_caught
    assert future.cancelled()


async def test_a_scope_that_is_cancelled_before_the_wait_cancels_the_future() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    with anyio.CancelScope() as scope:
        scope.cancel()
        await future

    assert scope.cancelled_caught
    assert future.cancelled()


async def test_the_code_of_a_library_sees_asyncios_own_cancelled_error() -> None:
    seen: list[BaseException] = []

    async def library() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as error:
            seen.append(error)
            raise

    with anyio.move_on_after(0.01) as scope:
        await library()

    assert scope.cancelled_caught
    assert isinstance(seen[0], anyio.get_cancelled_exc_class())
    assert "deadline" in str(seen[0])


async def test_a_wait_for_something_of_mios_raises_asyncios_cancelled_error_too() -> None:
    with anyio.move_on_after(0.01), pytest.raises(asyncio.CancelledError) as caught:
        await anyio.sleep_forever()

    assert isinstance(caught.value, anyio.get_cancelled_exc_class())


async def test_a_cancelled_error_that_a_library_makes_anew_is_the_scopes() -> None:
    async def library() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise asyncio.CancelledError from None

    with anyio.move_on_after(0.01) as scope:
        await library()

    assert scope.cancelled_caught


async def test_such_an_error_in_a_group_is_taken_out_of_the_group() -> None:
    async def library() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            errors = [asyncio.CancelledError(), ValueError("real")]
            raise BaseExceptionGroup("both", errors) from None

    with pytest.raises(ExceptionGroup) as caught, anyio.move_on_after(0.01):
        await library()

    assert [type(error) for error in caught.value.exceptions] == [ValueError]


async def test_a_child_that_awaits_a_cancelled_future_ends_its_group_without_an_error() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def child() -> None:
        await future

    async with anyio.create_task_group() as group:
        group.start_soon(child)
        group.start_soon(anyio.sleep_forever)
        await checkpoint()
        future.cancel()

    assert group.cancel_scope.cancel_called


async def test_a_cancelled_task_of_asyncio_is_waited_for_until_its_clean_up_is_done() -> None:
    steps = []

    async def with_clean_up() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            steps.append("begins")
            await asyncio.sleep(0.02)
            steps.append("ends")

    with anyio.move_on_after(0.01) as scope:
        await asyncio.create_task(with_clean_up())
        steps.append("not reached")

    assert scope.cancelled_caught
    assert steps == ["begins", "ends"]


async def test_a_task_that_swallows_its_cancellation_delivers_and_the_next_wait_raises() -> None:
    values = []

    async def stubborn() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "swallowed"
        return "never"

    with anyio.move_on_after(0.01) as scope:
        values.append(await asyncio.create_task(stubborn()))
        await checkpoint()
        values.append("not reached")

    assert values == ["swallowed"]
    assert scope.cancelled_caught


async def test_the_clean_up_of_a_library_may_wait_while_its_cancellation_is_on_its_way() -> None:
    steps = []

    async def library() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
            steps.append("except")
            raise
        finally:
            steps.append(await value_after(0.001, "finally"))

    with anyio.move_on_after(0.01) as scope:
        await library()

    assert scope.cancelled_caught
    assert steps == ["except", "finally"]


async def test_a_library_that_swallows_its_cancellation_is_cancelled_again() -> None:
    swallowed: list[str] = []

    async def stubborn() -> None:
        while len(swallowed) < 3:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                swallowed.append("once")
        await asyncio.sleep(10)

    with anyio.fail_after(5), anyio.move_on_after(0.01) as scope:
        await stubborn()

    assert scope.cancelled_caught
    assert len(swallowed) == 3


async def test_another_scope_that_is_cancelled_ends_a_clean_up() -> None:
    steps = []

    async def library() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                steps.append("cancelled again")
                raise

    with anyio.move_on_after(0.03) as outer:
        with anyio.move_on_after(0.01):
            await library()
        steps.append("inside")
        await checkpoint()

    assert outer.cancelled_caught
    assert steps == ["cancelled again"]


async def test_what_is_shielded_by_asyncio_runs_on() -> None:
    inner = asyncio.create_task(value_after(0.03))

    with anyio.move_on_after(0.01) as scope:
        await asyncio.shield(inner)

    assert scope.cancelled_caught
    assert not inner.done()
    assert await inner == "value"


async def test_a_shielded_scope_keeps_the_wait_for_a_future() -> None:
    with anyio.CancelScope() as outer:
        outer.cancel()
        with anyio.CancelScope(shield=True):
            assert await asyncio.create_task(value_after(0.01)) == "value"
        await checkpoint()

    assert outer.cancelled_caught


async def test_a_wake_up_beats_a_later_cancel() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    values = []

    async def wait(scope: anyio.CancelScope) -> None:
        with scope:
            values.append(await future)
            await checkpoint()
            values.append("not reached")

    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(wait, scope)
        await checkpoint()
        future.set_result("value")
        scope.cancel()

    assert values == ["value"]


async def test_a_gather_that_is_cancelled_cancels_its_children_and_the_scope_takes_it() -> None:
    children = [asyncio.create_task(value_after(10)) for _ in range(3)]

    with anyio.move_on_after(0.01) as scope:
        await asyncio.gather(*children)

    assert scope.cancelled_caught
    assert all(child.cancelled() for child in children)


def all_of(*children: Any) -> Any:
    return asyncio.gather(*children)


def all_outcomes_of(*children: Any) -> Any:
    return asyncio.gather(*children, return_exceptions=True)


def a_gather_of(*children: Any) -> Any:
    return asyncio.gather(asyncio.gather(*children))


@pytest.mark.parametrize("join", [all_of, all_outcomes_of, a_gather_of, asyncio.wait])
@pytest.mark.parametrize("cancel_first", [False, True])
async def test_children_that_a_scope_cancels_are_not_told_to_the_exception_handler(
    join: Any, cancel_first: bool
) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    children = [asyncio.create_task(asyncio.sleep(60)) for _ in range(2)]

    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        if cancel_first:
            scope.cancel()
        await join(children) if join is asyncio.wait else await join(*children)
    for child in children:
        child.cancel()
    await asyncio.sleep(0.001)
    gc.collect()

    assert scope.cancelled_caught
    assert told == []


async def test_callbacks_of_a_future_are_called_before_the_task_that_awaits_it_goes_on() -> None:
    loop, order = asyncio.get_running_loop(), []
    future: asyncio.Future[str] = loop.create_future()
    future.add_done_callback(lambda _: order.append("callback"))
    loop.call_soon(future.set_result, "value")

    await future
    order.append("task")

    assert order == ["callback", "task"]


async def test_that_order_holds_behind_a_flood_of_callbacks() -> None:
    loop, order = asyncio.get_running_loop(), []
    future: asyncio.Future[str] = loop.create_future()
    future.add_done_callback(lambda _: order.append("callback"))

    def flood() -> None:
        for _ in range(2000):
            loop.call_soon(sum, range(100))
        future.set_result("value")

    loop.call_soon(flood)
    await future
    order.append("task")

    assert order == ["callback", "task"]


async def test_a_callback_sets_an_event_and_cancels_a_scope() -> None:
    loop, event = asyncio.get_running_loop(), anyio.Event()
    loop.call_soon(event.set)
    await event.wait()

    with anyio.CancelScope() as scope:
        loop.call_later(0.01, scope.cancel)
        await anyio.sleep_forever()

    assert scope.cancelled_caught


async def test_a_callback_starts_a_task_in_a_group() -> None:
    done = anyio.Event()

    async def child() -> None:
        done.set()

    async with anyio.create_task_group() as group:
        asyncio.get_running_loop().call_soon(group.start_soon, child)
        await done.wait()


async def test_an_exception_that_no_one_retrieves_reaches_the_exception_handler() -> None:
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))

    async def fail() -> None:
        raise LookupError("gone")

    task = asyncio.create_task(fail())
    await asyncio.sleep(0.01)
    del task
    gc.collect()
    loop.call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert "never retrieved" in told[0]["message"]
    assert isinstance(told[1]["exception"], ZeroDivisionError)


async def test_a_foreign_awaitable_is_refused_with_the_right_line() -> None:
    class Foreign:
        def __await__(self) -> Any:
            yield "something"

    with pytest.raises(TypeError, match="does not belong to mio"):
        await Foreign()


async def test_no_wait_leaves_anything_for_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            with anyio.move_on_after(0.0005):
                await asyncio.get_running_loop().create_future()
        found = gc.collect()
    finally:
        gc.enable()

    assert found < 50
