"""Which library sniffio and AnyIO find, in tasks of either world (A3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import anyio
import pytest
import sniffio
from anyio import from_thread, to_thread

import anyio_mio.asyncio
from anyio_mio.asyncio import run_in_task

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("A3")]


async def current() -> str:
    await asyncio.sleep(0.001)
    return sniffio.current_async_library()


async def test_in_a_task_of_mio_it_is_mio_and_in_one_of_asyncio_asyncio() -> None:
    assert await current() == "mio"
    assert await asyncio.create_task(current()) == "asyncio"
    assert await current() == "mio"


async def test_a_task_of_asyncio_uses_anyio_on_the_same_loop() -> None:
    async def with_anyio() -> str:
        event = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(event.wait)
            await anyio.sleep(0.001)
            event.set()
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        return type(event).__module__

    assert "asyncio" in await asyncio.create_task(with_anyio())


async def test_worker_threads_of_either_world_lead_back_to_it() -> None:
    def call_back(func: Callable[[], str]) -> str:
        return from_thread.run_sync(func)

    async def in_asyncio() -> str:
        return await to_thread.run_sync(call_back, sniffio.current_async_library)

    assert await to_thread.run_sync(call_back, sniffio.current_async_library) == "mio"
    assert await asyncio.create_task(in_asyncio()) == "asyncio"


async def test_a_task_of_asyncio_runs_a_function_in_a_task_of_mio() -> None:
    received: list[str] = []

    async def with_mio() -> str:
        send, receive = anyio.create_memory_object_stream[str](0)
        async with send, receive, anyio.create_task_group() as group:
            group.start_soon(send.send, sniffio.current_async_library())
            received.append(await receive.receive())
        return received[-1]

    assert await asyncio.create_task(run_in_task(with_mio)) == "mio"
    assert await run_in_task(with_mio) == "mio"


async def test_its_exception_comes_out_of_the_await() -> None:
    async def fail() -> None:
        await anyio.sleep(0.001)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await asyncio.create_task(run_in_task(fail))


async def test_cancelling_it_cancels_the_function_and_waits_for_its_end() -> None:
    steps = []

    async def body() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            steps.append("ended")

    task = asyncio.create_task(run_in_task(body))
    await anyio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["ended"]


async def test_a_function_that_returns_in_spite_of_that_delivers_its_value() -> None:
    async def body() -> str:
        with anyio.move_on_after(10):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                return "value"
        return "never"

    task = asyncio.create_task(run_in_task(body))
    await anyio.sleep(0.01)
    task.cancel()

    assert await task == "value"


def test_a_program_of_asyncio_on_mios_loop_uses_anyio_as_asyncio_and_tasks_of_mio() -> None:
    async def in_mio() -> str:
        await anyio.sleep(0.001)
        return sniffio.current_async_library()

    async def main() -> tuple[str, str]:
        return await current(), await run_in_task(in_mio)

    with asyncio.Runner(loop_factory=anyio_mio.asyncio.new_event_loop) as runner:
        assert runner.run(main()) == ("asyncio", "mio")


def test_anyios_asyncio_backend_runs_on_mios_loop() -> None:
    async def main() -> str:
        await anyio.sleep(0.001)
        loop = asyncio.get_running_loop()
        return type(loop).__name__

    options = {"loop_factory": anyio_mio.asyncio.new_event_loop}

    assert anyio.run(main, backend="asyncio", backend_options=options) == "EventLoop"


def test_without_a_loop_of_mios_the_helper_says_what_it_needs() -> None:
    async def main() -> None:
        await run_in_task(anyio.sleep, 0)

    with pytest.raises(RuntimeError, match="loop_factory="):
        asyncio.run(main())


@pytest.mark.parametrize("options", [{}, {"backend": "mio"}], ids=["asyncio", "mio"])
async def test_a_thread_with_a_copy_of_a_tasks_context_can_begin_a_run(
    options: dict[str, str],
) -> None:
    async def current_name() -> str:
        await anyio.sleep(0.001)
        return sniffio.current_async_library()

    expected = options.get("backend", "asyncio")
    begin = partial(anyio.run, current_name, **options)  # type: ignore[arg-type]
    assert await asyncio.to_thread(begin) == expected
    assert await asyncio.create_task(asyncio.to_thread(begin)) == expected


@pytest.mark.parametrize("options", [{}, {"backend": "mio"}], ids=["asyncio", "mio"])
def test_so_can_a_thread_of_a_run_without_a_test_runner(options: dict[str, str]) -> None:
    async def nested() -> str:
        await anyio.sleep(0.001)
        return sniffio.current_async_library()

    async def main() -> str:
        begin = partial(anyio.run, nested, **options)  # type: ignore[arg-type]
        return await asyncio.to_thread(begin)

    assert anyio_mio.run(main) == options.get("backend", "asyncio")
