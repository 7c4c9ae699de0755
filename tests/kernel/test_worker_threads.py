"""Worker threads: cached, most recently used first, gone when idle, and never lost."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar

import anyio
import pytest

from anyio_mio._kernel import worker_threads
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._kernel.worker_threads import WORKERS, Job, WorkerThread, WorkerThreads


def our_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "anyio_mio worker"}


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not happen within five seconds"
        time.sleep(0.002)


def test_a_thread_is_used_again() -> None:
    async def main() -> None:
        first = await anyio.to_thread.run_sync(threading.get_ident)
        second = await anyio.to_thread.run_sync(threading.get_ident)

        assert first == second

    anyio.run(main, backend="mio")


def test_the_thread_that_was_used_last_comes_first() -> None:
    cache = WorkerThreads()
    old, recent = WorkerThread(cache), WorkerThread(cache)
    cache.release(old)
    cache.release(recent)
    used: list[WorkerThread] = []
    done = threading.Event()

    def work(worker: WorkerThread) -> None:
        used.append(worker)
        done.set()

    cache.call(work)
    done.wait(5)

    assert used == [recent]


def test_an_idle_thread_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_threads, "IDLE_SECONDS", 0.01)
    before = threading.active_count()
    cache = WorkerThreads()

    cache.call(cache.release)

    wait_until(lambda: threading.active_count() == before)
    assert not cache._idle


def test_a_thread_is_told_itself_however_quick_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # It was noted after the thread had its work; a thread that was quicker was lost for good.
    give = WorkerThread.give

    def give_and_dawdle(self: WorkerThread, work: worker_threads.Work) -> None:
        give(self, work)
        time.sleep(0.01)

    monkeypatch.setattr(WorkerThread, "give", give_and_dawdle)

    async def main() -> set[int]:
        return {await anyio.to_thread.run_sync(threading.get_ident) for _ in range(5)}

    assert len(anyio.run(main, backend="mio")) == 1


def test_without_a_thread_left_the_call_fails_and_gives_its_token_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(work: worker_threads.Work) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        limiter = anyio.CapacityLimiter(1)
        with monkeypatch.context() as patch:
            patch.setattr(WorkerThreads, "call", lambda self, work: refuse(work))
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await anyio.to_thread.run_sync(int, limiter=limiter)

        assert limiter.borrowed_tokens == 0
        assert await anyio.to_thread.run_sync(int, limiter=limiter) == 0

    anyio.run(main, backend="mio")


def test_an_abandoned_thread_gives_its_token_back_when_it_is_through() -> None:
    gate = threading.Event()

    async def main() -> None:
        limiter = anyio.CapacityLimiter(1)
        with anyio.move_on_after(0.01):
            await anyio.to_thread.run_sync(gate.wait, 5, abandon_on_cancel=True, limiter=limiter)
        assert limiter.borrowed_tokens == 1

        gate.set()

        with anyio.fail_after(5):
            async with limiter:
                pass

    anyio.run(main, backend="mio")


def test_a_cancelled_wait_for_a_token_carries_no_other_error() -> None:
    contexts: list[BaseException | None] = []

    async def call(limiter: anyio.CapacityLimiter) -> None:
        try:
            await anyio.to_thread.run_sync(int, limiter=limiter)
        except anyio.get_cancelled_exc_class() as exc:
            contexts.append(exc.__context__)
            raise

    async def main() -> None:
        limiter = anyio.CapacityLimiter(1)
        async with limiter, anyio.create_task_group() as group:
            group.start_soon(call, limiter)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    anyio.run(main, backend="mio")
    assert contexts == [None]


def test_a_report_after_the_run_is_dropped_and_the_thread_is_kept() -> None:
    gate, started = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        started.set()
        gate.wait(5)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(cancel_when_started, scope)
                await anyio.to_thread.run_sync(work, abandon_on_cancel=True)

    async def cancel_when_started(scope: anyio.CancelScope) -> None:
        while not started.is_set():
            await anyio.sleep(0.001)
        scope.cancel()

    anyio.run(main, backend="mio")
    gate.set()

    wait_until(lambda: any(worker.work.empty() for worker in WORKERS._idle))
    assert threads[0].is_alive()


def test_a_thread_that_cannot_be_abandoned_is_waited_for_and_its_result_counts() -> None:
    def dawdle() -> str:
        time.sleep(0.05)
        return "result"

    async def main() -> None:
        with anyio.move_on_after(0.01) as scope:
            result = await anyio.to_thread.run_sync(dawdle)
            assert result == "result"
            with pytest.raises(anyio.get_cancelled_exc_class()):
                await anyio.sleep(1)
            await anyio.sleep(1)
        assert scope.cancelled_caught

    anyio.run(main, backend="mio")


def test_neither_function_nor_result_is_kept_by_an_idle_thread() -> None:
    import weakref

    class Thing:
        pass

    async def main() -> None:
        thing = Thing()
        alive = weakref.ref(thing)
        await anyio.to_thread.run_sync(lambda thing: thing, thing)
        del thing
        with anyio.fail_after(5):
            while alive() is not None:
                await anyio.sleep(0.001)

    anyio.run(main, backend="mio")


def test_a_job_belongs_to_the_task_that_runs_it_not_to_the_one_that_made_it() -> None:
    async def main() -> None:
        job = Job(running_kernel(), lambda: 5)
        results: list[int] = []

        async def child() -> None:
            results.append(await job.run())

        async with anyio.create_task_group() as group:
            group.start_soon(child)

        assert results == [5]

    anyio.run(main, backend="mio")


def test_context_variables_of_the_caller_do_not_stay_in_the_thread() -> None:
    variable: ContextVar[str] = ContextVar("variable")

    async def main() -> None:
        variable.set("the caller's")
        assert await anyio.to_thread.run_sync(variable.get) == "the caller's"

    seen = []

    async def other() -> None:
        seen.append(await anyio.to_thread.run_sync(variable.get, None))

    anyio.run(main, backend="mio")
    anyio.run(other, backend="mio")

    assert seen == [None]


def test_no_thread_is_left_behind_by_a_hundred_calls() -> None:
    async def call() -> None:
        await anyio.to_thread.run_sync(int)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(call)

    anyio.run(main, backend="mio")

    assert len(our_threads()) <= 40 + 4  # the default limiter's, and what other tests have left


def test_an_error_that_comes_after_the_run_is_dropped_at_once() -> None:
    # It was kept by a cycle: the job, its error, the error's traceback, the job's own frame.
    class Argument:
        pass

    def fail(go: threading.Event, argument: Argument) -> None:
        go.wait(5)
        raise ValueError

    async def main(go: threading.Event) -> None:
        argument = Argument()
        arguments.append(weakref.ref(argument))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.to_thread.run_sync(fail, go, argument, abandon_on_cancel=True)

    arguments: list[weakref.ref[Argument]] = []
    go = threading.Event()
    gc.collect()
    gc.disable()
    try:
        anyio.run(main, go, backend="mio")
        go.set()
        wait_until(lambda: arguments[0]() is None)
    finally:
        gc.enable()


async def get_a_stray_cancellation() -> None:
    """Raise a cancellation that belongs to no scope around the caller."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class() as error:
            stray = error
    raise stray


def test_a_thread_gets_the_stray_cancellation_of_what_it_called() -> None:
    def call() -> str:
        try:
            anyio.from_thread.run(get_a_stray_cancellation)
        except BaseException as error:  # noqa: BLE001 - its class is what is asked for
            return type(error).__name__
        return "nothing"

    async def main(abandon: bool) -> str:
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=abandon)

    assert [anyio.run(main, abandon, backend="mio") for abandon in (True, False)] == [
        "Cancelled",
        "Cancelled",
    ]


def test_a_thread_that_follows_a_task_is_cancelled_with_it_at_the_end_of_the_run() -> None:
    log: list[str] = []
    done = threading.Event()

    async def task() -> None:
        try:
            await anyio.to_thread.run_sync(inner)
        except anyio.get_cancelled_exc_class():
            log.append("task cancelled")
            raise

    def inner() -> None:
        try:
            anyio.from_thread.run(anyio.sleep_forever)
        except BaseException as error:
            log.append(type(error).__name__)
            raise

    def outer() -> None:
        try:
            anyio.from_thread.run(task)
        except BaseException as error:  # noqa: BLE001 - its class is what is asked for
            log.append(type(error).__name__)
        done.set()

    async def main() -> None:
        with anyio.move_on_after(0.03):
            await anyio.to_thread.run_sync(outer, abandon_on_cancel=True)

    anyio.run(main, backend="mio")
    assert done.wait(5)
    assert log == ["Cancelled", "task cancelled", "RunFinishedError"]
