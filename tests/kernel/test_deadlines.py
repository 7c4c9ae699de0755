"""Deadlines: never early, in order, and the heap behaves as a sorted list would."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from anyio_mio._kernel import deadlines as module
from anyio_mio._kernel.deadlines import Deadlines
from anyio_mio._kernel.kernel import Kernel
from tests.kernel.harness import Group, make_kernel, run

TIMES = st.sampled_from([float(n) for n in range(8)])


class Sleeper:
    """Something with a deadline; expiring may take back another's, as cancelling a scope does."""

    def __init__(self, model: Model, number: int) -> None:
        self.model = model
        self.number = number
        self.alarm = 0
        self.takes_along: Sleeper | None = None

    def expire(self) -> None:
        self.model.expired.append(self)
        if self.takes_along is not None:
            self.model.take_back(self.takes_along)


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.deadlines = Deadlines()
        self.pending: list[tuple[float, int, Sleeper]] = []
        self.sleepers = [Sleeper(self, n) for n in range(12)]
        self.expired: list[Sleeper] = []
        self.count = 0
        self.now = 0.0

    @rule(number=st.integers(0, 11), after=TIMES, other=st.integers(-1, 11))
    def add(self, number: int, after: float, other: int) -> None:
        sleeper = self.sleepers[number]
        if not sleeper.alarm:
            self.count += 1
            self.deadlines.add(sleeper, self.now + after)
            self.pending.append((self.now + after, self.count, sleeper))
            takes = other >= 0 and other != number
            sleeper.takes_along = self.sleepers[other] if takes else None

    @rule(number=st.integers(0, 11))
    def drop(self, number: int) -> None:
        self.take_back(self.sleepers[number])

    def take_back(self, sleeper: Sleeper) -> None:
        self.deadlines.drop(sleeper)
        self.pending = [entry for entry in self.pending if entry[2] is not sleeper]

    @rule(seconds=TIMES)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        expected = self.expected()
        self.expired.clear()

        any_expired = self.deadlines.expire(self.now)

        assert self.expired == expected
        assert any_expired == bool(expected)
        gone = set(expected)
        self.pending = [entry for entry in self.pending if entry[2] not in gone]

    def expected(self) -> list[Sleeper]:
        """Sort, take the first, strike out whom it takes along, and so on."""
        due = sorted((e for e in self.pending if e[0] <= self.now), key=lambda e: e[:2])
        result: list[Sleeper] = []
        struck: set[Sleeper] = set()
        for _, _, sleeper in due:
            if sleeper not in struck:
                result.append(sleeper)
                if sleeper.takes_along is not None:
                    struck.add(sleeper.takes_along)
        return result

    @invariant()
    def they_agree(self) -> None:
        assert self.deadlines.alive() == len(self.pending)
        assert self.deadlines.next() == min((entry[0] for entry in self.pending), default=inf)
        assert {s for s in self.sleepers if s.alarm} == {entry[2] for entry in self.pending}


@pytest.mark.parametrize("tolerated", [0, 256])
def test_the_heap_behaves_as_a_sorted_list(tolerated: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    monkeypatch.setattr(module, "COMPACT_ABOVE", tolerated)  # 0: it is rebuilt all the time

    run_state_machine_as_test(
        Model, settings=settings(max_examples=50, stateful_step_count=40, deadline=None)
    )


def test_equal_deadlines_expire_in_the_order_they_were_set() -> None:
    log: list[int] = []

    async def sleep(kernel: Kernel, number: int) -> None:
        await kernel.sleep(1)
        log.append(number)

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            for number in range(5):
                group.spawn(sleep(kernel, number))

    run(main)

    assert log == [0, 1, 2, 3, 4]


def test_most_deadlines_never_fire_and_the_heap_stays_small() -> None:
    deadlines = Deadlines()

    for number in range(10_000):
        owner = type("Owner", (), {"alarm": 0})()
        deadlines.add(owner, float(number))
        deadlines.drop(owner)

    assert len(deadlines) <= 2 * module.COMPACT_ABOVE


def test_a_sleep_never_ends_early_on_the_real_clock() -> None:
    import time

    import anyio

    async def main() -> None:
        for seconds in (0.0001, 0.0011, 0.01):
            began = time.monotonic()
            await anyio.sleep(seconds)
            assert time.monotonic() - began >= seconds

    anyio.run(main, backend="mio")


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_sleep_takes_a_sensible_time(seconds: float) -> None:
    async def main(kernel: Kernel) -> None:
        with pytest.raises(ValueError, match="non-negative"):
            await kernel.sleep(seconds)

    run(main)


def test_a_sleep_without_end_can_be_cancelled() -> None:
    async def sleep(kernel: Kernel) -> None:
        await kernel.sleep(inf)

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            group.spawn(sleep(kernel))
            await kernel.sleep(1)
            group.scope.cancel()

    kernel = make_kernel()
    run(main, kernel)

    assert kernel.now() == 1


def test_describing_many_sleepers_walks_the_heap_once() -> None:
    deadlines = Deadlines()
    owners = [type("Owner", (), {"alarm": 0})() for _ in range(50)]
    for number, owner in enumerate(owners):
        deadlines.add(owner, float(number))
    assert [deadlines.describe(owner).until for owner in owners] == [float(n) for n in range(50)]
    first = deadlines._times
    assert deadlines.describe(owners[7]).until == 7.0
    assert deadlines._times is first
    late = type("Owner", (), {"alarm": 0})()
    deadlines.add(late, 99.0)
    assert deadlines.describe(late).until == 99.0
