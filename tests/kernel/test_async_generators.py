"""Async generators that nobody finished are closed: in the run, at its end, from any thread."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest

import anyio_mio  # noqa: F401 - registers the backend
from anyio_mio._kernel.kernel import running_kernel


async def closed_soon(log: list[str]) -> None:
    with anyio.fail_after(5):
        while not log:
            await anyio.lowlevel.checkpoint()


def test_one_that_is_dropped_half_way_is_closed_in_the_run() -> None:
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            log.append(str(anyio.get_current_task().name))

    async def main() -> None:
        async for _ in numbers():
            break
        await closed_soon(log)

    anyio.run(main, backend="mio")

    assert len(log) == 1
    assert log[0].startswith("close ")


def test_one_that_is_left_at_the_end_is_closed_then_and_cannot_wait() -> None:
    log: list[str] = []
    left = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            try:
                await anyio.sleep(1000)
            except anyio.get_cancelled_exc_class():
                log.append("cancelled")
                raise

    async def main() -> None:
        generator = numbers()
        left.append(generator)
        await anext(generator)

    anyio.run(main, backend="mio")

    assert log == ["cancelled"]


def test_generators_that_closing_others_drops_are_closed_too() -> None:
    # The run was over as soon as no task was left, whatever the entry queue still held.
    log: list[int] = []

    async def nested(depth: int) -> AsyncIterator[int]:
        try:
            yield depth
        finally:
            if depth:
                async for _ in nested(depth - 1):
                    break
            log.append(depth)

    async def main() -> None:
        async for _ in nested(4):
            break

    anyio.run(main, backend="mio")

    assert sorted(log) == [0, 1, 2, 3, 4]


def test_one_that_another_threads_garbage_collection_finds_is_closed_in_the_run() -> None:
    threads: list[threading.Thread] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            threads.append(threading.current_thread())

    async def main() -> None:
        generator = numbers()
        await anext(generator)
        cycle: list[object] = [generator]
        cycle.append(cycle)
        del generator, cycle
        await anyio.to_thread.run_sync(gc.collect)
        with anyio.fail_after(5):
            while not threads:
                await anyio.lowlevel.checkpoint()

    gc.collect()
    gc.disable()
    try:
        anyio.run(main, backend="mio")
    finally:
        gc.enable()

    assert threads == [threading.current_thread()]


def test_an_error_in_a_cleanup_is_logged_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise KeyError("in the cleanup")

    async def main() -> str:
        async for _ in numbers():
            break
        await anyio.wait_all_tasks_blocked()
        return "went on"

    with caplog.at_level(logging.ERROR):
        assert anyio.run(main, backend="mio") == "went on"

    assert "in the cleanup" in caplog.text


def test_a_deadline_inside_a_dropped_generator_does_not_hit_the_task_that_used_it() -> None:
    async def numbers() -> AsyncIterator[int]:
        with anyio.move_on_after(0.01):
            yield 1

    async def main() -> str:
        async for _ in numbers():
            break
        await anyio.sleep(0.05)
        return "not cancelled"

    assert anyio.run(main, backend="mio") == "not cancelled"


def test_a_scope_inside_a_dropped_generator_does_not_break_the_scopes_around() -> None:
    async def numbers() -> AsyncIterator[int]:
        with anyio.CancelScope():
            yield 1

    async def main() -> str:
        with anyio.CancelScope() as outer:
            async for _ in numbers():
                break
            await anyio.wait_all_tasks_blocked()
            outer.cancel()
            await anyio.sleep(1)
        return "left the outer scope"

    assert anyio.run(main, backend="mio") == "left the outer scope"


def test_a_generator_whose_scope_is_still_open_when_its_task_ends_is_closed_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    generators = []

    async def numbers() -> AsyncIterator[int]:
        with anyio.CancelScope():
            yield 1

    async def child() -> None:
        generator = numbers()
        generators.append(generator)
        await anext(generator)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
        generators.clear()
        await anyio.wait_all_tasks_blocked()
        assert len(running_kernel().async_generators) == 0

    anyio.run(main, backend="mio")

    assert caplog.text == ""


def test_the_hooks_of_the_thread_are_what_they_were() -> None:
    import sys

    before = sys.get_asyncgen_hooks()

    anyio.run(anyio.sleep, 0, backend="mio")

    assert sys.get_asyncgen_hooks() == before
