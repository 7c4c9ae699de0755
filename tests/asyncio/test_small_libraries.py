"""Small libraries for asyncio in tasks of mio: queues, iterators, files, prompts, schedules."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.asyncio.concurrent_use import cancel

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("leaves_nothing")]


async def test_janus_joins_a_thread_and_a_task() -> None:
    janus = pytest.importorskip("janus", reason="janus is not installed")
    queue = janus.Queue(maxsize=2)

    def produce() -> None:
        for n in range(100):
            queue.sync_q.put(n)

    async with anyio.create_task_group() as group:
        group.start_soon(asyncio.to_thread, produce)
        assert [await queue.async_q.get() for _ in range(100)] == [*range(100)]
    await cancel(queue.async_q.get)
    await queue.async_q.put("after it")
    assert await asyncio.to_thread(queue.sync_q.get) == "after it"
    await queue.aclose()


async def test_aiostreams_pipelines_end_and_are_cancelled() -> None:
    aiostream = pytest.importorskip("aiostream", reason="aiostream is not installed")
    pipe, stream = aiostream.pipe, aiostream.stream
    squares = stream.count(interval=0.001) | pipe.map(lambda n: n * n) | pipe.take(5)

    async def merge_for_ever() -> None:
        async with stream.merge(stream.count(interval=0.001), stream.never()).stream() as merged:
            async for _ in merged:
                pass

    assert await stream.list(squares) == [0, 1, 4, 9, 16]
    await cancel(merge_for_ever)


async def test_async_timeout_ends_waits_of_both_worlds() -> None:
    async_timeout = pytest.importorskip("async_timeout", reason="async-timeout is not installed")
    for sleep in (asyncio.sleep, anyio.sleep):
        with pytest.raises(TimeoutError):
            async with async_timeout.timeout(0.01):
                await sleep(60)

    async def sleep_with_a_limit() -> None:
        async with async_timeout.timeout(60):
            await asyncio.sleep(60)

    await cancel(sleep_with_a_limit)


async def test_aiofiles_in_many_tasks(tmp_path: Path) -> None:
    aiofiles: Any = pytest.importorskip("aiofiles", reason="aiofiles is not installed")

    async def copy(n: int) -> None:
        async with aiofiles.open(tmp_path / str(n), "w") as file:
            await file.write(f"{n}" * 1000)
        async with aiofiles.open(tmp_path / str(n)) as file:
            assert await file.read() == f"{n}" * 1000

    async with anyio.create_task_group() as group:
        for n in range(10):
            group.start_soon(copy, n)


async def test_aiocache_keeps_results_for_all_tasks() -> None:
    aiocache: Any = pytest.importorskip("aiocache", reason="aiocache is not installed")
    calls = []

    @aiocache.cached(ttl=60)  # type: ignore[untyped-decorator, unused-ignore]
    async def double(n: int) -> int:
        calls.append(n)
        await asyncio.sleep(0)
        return 2 * n

    assert await double(1) == 2
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(double, 1)
    assert calls == [1]


async def test_apscheduler_runs_jobs_of_both_kinds() -> None:
    schedulers = pytest.importorskip(
        "apscheduler.schedulers.asyncio", reason="apscheduler is not installed"
    )
    both, done = {"async", "sync"}, set()
    enough = anyio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        done.add("async")
        if done == both:
            enough.set()

    scheduler = schedulers.AsyncIOScheduler()
    scheduler.add_job(work, "interval", seconds=0.02)
    scheduler.add_job(done.add, "interval", ["sync"], seconds=0.02)
    scheduler.start()
    with anyio.fail_after(5):
        await enough.wait()
    scheduler.shutdown()
    await asyncio.sleep(0.02)


async def test_prompt_toolkit_reads_keys_and_is_cancelled() -> None:
    pytest.importorskip("prompt_toolkit", reason="prompt_toolkit is not installed")
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        session: PromptSession[str] = PromptSession()

        async def type_later() -> None:
            await anyio.sleep(0.05)
            keys.send_text("hello\n")

        async with anyio.create_task_group() as group:
            group.start_soon(type_later)
            assert await session.prompt_async() == "hello"
        await cancel(session.prompt_async)
        keys.send_text("after it\n")
        assert await session.prompt_async() == "after it"
