"""What ``asyncio.current_task()`` returns in a task of mio, and what libraries do with it (A2)."""

from __future__ import annotations

import asyncio
import sys
import time
import weakref
from typing import Any

import anyio
import pytest
from anyio import from_thread, to_thread
from anyio.lowlevel import checkpoint

from anyio_mio.asyncio import asyncio_internals

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("A2")]


def own_face() -> asyncio.Task[object]:
    face = asyncio.current_task()
    assert face is not None
    return face


async def test_each_task_has_a_face_of_its_own_that_stays_the_same() -> None:
    faces = set()

    async def child() -> None:
        face = own_face()
        await checkpoint()
        assert own_face() is face
        await asyncio.sleep(0.001)
        assert own_face() is face
        faces.add(face)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(child)

    assert len(faces) == 3
    assert own_face() not in faces


async def test_in_a_callback_there_is_no_current_task() -> None:
    seen: list[object] = []
    asyncio.get_running_loop().call_soon(lambda: seen.append(asyncio.current_task()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await to_thread.run_sync(
        lambda: from_thread.run_sync(lambda: seen.append(asyncio.current_task()))
    )

    assert seen == [None, None]


async def test_in_a_task_of_asyncio_it_is_the_current_one() -> None:
    async def body() -> bool:
        await asyncio.sleep(0)
        return asyncio.current_task() is task

    task = asyncio.create_task(body())

    assert await task


async def test_the_face_answers_what_libraries_ask() -> None:
    face = own_face()

    assert face.get_name()
    assert not face.done()
    assert not face.cancelled()
    assert face.cancelling() == 0
    assert face.get_loop() is asyncio.get_running_loop()
    assert face.get_coro() is not None
    assert hash(face) == hash(face)
    assert weakref.ref(face)() is face
    assert face.get_stack()
    assert "mio task" in repr(face)
    if sys.version_info >= (3, 12):
        assert face.get_context() is not None


async def test_tasks_of_mio_are_not_listed_as_asyncios() -> None:
    task = asyncio.create_task(asyncio.sleep(0.01))

    assert asyncio.all_tasks() == {task}

    await task


@pytest.mark.parametrize("wait", [asyncio.sleep, anyio.sleep])
async def test_asyncios_timeout_ends_a_wait_of_either_world(wait: Any) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await wait(10)

    assert own_face().cancelling() == 0


async def test_asyncios_timeout_ends_the_tasks_of_a_group_inside() -> None:
    ended = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("child")

    async def parent() -> None:
        async with asyncio.timeout(0.01), anyio.create_task_group() as group:
            group.start_soon(child)
            group.start_soon(child)

    with pytest.raises(TimeoutError):
        await parent()

    assert ended == ["child", "child"]


async def test_asyncios_timeout_waits_for_a_thread_that_cannot_be_left() -> None:
    threads = []

    def work() -> None:
        time.sleep(0.05)
        threads.append("done")

    async def call() -> None:
        async with asyncio.timeout(0.01):
            await to_thread.run_sync(work)
            await checkpoint()

    with pytest.raises(TimeoutError):
        await call()

    assert threads == ["done"]


async def test_asyncios_timeout_inside_a_scope_whose_deadline_comes_first() -> None:
    with anyio.move_on_after(0.01) as scope:
        async with asyncio.timeout(5):
            await asyncio.sleep(10)

    assert scope.cancelled_caught


async def test_a_scope_inside_asyncios_timeout_does_not_take_its_cancellation() -> None:
    scope = anyio.CancelScope()

    async def body() -> None:
        async with asyncio.timeout(0.01):
            with scope:
                try:
                    await asyncio.sleep(10)
                finally:
                    scope.cancel()

    with pytest.raises(TimeoutError):
        await body()

    assert not scope.cancelled_caught


async def test_asyncios_task_group_ends_with_the_error_of_a_child() -> None:
    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise LookupError("gone")

    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(asyncio.sleep(10))
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await parent()

    assert [type(error) for error in caught.value.exceptions] == [LookupError]
    assert own_face().cancelling() == 0


async def test_a_group_that_failed_while_it_waited_leaves_no_cancellation_behind() -> None:
    async def fail() -> None:
        await asyncio.sleep(0.001)
        raise LookupError("gone")

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    await asyncio.sleep(0.001)
    await anyio.sleep(0.001)


async def test_cancel_ends_a_wait_for_a_future_that_is_done_in_the_same_moment() -> None:
    face, future = own_face(), asyncio.get_running_loop().create_future()

    def set_and_cancel() -> None:
        future.set_result("value")
        face.cancel("by hand")

    asyncio.get_running_loop().call_soon(set_and_cancel)
    with pytest.raises(asyncio.CancelledError, match="by hand"):
        await future

    await asyncio.sleep(0.001)
    assert face.uncancel() == 0
    assert future.result() == "value"


async def test_a_cancelled_scope_ends_the_children_of_asyncios_task_group() -> None:
    with anyio.move_on_after(0.01) as scope:
        async with asyncio.TaskGroup() as group:
            child = group.create_task(asyncio.sleep(10))

    assert scope.cancelled_caught
    assert child.cancelled()


async def test_cancel_raises_a_cancelled_error_once() -> None:
    face = own_face()
    asyncio.get_running_loop().call_later(0.01, face.cancel, "by hand")

    with pytest.raises(asyncio.CancelledError, match="by hand"):
        await anyio.sleep_forever()
    await anyio.sleep(0.001)
    await asyncio.sleep(0.001)

    assert face.cancelling() == 1
    assert face.uncancel() == 0


@pytest.mark.parametrize("wait", [asyncio.sleep, anyio.sleep], ids=["asyncio", "anyio"])
async def test_cancel_of_a_running_task_raises_at_its_next_wait(wait: Any) -> None:
    face = own_face()
    face.cancel()

    with pytest.raises(asyncio.CancelledError):
        await wait(1)
    await wait(0.001)

    face.uncancel()


@pytest.mark.parametrize("wait", [asyncio.sleep, anyio.sleep], ids=["asyncio", "anyio"])
async def test_cancel_of_a_running_task_raises_at_a_bare_yield(wait: Any) -> None:
    face = own_face()
    face.cancel()

    async def yield_often() -> None:
        for _ in range(200):
            await wait(0)

    with pytest.raises(asyncio.CancelledError):
        await yield_often()

    face.uncancel()


async def test_a_request_that_is_taken_back_before_the_next_wait_does_nothing() -> None:
    face = own_face()
    face.cancel()
    face.uncancel()

    await anyio.sleep(0.001)
    await asyncio.sleep(0.001)


async def test_cancel_does_not_lose_a_lock_that_the_task_has_just_got() -> None:
    lock, faces = anyio.Lock(), []

    async def wait() -> None:
        faces.append(own_face())
        async with lock:
            pass

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            async with lock:
                group.start_soon(wait)
                await anyio.sleep(0.001)
            faces[0].cancel()
            own_face().cancel()
            await anyio.sleep(0.01)

    with pytest.raises(asyncio.CancelledError):
        await parent()
    own_face().uncancel()
    with anyio.fail_after(1):
        async with lock:
            pass


async def test_a_done_callback_of_the_face_is_called_with_it() -> None:
    told: list[object] = []
    faces: list[asyncio.Task[object]] = []

    async def child() -> str:
        face = own_face()
        faces.append(face)
        face.add_done_callback(told.append)
        await asyncio.sleep(0.001)
        return "value"

    async with anyio.create_task_group() as group:
        group.start_soon(child)
    await asyncio.sleep(0.001)

    assert told == faces
    assert faces[0].done()
    assert faces[0].result() == "value"


async def test_a_task_of_asyncio_can_wait_for_the_end_of_a_task_of_mio() -> None:
    faces = []

    async def child() -> str:
        faces.append(own_face())
        await anyio.sleep(0.01)
        return "value"

    async def wait() -> object:
        return await faces[0]

    async with anyio.create_task_group() as group:
        group.start_soon(child)
        await checkpoint()
        await checkpoint()
        waiter = asyncio.create_task(wait())
        assert await waiter == "value"


async def test_the_result_of_a_face_that_was_not_asked_in_time_is_an_error() -> None:
    faces = []

    async def child() -> None:
        faces.append(own_face())

    async with anyio.create_task_group() as group:
        group.start_soon(child)

    assert faces[0].done()
    assert not faces[0].cancel()
    with pytest.raises(asyncio.InvalidStateError, match="task group"):
        faces[0].result()


async def test_no_current_task_is_cleared_twice_without_an_error() -> None:
    loop = asyncio.get_running_loop()

    def clear_twice() -> None:
        enter, leave = asyncio_internals.current_task_setters(loop)
        enter("a task")
        leave()
        assert asyncio.current_task(loop) is None
        leave()
        assert asyncio.current_task(loop) is None
        done.set_result(None)

    done: asyncio.Future[None] = loop.create_future()
    loop.call_soon(clear_twice)
    with anyio.fail_after(5):
        await done


async def test_a_scope_that_cancels_a_group_of_asyncios_is_seen_around_it_as_a_cancellation() -> (
    None
):
    seen = []
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(60))
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    assert seen == ["cancelled"]
    assert scope.cancelled_caught


async def test_no_cancellation_of_a_scope_is_among_the_errors_of_a_group_of_asyncios() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError from None

    async def use_a_group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail_when_cancelled())
            await asyncio.sleep(60)

    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(0.001, scope.cancel)
        with pytest.raises(ExceptionGroup) as raised:
            await use_a_group()

    assert [type(error) for error in raised.value.exceptions] == [ValueError]


async def test_a_task_that_awaits_itself_gets_an_error() -> None:
    current: Any = asyncio.current_task()
    with anyio.fail_after(1), pytest.raises(RuntimeError, match="cannot await on itself"):
        await current


async def test_a_cancelled_scope_counts_as_a_request_to_cancel() -> None:
    """LangGraph asks so whether a ``CancelledError`` comes from the code that it has called."""
    counts = []

    with anyio.move_on_after(0.01):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            counts.append(own_face().cancelling())
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0)
                counts.append(own_face().cancelling())
            raise
    counts.append(own_face().cancelling())

    assert counts == [1, 0, 0]


async def test_a_request_that_is_undone_in_a_cancelled_scope_is_not_left_behind() -> None:
    """asyncio's ``TaskGroup`` undoes a request and makes it again, to keep the count."""
    face = own_face()
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert face.uncancel() == 0
        face.cancel()
        assert face.cancelling() == 1
        await asyncio.sleep(60)

    await asyncio.sleep(0.001)
    assert scope.cancelled_caught
    assert face.cancelling() == 0


async def test_a_time_limit_that_ends_during_the_clean_up_after_a_scope_is_not_raised() -> None:
    with anyio.move_on_after(0.01) as scope:
        async with asyncio.timeout(0.03):
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.06)

    assert scope.cancelled_caught
    assert own_face().cancelling() == 0
    await asyncio.sleep(0.001)
