"""The watchdog names the line that blocks the loop, whatever blocks it. Real threads and time."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
import time
from collections.abc import Callable

import anyio
import pytest

import anyio_mio
from anyio_mio._kernel.kernel import running_kernel

LIMIT = 0.05


def compute() -> None:
    end = time.monotonic() + 3 * LIMIT
    while time.monotonic() < end:
        pass


def sleep() -> None:
    time.sleep(3 * LIMIT)


def wait_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=3 * LIMIT)


BACKTRACKING = re.compile("(a+)+b")


def hold_the_interpreter() -> None:
    for length in range(18, 40):
        start = time.monotonic()
        BACKTRACKING.match("a" * length)  # a function in C that lets no other thread run
        if time.monotonic() - start > 3 * LIMIT:
            return


@pytest.mark.parametrize("block", [compute, sleep, wait_for_a_lock, hold_the_interpreter])
def test_the_line_that_blocks_the_loop_is_logged(
    block: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await anyio.sleep(LIMIT)
        block()
        await anyio.sleep(2 * LIMIT)

    with caplog.at_level(logging.WARNING, "anyio_mio.watchdog"):
        anyio_mio.run(main, slow_step=LIMIT)

    texts = [record.getMessage() for record in caplog.records]
    assert any("has blocked" in text and block.__name__ in text for text in texts)
    assert any(re.search(r"blocked the event loop for \d.\d\d s in one step", t) for t in texts)


def test_a_callback_that_blocks_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        token = anyio.lowlevel.current_token()
        thread = threading.Thread(
            target=lambda: anyio.from_thread.run_sync(sleep, token=token), daemon=True
        )
        thread.start()
        await anyio.sleep(6 * LIMIT)
        await anyio.to_thread.run_sync(thread.join)

    with caplog.at_level(logging.WARNING, "anyio_mio.watchdog"):
        anyio_mio.run(main, slow_step=LIMIT)

    assert any("a callback has blocked" in record.getMessage() for record in caplog.records)


def test_a_task_of_asyncio_that_blocks_is_named_and_its_stack_begins_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        sleep()

    async def main() -> None:
        await asyncio.create_task(work(), name="worker")
        await anyio.sleep(2 * LIMIT)

    with caplog.at_level(logging.WARNING, "anyio_mio.watchdog"):
        anyio_mio.run(main, slow_step=LIMIT)

    first, last = [record.getMessage() for record in caplog.records]
    assert first.startswith("asyncio task 'worker' has blocked the event loop")
    assert "in work\n" in first
    if sys.implementation.name == "cpython":  # PyPy shows asyncio's frames in Python
        assert first.splitlines()[1].endswith("in work")
    assert last.startswith("asyncio task 'worker' blocked the event loop")


def test_a_run_that_only_waits_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "anyio_mio.watchdog"):
        anyio_mio.run(anyio.sleep, 4 * LIMIT, slow_step=LIMIT)

    assert [r for r in caplog.records if "in one step" in r.getMessage()] == []


def test_a_watched_run_has_no_instrument_so_a_turn_makes_no_call_for_it() -> None:
    async def main() -> tuple[int, int]:
        kernel = running_kernel()
        before = kernel.turns
        await anyio.sleep(0.01)
        return len(kernel.instruments), kernel.turns - before

    instruments, turns = anyio_mio.run(main, slow_step=LIMIT)

    assert instruments == 0
    assert turns >= 1


def test_the_thread_of_the_watchdog_ends_with_the_run() -> None:
    anyio_mio.run(anyio.sleep, 0, slow_step=LIMIT)

    assert "anyio_mio watchdog" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("limit, error", [("x", TypeError), (True, TypeError), (-1, ValueError)])
def test_a_limit_that_is_none_is_refused(limit: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="slow_step"):
        anyio_mio.run(anyio.sleep, 0, slow_step=limit)  # type: ignore[arg-type]
