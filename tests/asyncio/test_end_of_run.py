"""What is left of asyncio at the end of a run is ended, as `asyncio.run()` does (A4)."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest

import anyio_mio

pytestmark = pytest.mark.invariant("A4")


async def begin_and_drop(generate: Callable[[], AsyncIterator[int]]) -> None:
    """Take the first value of an async generator, and let go of it."""
    async for _ in generate():
        break
    gc.collect()


def test_tasks_are_cancelled_and_waited_for() -> None:
    steps = []

    async def background() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.01)
            steps.append("ended")

    async def main() -> None:
        task = asyncio.create_task(background())
        await asyncio.sleep(0.001)
        steps.append(task.get_name())

    anyio_mio.run(main)

    assert steps[1:] == ["ended"]


def test_tasks_are_ended_too_when_the_main_function_raises() -> None:
    steps = []

    async def background() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.01)
            steps.append("ended")

    async def main() -> None:
        task = asyncio.create_task(background())
        await asyncio.sleep(0.001)
        raise LookupError(task.get_name())

    with pytest.raises(LookupError):
        anyio_mio.run(main)

    assert steps == ["ended"]


def test_what_such_a_task_raises_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def background() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise LookupError("gone")

    async def main() -> None:
        main.task = asyncio.create_task(background())  # type: ignore[attr-defined]
        await asyncio.sleep(0.001)

    with caplog.at_level(logging.ERROR, "asyncio"):
        anyio_mio.run(main)

    assert "the end of a run" in caplog.text


def test_the_default_executor_is_waited_for() -> None:
    steps = []

    def work() -> None:
        time.sleep(0.05)
        steps.append(threading.current_thread().name)

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, work)
        await asyncio.sleep(0)

    anyio_mio.run(main)

    assert len(steps) == 1
    assert not any(thread.name == steps[0] for thread in threading.enumerate())


def test_async_generators_of_asyncios_tasks_are_closed_and_may_wait() -> None:
    steps = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0.001)
            steps.append("closed")

    kept = generate()

    async def begin() -> None:
        await anext(kept)

    async def main() -> None:
        await asyncio.create_task(begin())

    anyio_mio.run(main)

    assert steps == ["closed"]


def test_a_generator_that_a_task_of_mio_begins_is_mios() -> None:
    steps = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            steps.append("closed")

    async def main() -> None:
        await asyncio.sleep(0)
        async for _ in generate():
            break

    anyio_mio.run(main)

    assert steps == ["closed"]


def test_the_clean_up_of_a_dropped_generator_may_wait_for_asyncio_while_the_run_goes_on() -> None:
    steps = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0.001)
            await asyncio.sleep(0)
            async with asyncio.timeout(5):
                await asyncio.create_task(asyncio.sleep(0.001))
            steps.append("waited for asyncio")
            await anyio.lowlevel.checkpoint()
            steps.append("waited for mio")

    async def main() -> None:
        await begin_and_drop(generate)
        await anyio.sleep(0.1)

    anyio_mio.run(main)

    assert steps == ["waited for asyncio"]


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.timeout(10)
def test_the_end_of_the_run_ends_the_clean_up_of_a_dropped_generator(swallows: bool) -> None:
    steps = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                steps.append("cancelled")
                if not swallows:
                    raise
            await asyncio.sleep(60)

    async def main() -> None:
        await begin_and_drop(generate)
        await anyio.sleep(0.01)

    anyio_mio.run(main)

    assert steps == ["cancelled"]


@pytest.mark.timeout(10)
def test_a_generator_that_is_dropped_as_the_run_ends_waits_for_nothing() -> None:
    steps = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                steps.append("cancelled")
                raise

    async def main() -> None:
        await asyncio.sleep(0)
        await begin_and_drop(generate)

    anyio_mio.run(main)

    assert steps == ["cancelled"]


def test_a_task_of_mio_for_a_task_of_asyncio_ends_with_it() -> None:
    steps = []

    async def body() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            steps.append("ended")

    async def main() -> None:
        main.task = asyncio.create_task(anyio_mio.asyncio.run_in_task(body))  # type: ignore[attr-defined]
        await asyncio.sleep(0.001)

    anyio_mio.run(main)

    assert steps == ["ended"]


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()])
def test_what_ends_a_program_in_a_callback_ends_the_run(error: BaseException) -> None:
    steps = []

    def fail() -> None:
        raise error

    async def main() -> None:
        asyncio.get_running_loop().call_soon(fail)
        try:
            await anyio.sleep_forever()
        finally:
            steps.append("unwound")

    with pytest.raises(type(error)):
        anyio_mio.run(main)

    assert steps == ["unwound"]


End = Callable[[], Coroutine[None, None, None]]


async def in_an_awaited_task(end: End) -> None:
    await asyncio.create_task(end())


async def in_a_task_of_gather(end: End) -> None:
    await asyncio.gather(end(), asyncio.sleep(60))


async def in_a_task_of_wait_for(end: End) -> None:
    await asyncio.wait_for(end(), 60)


async def in_a_task_of_asyncios_group(end: End) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(end())


async def in_a_task_that_a_shielded_scope_waits_for(end: End) -> None:
    with anyio.CancelScope(shield=True):
        await asyncio.create_task(end())


async def while_the_main_function_is_never_idle(end: End) -> None:
    task = asyncio.create_task(end())
    while not task.done():
        await asyncio.sleep(0)
    await asyncio.sleep(60)


async def while_the_main_function_waits_for_a_thread(end: End) -> None:
    task = asyncio.create_task(end())
    await anyio.to_thread.run_sync(time.sleep, 0.05)
    assert task.done()
    await asyncio.sleep(60)


async def with_an_error_that_the_program_catches(end: End) -> None:
    with suppress(SystemExit, KeyboardInterrupt):
        await asyncio.create_task(end())
    await asyncio.sleep(60)


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()], ids=["exit", "interrupt"])
@pytest.mark.parametrize(
    "main",
    [
        in_an_awaited_task,
        in_a_task_of_gather,
        in_a_task_of_wait_for,
        in_a_task_of_asyncios_group,
        in_a_task_that_a_shielded_scope_waits_for,
        while_the_main_function_is_never_idle,
        while_the_main_function_waits_for_a_thread,
        with_an_error_that_the_program_catches,
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_ends_a_program_in_a_task_of_asyncio_ends_the_run_bare(
    main: Callable[..., Awaitable[None]], error: BaseException
) -> None:
    """No group is around it: ``sys.exit(7)`` has to be the status of the process."""

    async def end() -> None:
        await asyncio.sleep(0.001)
        raise error

    with pytest.raises(type(error)) as caught:
        anyio_mio.run(main, end)

    assert caught.value is error


def test_a_second_ctrl_c_leaves_a_task_of_asyncio_that_does_not_end() -> None:
    steps: list[str] = []

    def press() -> None:
        for _ in range(2):
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

    async def stubborn() -> None:
        while "unwound" not in steps:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    async def main() -> None:
        threading.Thread(target=press).start()
        try:
            await asyncio.create_task(stubborn())
        finally:
            steps.append("unwound")

    with pytest.raises(KeyboardInterrupt):
        anyio_mio.run(main)

    assert steps == ["unwound"]


def test_ctrl_c_while_the_main_task_awaits_a_future() -> None:
    program = """
import asyncio, os, signal, threading
import anyio_mio

async def main():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        await asyncio.get_running_loop().create_future()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise

anyio_mio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=20
    )

    assert done.stdout == "interrupted\n"
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


def test_two_runs_in_a_row_have_loops_of_their_own() -> None:
    loops = []

    async def main() -> None:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        assert not loops[-1].is_closed()

    anyio_mio.run(main)
    anyio_mio.run(main)

    assert loops[0] is not loops[1]
    assert all(loop.is_closed() for loop in loops)
