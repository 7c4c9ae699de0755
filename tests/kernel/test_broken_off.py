"""What a signal's handler raises while all tasks wait ends the main task's wait.

Found with pytest-timeout: a test that hung on mio hung for good, instead of failing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import anyio
import anyio.lowlevel
import pytest

from anyio_mio._backend.test_runner import TestRunner

Handler = Callable[[int, FrameType | None], None]


class TimeLimitError(BaseException):
    pass


@pytest.fixture
def alarm() -> Iterator[None]:
    """A handler that raises, as pytest-timeout's does."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise TimeLimitError

    before = signal.signal(signal.SIGUSR1, handle)
    yield
    signal.signal(signal.SIGUSR1, before)


def send_alarm() -> None:
    """In a thread: the loop sleeps by then, or is about to."""
    os.kill(os.getpid(), signal.SIGUSR1)


def send_alarm_when_asleep(thread: int, asleep: threading.Event) -> None:
    """Send the alarm once a thread sleeps in its poll: else it may end the step of any task."""
    asleep.wait()
    while "poll" not in sys._current_frames()[thread].f_globals["__name__"].split("."):
        time.sleep(0.001)
    send_alarm()


async def hang(log: list[str]) -> None:
    asleep = threading.Event()
    arguments = (threading.get_ident(), asleep)
    threading.Thread(target=send_alarm_when_asleep, args=arguments).start()
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        asleep.set()
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            log.append(type(error).__name__)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            log.append("unwound")


@pytest.mark.usefixtures("alarm")
def test_a_test_that_hangs_fails_where_it_hangs_and_the_runner_goes_on() -> None:
    log: list[str] = []

    async def fixture() -> str:
        await anyio.lowlevel.checkpoint()
        return "still here"

    with TestRunner({}) as runner:
        with pytest.raises(BaseExceptionGroup) as caught:
            runner.run_test(hang, {"log": log})
        after = runner.run_fixture(fixture, {})

    assert caught.group_contains(TimeLimitError)
    assert log == ["TimeLimitError", "unwound"]
    assert after == "still here"


@pytest.mark.usefixtures("alarm")
def test_a_program_unwinds() -> None:
    log: list[str] = []

    with pytest.raises(BaseExceptionGroup) as caught:
        anyio.run(hang, log, backend="mio")

    assert caught.group_contains(TimeLimitError)
    assert log == ["TimeLimitError", "unwound"]


@pytest.mark.usefixtures("alarm")
def test_a_runner_whose_task_cannot_be_told_does_not_wait_for_it() -> None:
    done = threading.Event()

    def alarm_and_hang() -> None:
        send_alarm()
        done.wait(10)

    async def wait_for_thread() -> None:
        await anyio.to_thread.run_sync(alarm_and_hang)

    async def fixture() -> None:
        raise AssertionError("never")

    with TestRunner({}) as runner:
        with pytest.raises(TimeLimitError):
            runner.run_test(wait_for_thread, {})
        with pytest.raises(RuntimeError, match="was broken off"):
            runner.run_fixture(fixture, {})
        done.set()


def test_sys_exit_in_a_handler_ends_the_program_after_its_cleanup() -> None:
    log: list[str] = []

    async def main() -> None:
        try:
            await anyio.to_thread.run_sync(send_alarm)
            await anyio.sleep_forever()
        finally:
            log.append("unwound")

    before = signal.signal(signal.SIGUSR1, lambda *_: sys.exit(3))
    try:
        with pytest.raises(SystemExit) as caught:
            anyio.run(main, backend="mio")
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert caught.value.code == 3
    assert log == ["unwound"]
