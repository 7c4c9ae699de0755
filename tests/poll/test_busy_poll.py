"""The spin before a sleep, on a scripted selector and a clock that moves with each poll."""

from __future__ import annotations

from anyio_mio.poll import Selector
from anyio_mio.poll._sys.bits import READABLE
from anyio_mio.poll._sys.busy_poll import MOST_PASSED, BusyPoll
from anyio_mio.testing import ScriptedSelector

EVENT = [(5, READABLE)]
POLL = 1e-6  # seconds that a poll takes on this clock


class Bench:
    """A busy poll of 10 µs; between two looks at its clock a poll takes one."""

    def __init__(self) -> None:
        self.time = 0.0
        self.inner = ScriptedSelector(on_wait=self.poll)
        self.selector = BusyPoll(self.inner, 10 * POLL, now=lambda: self.time)

    def poll(self, timeout: float | None) -> None:
        self.time += POLL

    def spins_in_vain(self) -> bool:
        """Let one sleep time out, and say whether there was a spin before it."""
        self.inner.timeouts.clear()
        self.selector.select(1, 16)
        return self.inner.timeouts[0] == 0


def test_an_event_during_the_spin_saves_the_sleep() -> None:
    bench = Bench()
    bench.inner.play([], [], EVENT)

    assert bench.selector.select(None, 16) == EVENT
    assert bench.inner.timeouts == [0, 0, 0]


def test_a_spin_that_sees_nothing_ends_in_the_sleep_for_the_time_that_is_left() -> None:
    bench = Bench()

    assert bench.selector.select(1, 16) == []

    *spun, slept = bench.inner.timeouts
    assert spun == [0] * 10
    assert slept == 1 - 10 * POLL


def test_a_wait_without_a_timeout_sleeps_without_one() -> None:
    bench = Bench()
    bench.inner.play(*[[]] * 10, EVENT)

    assert bench.selector.select(None, 16) == EVENT
    assert bench.inner.timeouts[-1] is None


def test_a_poll_that_must_not_block_is_one_poll() -> None:
    bench = Bench()

    assert bench.selector.select(0, 16) == []
    assert bench.inner.timeouts == [0]


def test_a_timeout_within_the_spin_ends_there_without_a_sleep() -> None:
    bench = Bench()

    assert bench.selector.select(4 * POLL, 16) == []
    assert bench.time >= 4 * POLL
    assert set(bench.inner.timeouts) == {0}


def test_spins_in_vain_become_rare() -> None:
    bench = Bench()

    spins = [bench.spins_in_vain() for _ in range(1 + 1 + 1 + 3 + 1 + 7 + 1)]

    in_vain = [place for place, spun in enumerate(spins) if spun]
    assert in_vain == [0, 2, 6, 14]


def test_an_idle_program_spins_once_for_64_sleeps() -> None:
    bench = Bench()
    for _ in range(1000):
        bench.spins_in_vain()

    assert sum(bench.spins_in_vain() for _ in range(10 * (MOST_PASSED + 1))) == 10


def test_a_spin_that_sees_something_makes_them_frequent_again() -> None:
    bench = Bench()
    for _ in range(1 + 1 + 1 + 3):  # the next sleep has a spin, and in vain it would cost seven
        bench.spins_in_vain()
    bench.inner.play(EVENT)

    assert bench.selector.select(1, 16) == EVENT
    assert [bench.spins_in_vain() for _ in range(3)] == [True, False, True]


def test_everything_else_is_the_inner_selector() -> None:
    bench = Bench()
    selector: Selector = bench.selector
    with selector:
        selector.register(5, READABLE)
        selector.reregister(5, READABLE)
        selector.rearm(5, READABLE)
        selector.deregister(5)

    assert [call.verb for call in bench.inner.calls] == [
        "register",
        "reregister",
        "rearm",
        "deregister",
    ]
    assert bench.inner.closed
    assert (selector.name, selector.edge_triggered) == ("scripted", True)
