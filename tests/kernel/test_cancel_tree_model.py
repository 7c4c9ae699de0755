"""The pushed-down cancel tree against a naive model that walks up at each look.

Scopes are entered, left, cancelled, shielded and given deadlines, tasks are started and handed over
at random. After each step every scope's pushed-down state must be what a walk to the root says, and
a task that waits must have been interrupted if, and only if, it was cancelled during its wait.
"""

from __future__ import annotations

from math import inf
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from anyio_mio._kernel.cancel_scope import CancelScope, stack_above
from anyio_mio._kernel.cancelled import Cancelled
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.starting import Starting
from anyio_mio._kernel.task import Task
from anyio_mio._kernel.task_group import TaskGroup
from tests.kernel.harness import HandClock, make_kernel

pytestmark = pytest.mark.invariant("K6")

MOST_TASKS = 8
DEEPEST = 5


class Coroutine:
    """What a task steps; it is never stepped here."""

    def send(self, value: None) -> None:
        raise AssertionError

    throw = send


class Owner:
    def task_done(self, task: Task, value: object, error: BaseException | None, /) -> None:
        pass


class Wait:
    """A wait that can be left, once."""

    def __init__(self) -> None:
        self.is_over = False

    def abort(self, task: Task, /) -> bool:
        was_over, self.is_over = self.is_over, True
        return not was_over


class CancelTree(RuleBasedStateMachine):
    kernel: Kernel
    clock: HandClock

    @initialize()
    def begin(self) -> None:
        self.clock = HandClock()
        self.kernel = make_kernel(clock=self.clock)
        self.tasks: list[Task] = []
        self.expected: set[Task] = set()  # was cancelled during its present wait
        self.spawn_into(self.kernel.root)

    def teardown(self) -> None:
        if hasattr(self, "kernel"):
            self.kernel.close()

    # What tasks do.

    def spawn_into(self, scope: CancelScope) -> Task:
        coro: Any = Coroutine()
        task = self.kernel.spawn(coro, f"task {len(self.tasks)}", Owner(), scope)
        self.tasks.append(task)
        self.park(task)
        return task

    def park(self, task: Task) -> None:
        self.expected.discard(task)
        task.error = None
        self.kernel.current = task
        self.kernel.park(Wait())
        self.kernel.current = None
        self.note()

    def task(self, data: st.DataObject) -> Task:
        return data.draw(st.sampled_from(self.tasks))

    def scopes(self) -> list[CancelScope]:
        return [scope for task in self.tasks for scope in stack_above(task, task.base)]

    def scope(self, data: st.DataObject) -> CancelScope | None:
        scopes = self.scopes()
        return data.draw(st.sampled_from(scopes)) if scopes else None

    @rule(data=st.data(), shield=st.booleans(), deadline=st.sampled_from([inf, 1.0, 5.0]))
    def enter(self, data: st.DataObject, shield: bool, deadline: float) -> None:
        task = self.task(data)
        if len(stack_above(task, task.base)) < DEEPEST:
            self.kernel.current = task
            scope = CancelScope(deadline=self.clock.time + deadline, shield=shield)
            scope.enter(self.kernel, task)
            self.park(task)

    @rule(data=st.data())
    def exit(self, data: st.DataObject) -> None:
        task = self.task(data)
        if task.scope is not task.base and not task.scope.members:
            self.kernel.current = task
            task.scope.__exit__(None, None, None)
            self.park(task)

    @rule(data=st.data())
    @precondition(lambda self: len(self.tasks) < MOST_TASKS)
    def spawn(self, data: st.DataObject) -> None:
        scope = self.scope(data)
        self.spawn_into(scope or self.kernel.root)
        self.note()

    @rule(data=st.data())
    def wait_again(self, data: st.DataObject) -> None:
        self.park(self.task(data))
        self.note()

    @rule(data=st.data())
    @precondition(lambda self: len(self.tasks) > 1)
    def end(self, data: st.DataObject) -> None:
        task = self.task(data)
        scopes = stack_above(task, task.base)
        if not any(scope.members for scope in scopes) and len(self.tasks) > 1:
            self.kernel.current = task
            for scope in reversed(scopes):
                scope.__exit__(None, None, None)
            self.kernel.finish(task, None, None)
            self.kernel.current = None
            self.tasks.remove(task)
            self.expected.discard(task)

    # What happens to them.

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        scope = self.scope(data)
        if scope is not None:
            scope.cancel()
            self.note()

    @rule(data=st.data(), shield=st.booleans())
    def move_shield(self, data: st.DataObject, shield: bool) -> None:
        scope = self.scope(data)
        if scope is not None:
            scope.shield = shield
            self.note()

    @rule(data=st.data(), seconds=st.sampled_from([-1.0, 2.0, inf]))
    def move_deadline(self, data: st.DataObject, seconds: float) -> None:
        scope = self.scope(data)
        if scope is not None:
            scope.deadline = self.clock.time + seconds
            self.note()

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.time += seconds
        self.kernel.deadlines.expire(self.clock.time)
        self.note()

    @rule(data=st.data())
    @precondition(lambda self: len(self.tasks) < MOST_TASKS)
    def start_and_hand_over(self, data: st.DataObject) -> None:
        """A child runs under its caller and then moves, with its own scopes, into a group."""
        caller = self.task(data)
        child = self.spawn_into(caller.scope)
        for shield in data.draw(st.lists(st.booleans(), max_size=2)):
            CancelScope(shield=shield).enter(self.kernel, child)
        self.park(child)
        target = self.scope(data)
        inside = target is not None and target in self.around(child)[:-1]
        if target is None or target.host is child or inside:
            return
        group = TaskGroup()
        group.cancel_scope, group.host = target, cast("Task", target.host)
        Starting(group)._hand_over(child)
        self.note()

    # The truth.

    def around(self, task: Task) -> list[CancelScope]:
        chain: list[CancelScope] = []
        scope: CancelScope | None = task.scope
        while scope is not None:
            chain.append(scope)
            scope = scope.parent
        return chain

    def is_cancelled(self, scope: CancelScope | None) -> bool:
        while scope is not None:
            if scope._cancel_called:
                return True
            scope = None if scope.shield else scope.parent
        return False

    def note(self) -> None:
        self.kernel.run_queue.clear()
        self.expected |= {task for task in self.tasks if self.is_cancelled(task.scope)}

    @invariant()
    def each_scope_knows_whether_it_is_cancelled(self) -> None:
        for task in self.tasks:
            for scope in self.around(task):
                assert scope.effective == self.is_cancelled(scope)

    @invariant()
    def who_waits_is_interrupted_if_and_only_if_it_was_cancelled(self) -> None:
        for task in self.tasks:
            was_interrupted = isinstance(task.error, Cancelled)
            assert was_interrupted == (task in self.expected), task

    @invariant()
    def the_effective_deadline_is_the_first_that_can_end_the_work(self) -> None:
        for task in self.tasks:
            deadline, scope = inf, task.scope
            for scope in self.around(task):
                deadline = min(deadline, -inf if scope._cancel_called else scope._deadline)
                if scope.shield:
                    break
            assert task.scope.effective_deadline() == deadline

    @invariant()
    def every_task_is_found_from_the_roots(self) -> None:
        if hasattr(self, "kernel"):
            assert set(self.kernel.tasks()) == set(self.tasks)
            assert len(self.kernel.tasks()) == len(self.tasks)


TestCancelTree = CancelTree.TestCase
TestCancelTree.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
