"""The turn and its three queues: a budget bounds time, and no task starves.

Time is the stopwatch's, and it moves by what each step is said to take, so each test repeats.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.fairness import HANG_UPS, SLICE, STEPS_PER_LOOK, ShuffledQueue
from anyio_mio._kernel.kernel import Kernel
from anyio_mio.testing import ScriptedSelector
from tests.kernel.harness import ERRORS, Box, Group, HandClock, run

POLL = "poll"


@dataclass
class Stage:
    """A kernel whose steps take the time that a test says; it logs them, and the polls."""

    queue_type: Callable[[], Any] = deque
    clock: HandClock = field(default_factory=HandClock)
    log: list[Any] = field(default_factory=list)
    polls: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        selector = ScriptedSelector(on_wait=self._on_wait)
        self.kernel = Kernel(
            ERRORS, selector=selector, clock=self.clock, queue_type=self.queue_type
        )

    def _on_wait(self, _timeout: float | None) -> None:
        self.log.append(POLL)
        self.polls.append(self.clock.time)

    def step(self, number: int, seconds: float) -> None:
        """Note that a task's step does something, and how long that takes."""
        self.log.append(number)
        self.clock.time += seconds

    def run(self, main: Callable[[Kernel], Coroutine[object, object, Any]]) -> None:
        run(main, self.kernel)

    def turns(self) -> list[list[int]]:
        """The steps of each turn."""
        turns: list[list[int]] = [[]]
        for entry in self.log:
            if entry == POLL:
                turns.append([])
            else:
                turns[-1].append(entry)
        return turns


async def spin(stage: Stage, number: int, rounds: int, seconds: float) -> None:
    """Compute and yield."""
    for _ in range(rounds):
        stage.step(number, seconds)
        await stage.kernel.checkpoint()


@pytest.mark.invariant("K3")
def test_tasks_that_yield_run_in_their_order_until_the_slice_is_over() -> None:
    stage = Stage()

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            for number in range(5):
                group.spawn(spin(stage, number, 6, 0.3 * SLICE))

    stage.run(main)

    steps = [entry for entry in stage.log if entry != POLL]
    assert steps == [*range(5)] * 6
    lengths = [len(turn) for turn in stage.turns() if turn]
    assert lengths[2:-1] == [4] * len(lengths[2:-1])  # after 0.3, 0.6 and 0.9 slices comes one more


@pytest.mark.invariant("K3")
def test_a_turn_steps_at_least_one_task_that_yielded() -> None:
    stage = Stage()

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            for number in range(3):
                group.spawn(spin(stage, number, 4, 10 * SLICE))

    stage.run(main)

    assert [turn for turn in stage.turns() if turn][-6:] == [[0], [1], [2]] * 2


@pytest.mark.invariant("K2")
def test_what_a_poll_wakes_runs_before_what_yielded() -> None:
    stage = Stage()

    async def sleeper(kernel: Kernel) -> None:
        await kernel.sleep(1)
        stage.step(99, 0)

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            group.spawn(sleeper(kernel))
            for number in range(3):
                group.spawn(spin(stage, number, 5, SLICE))
            await kernel.checkpoint()
            await kernel.checkpoint()
            stage.clock.time = 2

    stage.run(main)

    [turn] = [turn for turn in stage.turns() if 99 in turn]
    assert turn[0] == 99


@pytest.mark.invariant("K3")
def test_a_turn_ends_although_two_tasks_keep_waking_each_other() -> None:
    stage = Stage()

    async def ping(own: Box, other: Box) -> None:
        while stage.clock.time < 20 * SLICE:
            stage.step(0, SLICE / 20)
            if other.waiting:
                other.wake()
            await own.wait()
        if other.waiting:
            other.wake()

    async def main(kernel: Kernel) -> None:
        one, other = Box(kernel), Box(kernel)
        async with Group(kernel) as group:
            group.spawn(ping(one, other))
            group.spawn(ping(other, one))

    stage.run(main)

    most = 2 + 20 + STEPS_PER_LOOK
    assert len(stage.polls) > 10
    assert max(len(turn) for turn in stage.turns()) <= most


@pytest.mark.invariant("K3")
def test_tasks_that_wake_each_other_leave_time_to_those_that_yield() -> None:
    stage = Stage()

    async def ping(kernel: Kernel, own: Box, other: Box) -> None:
        while stage.log.count(7) < 50:
            stage.step(0, SLICE / 1000)
            if other.waiting:
                other.wake()
            await own.wait()
        if other.waiting:
            other.wake()

    async def main(kernel: Kernel) -> None:
        one, other = Box(kernel), Box(kernel)
        async with Group(kernel) as group:
            group.spawn(ping(kernel, one, other))
            group.spawn(ping(kernel, other, one))
            group.spawn(spin(stage, 7, 50, SLICE / 1000))

    stage.run(main)

    others = "".join("x" if entry == 7 else "." for entry in stage.log if entry != POLL).split("x")
    assert max(map(len, others[1:])) <= STEPS_PER_LOOK


def hang_up(box: Box) -> None:
    """Wake a task of a box as the reactor does when the peer of its connection is gone."""
    box.kernel.hung_up.append(box.waiting.pop(0))


@pytest.mark.invariant("K3")
def test_a_client_does_not_wait_for_hundreds_that_hang_up_at_once() -> None:
    stage = Stage()

    async def serve(box: Box, number: int) -> None:
        await box.wait()
        stage.step(number, SLICE / 10)

    async def main(kernel: Kernel) -> None:
        quiet, gone = Box(kernel), Box(kernel)
        async with Group(kernel) as group:
            for _ in range(200):
                group.spawn(serve(gone, 0))
            group.spawn(serve(quiet, 99))
            await kernel.checkpoint()
            while gone.waiting:
                hang_up(gone)
            await kernel.sleep(SLICE / 2)  # until the next poll, which may bring a request
            quiet.wake()

    stage.run(main)

    steps = [step for step in stage.log if step != POLL]
    assert steps.index(99) <= 10 + STEPS_PER_LOOK + HANG_UPS
    assert len(steps) == 201


@pytest.mark.invariant("K3")
def test_what_has_hung_up_does_not_pile_up_beside_those_that_keep_the_kernel_busy() -> None:
    stage = Stage()
    lengths = []

    async def main(kernel: Kernel) -> None:
        requests, ends = Box(kernel), Box(kernel)
        async with Group(kernel) as group:

            async def connection() -> None:
                await requests.wait()
                stage.step(0, SLICE)
                await ends.wait()
                stage.step(1, SLICE)

            for _ in range(50):
                for _ in range(4 * HANG_UPS):
                    group.spawn(connection())
                await kernel.checkpoint()
                while requests.waiting:
                    requests.wake()
                await kernel.checkpoint()
                while ends.waiting:
                    hang_up(ends)
                lengths.append(len(kernel.hung_up))

    stage.run(main)

    assert max(lengths) <= 8 * HANG_UPS


@pytest.mark.invariant("K3")
def test_tasks_that_yield_go_on_beside_those_whose_peers_hang_up() -> None:
    stage = Stage()

    async def end(box: Box) -> None:
        await box.wait()
        stage.step(0, SLICE)

    async def main(kernel: Kernel) -> None:
        gone = Box(kernel)
        async with Group(kernel) as group:
            for _ in range(400):
                group.spawn(end(gone))
            await kernel.checkpoint()
            while gone.waiting:
                hang_up(gone)
            group.spawn(spin(stage, 7, 10, SLICE))

    stage.run(main)

    last = len(stage.log) - stage.log[::-1].index(7)
    assert stage.log[:last].count(0) <= 12 * (HANG_UPS + 2)  # ten rounds, each in a turn


Actions = st.lists(
    st.tuples(
        st.sampled_from(["yield", "ring", "hang up", "ring and wait"]),
        st.integers(0, 7),
        st.sampled_from([0.0, 0.01, 0.2, 1.0, 3.0]),
    ),
    max_size=12,
)


class Model:
    """Tasks that yield, wake each other and wait, as scripts say; it notes how long each waited."""

    def __init__(self, scripts: list[Any], queue_type: Callable[[], Any] = deque) -> None:
        self.stage = Stage(queue_type)
        self.scripts = scripts
        self.boxes = [Box(self.stage.kernel) for _ in range(8)]
        self.steps = 0
        self.longest = 0.0
        self.began_waiting: dict[int, tuple[str, int, int]] = {}
        # How a task became runnable, behind how many, and after how many steps of others it ran.
        self.waits: list[tuple[str, int, int]] = []

    def becomes_runnable(self, number: int, how: str, ahead: int) -> None:
        self.began_waiting[number] = (how, ahead, self.steps)

    def steps_now(self, number: int, seconds: float) -> None:
        how, ahead, since = self.began_waiting.pop(number)
        self.waits.append((how, ahead, self.steps - since))
        self.steps += 1
        self.longest = max(self.longest, seconds)
        self.stage.step(number, seconds)

    def ring(self, action: str, box: Box, numbers: dict[Any, int]) -> None:
        kernel = self.stage.kernel
        if box.waiting and action == "hang up":
            self.becomes_runnable(numbers[box.waiting[0]], "hung up", len(kernel.hung_up))
            hang_up(box)
        elif box.waiting:
            self.becomes_runnable(numbers[box.waiting[0]], "woken", len(kernel.run_queue))
            box.wake()

    async def play(self, number: int, numbers: dict[Any, int]) -> None:
        kernel = self.stage.kernel
        numbers[kernel.current] = number
        for action, where, cost in self.scripts[number]:
            self.steps_now(number, cost * SLICE)
            box = self.boxes[where]
            if action != "yield":
                self.ring(action, box, numbers)
            if action == "ring and wait":
                await box.wait()
            else:
                self.becomes_runnable(number, "spent", len(kernel.spent))
                await kernel.yield_now()
        self.steps_now(number, 0)

    async def main(self, kernel: Kernel) -> None:
        numbers: dict[Any, int] = {}
        with CancelScope() as scope:
            async with Group(kernel) as group:
                for number in range(len(self.scripts)):
                    self.becomes_runnable(number, "woken", len(kernel.run_queue))
                    group.spawn(self.play(number, numbers))
                await kernel.sleep(10_000)  # the clock gets there when nothing is left to do
                scope.cancel()

    def run(self) -> None:
        self.stage.run(self.main)


@pytest.mark.invariant("K2", "K3")
@settings(max_examples=150, deadline=None)
@given(scripts=st.lists(Actions, min_size=1, max_size=8))
def test_no_task_waits_for_more_than_so_many_steps_of_others(scripts: list[Any]) -> None:
    model = Model(scripts)
    model.run()

    tasks = len(scripts) + 1  # and the main task
    # While others wait in the two other queues, one of each leaves it in each turn. So at most
    # these steps lie between two: those of a slice until it is over, and the first round of a turn.
    gap = 2 * STEPS_PER_LOOK + tasks
    for how, ahead, steps in model.waits:
        assert steps <= (ahead if how == "woken" else (ahead + 1) * gap + tasks)


@pytest.mark.invariant("K3")
@settings(max_examples=150, deadline=None)
@given(scripts=st.lists(Actions, min_size=1, max_size=8))
def test_the_time_between_two_polls_is_bounded(scripts: list[Any]) -> None:
    model = Model(scripts)
    model.run()

    between = [later - poll for poll, later in pairwise(model.stage.polls)]
    first_round = (len(scripts) + 1) * model.longest
    most = first_round + SLICE + STEPS_PER_LOOK * model.longest
    assert max(between[:-1], default=0) <= most * 1.001  # the last one is the main task's sleep


@pytest.mark.invariant("K3")
@settings(max_examples=50, deadline=None)
@given(scripts=st.lists(Actions, min_size=1, max_size=8), seed=st.integers(0, 9))
def test_in_a_shuffled_order_no_task_starves_either(scripts: list[Any], seed: int) -> None:
    model = Model(scripts, partial(ShuffledQueue, Random(seed)))
    model.run()

    tasks = len(scripts) + 1
    # A task may be the last of its generation, and the generation that was under way comes first.
    gap = 2 * STEPS_PER_LOOK + tasks
    assert all(steps <= 2 * tasks * gap for _, _, steps in model.waits)
