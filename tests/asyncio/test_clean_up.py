"""A clean-up of a library may wait; a library that has swallowed its cancellation may not (A2)."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("A2"), pytest.mark.timeout(10)]


async def future() -> None:
    await asyncio.sleep(0.001)


async def bare_yield() -> None:
    await asyncio.sleep(0)


async def task() -> None:
    await asyncio.create_task(asyncio.sleep(0.001))


WAITS = [future, bare_yield, task]


@pytest.fixture(params=WAITS)
def wait(request: pytest.FixtureRequest) -> Any:
    """How the clean-up waits."""
    return request.param


@pytest.fixture(params=["a future", "a bare yield"])
def be_cancelled(request: pytest.FixtureRequest) -> Any:
    """What the library awaits when it is cancelled."""

    async def in_a_future() -> None:
        await asyncio.sleep(60)

    async def in_a_bare_yield() -> None:
        while True:
            await asyncio.sleep(0)

    return in_a_future if request.param == "a future" else in_a_bare_yield


async def cancelled(body: Callable[[], Awaitable[object]]) -> None:
    """Run a function in a scope that is cancelled, and that has to take the cancellation."""
    with anyio.fail_after(5):
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_later(0.005, scope.cancel)
            await body()
        assert scope.cancelled_caught


async def test_an_except_and_a_finally_may_wait(wait: Any, be_cancelled: Any) -> None:
    steps = []

    async def library() -> None:
        try:
            await be_cancelled()
        except asyncio.CancelledError:
            await wait()
            steps.append("except")
            raise
        finally:
            await wait()
            steps.append("finally")

    await cancelled(library)

    assert steps == ["except", "finally"]


async def test_what_an_except_calls_may_handle_errors_of_its_own(
    wait: Any, be_cancelled: Any
) -> None:
    steps = []

    async def close() -> None:
        try:
            raise LookupError("gone")
        except LookupError:
            await wait()
            steps.append("inner")
        await wait()
        steps.append("outer")

    async def library() -> None:
        try:
            await be_cancelled()
        except asyncio.CancelledError as error:
            kept = error
            try:
                raise ValueError("bad")
            except ValueError:
                await close()
            await wait()
            raise kept from None

    await cancelled(library)

    assert steps == ["inner", "outer"]


async def test_an_exit_of_a_context_may_wait(wait: Any, be_cancelled: Any) -> None:
    steps = []

    class Context:
        async def __aenter__(self) -> None:
            pass

        async def __aexit__(self, *exc_info: object) -> None:
            await wait()
            steps.append("class")

    @asynccontextmanager
    async def context() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await wait()
            steps.append("generator")

    async def library() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(context())
            await stack.enter_async_context(Context())
            async with Context(), context():
                await be_cancelled()

    await cancelled(library)

    assert steps == ["generator", "class", "class", "generator"]


async def test_an_error_that_a_cancellation_was_turned_into_may_be_cleaned_up_after(
    wait: Any, be_cancelled: Any
) -> None:
    steps = []

    async def library() -> None:
        try:
            try:
                await be_cancelled()
            except asyncio.CancelledError as error:
                raise ConnectionError("lost") from error
        finally:
            await wait()
            steps.append("finally")

    with pytest.raises(ConnectionError):
        await cancelled(library)

    assert steps == ["finally"]


async def test_a_group_of_asyncio_waits_for_its_children_without_being_cancelled_again(
    be_cancelled: Any,
) -> None:
    loop: Any = asyncio.get_running_loop()
    make_future, waits, steps = loop.create_future, [], []

    def count_future() -> object:
        waits.append(1)
        return make_future()

    async def child() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            steps.append("child")

    async def library() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            await asyncio.sleep(0.001)
            await be_cancelled()

    loop.create_future = count_future
    try:
        await cancelled(library)
    finally:
        del loop.create_future

    assert steps == ["child"]
    assert len(waits) < 10


async def keep_in_a_variable(be_cancelled: Any) -> None:
    try:
        await be_cancelled()
    except asyncio.CancelledError as error:
        caught = error
    await asyncio.sleep(60)
    del caught


async def keep_in_a_cell(be_cancelled: Any) -> None:
    try:
        await be_cancelled()
    except asyncio.CancelledError as error:
        caught = error

    def closure() -> object:
        return caught

    await asyncio.sleep(60)
    closure()


async def keep_in_an_object(be_cancelled: Any) -> None:
    kept = []
    try:
        await be_cancelled()
    except asyncio.CancelledError as error:
        kept.append(error)
    await asyncio.sleep(60)


async def keep_in_a_cycle(be_cancelled: Any) -> None:
    async def swallow() -> None:
        try:
            await be_cancelled()
        except asyncio.CancelledError as error:
            caught = error  # noqa: F841 - its traceback holds this frame

    await swallow()
    await asyncio.sleep(60)


async def return_it(be_cancelled: Any) -> None:
    async def swallow() -> BaseException | None:
        try:
            await be_cancelled()
        except asyncio.CancelledError as error:
            return error
        return None

    returned = await swallow()
    await asyncio.sleep(60)
    del returned


KEEPERS = [keep_in_a_variable, keep_in_a_cell, keep_in_an_object, keep_in_a_cycle, return_it]


@pytest.mark.parametrize("library", KEEPERS)
async def test_a_library_that_keeps_what_it_has_swallowed_is_cancelled_again(
    library: Any, be_cancelled: Any
) -> None:
    gc.disable()
    try:
        await cancelled(partial(library, be_cancelled))
    finally:
        gc.enable()


async def test_a_cancellation_that_a_scope_took_does_not_keep_the_next_one_away(
    be_cancelled: Any,
) -> None:
    kept: list[BaseException] = []

    async def library() -> None:
        try:
            await be_cancelled()
        except asyncio.CancelledError as error:
            kept.append(error)
            raise

    for _ in range(3):
        await cancelled(library)


async def test_clean_up_that_waits_for_something_of_mios_is_cancelled() -> None:
    steps = []

    async def library() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.001)
            steps.append("asyncio")
            await anyio.sleep(0.001)
            steps.append("not reached")

    await cancelled(library)

    assert steps == ["asyncio"]
