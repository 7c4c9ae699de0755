"""How the accept loop waits when the system has nothing to give."""

from __future__ import annotations

import errno
import logging
import random
import socket

import anyio
import pytest

from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._net.backoff import FIRST_DELAY, JITTER, LAST_DELAY, BackOff
from anyio_mio._net.logs import LOG_EVERY
from anyio_mio.testing import MockClock
from tests.net.scripted import run

OUT = OSError(errno.EMFILE, "Too many open files")


def back_off() -> BackOff:
    return BackOff(running_kernel().reactor)


async def delay_of(waiting: BackOff) -> float:
    waiting.begin(OUT)
    before = anyio.current_time()
    await waiting.wait()
    return anyio.current_time() - before


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)


@pytest.mark.usefixtures("no_jitter")
def test_the_delay_doubles_from_five_milliseconds_to_a_second() -> None:
    async def main() -> None:
        waiting = back_off()

        delays = [await delay_of(waiting) for _ in range(10)]

        expected = [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]
        assert delays == pytest.approx(expected)
        assert waiting.count == 10

    run(main)


@pytest.mark.usefixtures("no_jitter")
def test_a_success_starts_it_again() -> None:
    async def main() -> None:
        waiting = back_off()
        for _ in range(5):
            await delay_of(waiting)

        waiting.reset()

        assert not waiting.is_raised
        assert await delay_of(waiting) == pytest.approx(FIRST_DELAY)

    run(main)


def test_the_delay_varies_within_its_bounds() -> None:
    async def main() -> None:
        waiting = back_off()
        for _ in range(10):
            await delay_of(waiting)

        delays = [await delay_of(waiting) for _ in range(100)]

        assert min(delays) >= LAST_DELAY * (1 - JITTER) - 1e-6
        assert max(delays) <= LAST_DELAY * (1 + JITTER) + 1e-6
        assert len({round(delay, 6) for delay in delays}) > 50

    run(main)


def test_it_is_due_until_it_has_waited() -> None:
    async def main() -> None:
        waiting = back_off()
        assert not waiting.is_due
        waiting.begin(OUT)
        assert waiting.is_due
        await waiting.wait()
        assert not waiting.is_due

    run(main)


def test_closing_a_socket_of_ours_ends_the_wait() -> None:
    clock = MockClock()  # time stands still: only the closing can end it

    async def main() -> None:
        waiting = back_off()
        ours, peer = socket.socketpair()
        stream = await anyio.abc.UNIXSocketStream.from_socket(ours)
        waiting.begin(OUT)
        async with anyio.create_task_group() as group:
            group.start_soon(waiting.wait)
            await anyio.wait_all_tasks_blocked()
            assert waiting.is_due
            await stream.aclose()
        assert not waiting.is_due
        assert running_kernel().reactor.starving == []
        peer.close()

    run(main, clock=clock)


def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    async def main() -> None:
        waiting = back_off()
        waiting.begin(OUT)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await waiting.wait()
        assert scope.cancelled_caught
        assert running_kernel().reactor.starving == []

    run(main)


def test_the_first_line_comes_at_once_and_the_next_with_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = MockClock()

    async def main() -> None:
        waiting = back_off()
        waiting.begin(OUT)
        for _ in range(9):
            waiting.begin(OUT)
        clock.jump(LOG_EVERY - 0.1)
        waiting.begin(OUT)
        assert len(caplog.records) == 1
        clock.jump(0.1)
        waiting.begin(OUT)

    run(main, clock=clock)

    first, second = caplog.messages
    assert "EMFILE" in first
    assert "(1 times)" in first
    assert "(11 times)" in second


def test_trouble_that_comes_and_goes_is_over_once_for_each_line_about_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        waiting = back_off()
        for _ in range(100):
            waiting.begin(OUT)
            waiting.reset()

    caplog.set_level(logging.INFO)
    run(main, clock=MockClock())

    assert len(caplog.records) == 2
    assert caplog.messages[1] == "accepting again"
