"""The mock clock: time passes when the test says so, or when the program only waits for it."""

from __future__ import annotations

import math
import socket
import time

import anyio
import pytest

import anyio_mio
from anyio_mio.testing import MockClock
from anyio_mio_pytest import mio_autojump_clock as mio_autojump_clock
from anyio_mio_pytest import mio_mock_clock as mio_mock_clock


def test_it_stands_still_until_it_is_moved(mio_mock_clock: MockClock) -> None:
    async def main() -> None:
        start = anyio.current_time()
        with anyio.move_on_after(10) as scope:
            mio_mock_clock.jump(9)
            await anyio.wait_all_tasks_blocked()
            assert not scope.cancel_called
            mio_mock_clock.jump(1)
            await anyio.sleep_forever()

        assert scope.cancelled_caught
        assert anyio.current_time() - start == 10

    anyio_mio.run(main, clock=mio_mock_clock)


def test_a_year_passes_in_no_time(mio_autojump_clock: MockClock) -> None:
    async def main() -> float:
        await anyio.sleep(365 * 86400)
        return anyio.current_time()

    began = time.monotonic()

    assert anyio_mio.run(main, clock=mio_autojump_clock) == 365 * 86400
    assert time.monotonic() - began < 5


def test_sleeps_end_in_their_order(mio_autojump_clock: MockClock) -> None:
    log: list[float] = []

    async def sleep(seconds: float) -> None:
        await anyio.sleep(seconds)
        log.append(anyio.current_time())

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for seconds in (30, 10, 20.5):
                group.start_soon(sleep, seconds)

    anyio_mio.run(main, clock=mio_autojump_clock)

    assert log == [10, 20.5, 30]


def test_data_under_way_comes_before_the_deadline(mio_autojump_clock: MockClock) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        async with (
            await anyio.abc.UNIXSocketStream.from_socket(ours) as one,
            await anyio.abc.UNIXSocketStream.from_socket(peer) as other,
            anyio.create_task_group() as group,
        ):
            with anyio.fail_after(1):
                for _ in range(20):
                    group.start_soon(other.send, b"x")
                    assert await one.receive() == b"x"

        assert anyio.current_time() == 0

    anyio_mio.run(main, clock=mio_autojump_clock)


def test_it_gives_threads_a_moment() -> None:
    async def main() -> None:
        with anyio.fail_after(1):
            await anyio.to_thread.run_sync(time.sleep, 0.02)

    anyio_mio.run(main, clock=MockClock(autojump=1))


def test_whoever_waits_for_all_others_comes_before_the_jump(mio_autojump_clock: MockClock) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 5)
            await anyio.wait_all_tasks_blocked()
            assert anyio.current_time() == 0

    anyio_mio.run(main, clock=mio_autojump_clock)


def test_it_begins_where_the_test_says() -> None:
    clock = MockClock(100)

    clock.jump(1.5)

    assert clock.now() == 101.5
    assert repr(clock) == "MockClock(101.5)"


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan])
def test_time_does_not_go_backwards(seconds: float) -> None:
    with pytest.raises(ValueError, match="time goes forward"):
        MockClock().jump(seconds)


def test_it_does_not_jump_unless_told_to() -> None:
    clock = MockClock()

    clock.quiet(5)

    assert clock.now() == 0
    assert clock.time_to_wait(5) is None


def test_it_waits_for_something_to_happen_where_there_is_no_deadline() -> None:
    assert MockClock(autojump=0).time_to_wait(math.inf) is None


def test_it_is_a_backend_option_like_any_other() -> None:
    clock = MockClock(autojump=0)

    anyio.run(anyio.sleep, 60, backend="mio", backend_options={"clock": clock})

    assert clock.now() == 60
