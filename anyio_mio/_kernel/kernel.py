"""The kernel: a run queue, a clock, a reactor, and the turn that joins them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import Context, copy_context
from math import inf, isnan
from types import CodeType
from typing import Any, ClassVar, Final, cast, final

from anyio_mio._kernel.async_generators import AsyncGenerators
from anyio_mio._kernel.cancel_scope import CancelScope, tasks_inside
from anyio_mio._kernel.cancelled import NO_TASK, OTHER_THREAD, Cancelled, is_cancellation
from anyio_mio._kernel.clock import SYSTEM_CLOCK, Clock, quiet_hook
from anyio_mio._kernel.deadlines import Deadlines
from anyio_mio._kernel.entry import EntryQueue, nothing
from anyio_mio._kernel.fairness import (
    BUDGET,
    EVENTS_PER_POLL,
    LOOKS_PER_SLICE,
    QUICK,
    SLICE,
    STEPS_PER_LOOK,
    OtherThreads,
    admit_hung_up,
    stand_still,
)
from anyio_mio._kernel.foreign_loop import ForeignLoop, wait_elsewhere
from anyio_mio._kernel.idle import FOREVER, IdleWaiters
from anyio_mio._kernel.instruments import Instrument, Instruments
from anyio_mio._kernel.interrupts import Interruption, door, interrupt_between_steps, repair
from anyio_mio._kernel.outcome import holds
from anyio_mio._kernel.running import Presence, running
from anyio_mio._kernel.running import running_kernel as running_stepper
from anyio_mio._kernel.task import Owner, SystemTasks, Task
from anyio_mio._kernel.traps import PAUSE, PAUSED, YIELDED
from anyio_mio._reactor.dead_selector import FORKED
from anyio_mio._reactor.reactor import Reactor
from anyio_mio._reactor.scheduler import ErrorClasses, TakesError, Waitable
from anyio_mio.poll import Poll, Selector
from anyio_mio.poll.waker import Waker


@final
class Kernel:
    """One run of mio in one thread. A `Scheduler` for the reactor and the sockets.

    Attributes:
        current: the task that is being stepped; None in callbacks and between steps.
        budget: see `Scheduler.budget`; refilled at each step.
        run_queue: tasks that were woken or started, in that order; they run first.
        hung_up: tasks whose peer has hung up; they run after as many woken ones, and in slices.
        spent: tasks that yielded, in that order; they run in slices, between polls (K3).
        root: the scope that the main task and its descendants are in.
        resume: makes a parked task runnable; ``append`` itself, where no signal's handler raises.
        system: the scope of system tasks, cancelled when the main task has ended.
        abandoned: scopes whose task has ended while other tasks still run in them.
        asyncio: the run's loop for asyncio; None until the program uses asyncio.
        thread: the identity of the thread that runs it.
        threads: the backend's state of worker threads for this run; None before the first call.
        turns: how often it has polled; in an instrument, counting would cost 400 ns and not 20.
        slow_steps: how many steps were too long for a watchdog.
        ending: a task whose end is not completed yet, its value and its error; see `repair()`.
        observers: each makes a context manager that surrounds the run, such as a watchdog.
        at_shutdown: called after the main task; each returns a coroutine, which is run to its end.
    """

    # Beyond thirty attributes beside the slots, each access takes 14 ns instead of 8 (measured).
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_crashes",
        "abandoned",
        "ending",
        "at_shutdown",
        "observers",
        "resume",
        "slow_steps",
        "turns",
    )

    def __init__(  # noqa: PLR0913 - each is a choice of its own
        self,
        errors: ErrorClasses,
        *,
        selector: Selector | None = None,
        clock: Clock | None = None,
        strict_checkpoints: bool = False,
        detection: Callable[[], AbstractContextManager[object]] = nullcontext,
        instruments: Iterable[Instrument] = (),
        queue_type: Callable[[], deque[Task]] = deque,
    ) -> None:
        self.errors = errors
        self.clock: Clock = clock or SYSTEM_CLOCK
        self.now: Callable[[], float] = self.clock.now
        self._quiet = quiet_hook(self.clock)
        self.full_budget = 0 if strict_checkpoints else BUDGET
        self.current: Task | None = None
        self.turns = self.slow_steps = self.budget = 0
        self.run_queue: deque[Task] = queue_type()
        self.resume: Callable[[Task], None] = self.run_queue.append
        self.hung_up, self.spent = queue_type(), queue_type()
        # A shuffled order is repeatable only if time does not decide when a slice ends.
        self._slice_clock: Callable[[], float] = self.now if queue_type is deque else stand_still
        self.deadlines: Deadlines = Deadlines()
        self.idle: IdleWaiters = IdleWaiters()
        self.other_threads: OtherThreads = OtherThreads()
        self.instruments: Instruments = Instruments(instruments)
        self.root: CancelScope = CancelScope()
        self.system: CancelScope = CancelScope()
        self.root.members, self.system.members = {}, {}
        self.abandoned: dict[CancelScope, None] = {}
        self.interrupted: bool = False
        self.interruption: Interruption = Interruption()
        self.is_dead: bool = False
        self.threads: Any = None
        self.thread = threading.get_ident()
        self.main: Task | None = None
        self.observers: list[Callable[[Kernel], AbstractContextManager[object]]] = []
        self.at_shutdown: list[Callable[[], Coroutine[object, object, object]]] = []
        self.async_generators: AsyncGenerators = AsyncGenerators(self)
        self._detection = detection
        self._presence = Presence()
        self._crashes: list[BaseException] = []
        self.ending: tuple[Task, object, BaseException | None] | None = None
        self.asyncio: ForeignLoop | None = None
        self.reactor: Reactor = Reactor(Poll(selector), self)
        self._select = self.reactor.poll.select
        try:
            self.entry: EntryQueue = EntryQueue(self._make_waker())
        except BaseException:
            self.reactor.poll.close()
            raise

    # The scheduler's side: what sockets and primitives call.

    def park(self, waitable: Waitable, /) -> Awaitable[None]:
        """Suspend the current task on ``waitable``; await the result at once.

        The code that removes the task from the queue of ``waitable`` resumes it (K5). A
        cancellation ends the wait at once, and is thrown into the task.
        """
        task = self.current
        if task is None:
            raise self.no_task()
        if task.parked_on is not None:
            task.end_earlier_wait(waitable)
        task.parked_on = waitable
        if task.scope.effective:
            task.interrupt(task.scope.cancel_message())
        return PAUSE

    def fail(self, task: Task, error: BaseException, /) -> None:
        """Make a parked task runnable; ``error`` is thrown into it."""
        task.error = error
        self.run_queue.append(task)

    async def checkpoint(self) -> None:
        """Let the other tasks run, then raise the cancellation or interrupt that is pending."""
        await self.yield_now()
        if self.budget <= 0 or self.interrupted:  # a cancelled task has no budget
            self.raise_if_cancelled()

    async def checkpoint_if_cancelled(self) -> None:
        """Raise the pending cancellation or interrupt, if there is one.

        The other tasks run first, so that a loop that swallows cancellation does not block them.
        """
        task = self.current
        if task is None:
            raise self.no_task()
        if task.scope.effective or (self.interrupted and task is self.main):
            await self.yield_now()
            self.raise_if_cancelled()

    def yield_now(self) -> Awaitable[None]:
        """Let the other tasks run, without looking at cancellation; await the result at once."""
        task = self.current
        if task is None:
            raise self.no_task()
        if task.parked_on is not None:
            task.end_earlier_wait(None)
        task.parked_on = YIELDED
        self.spent.append(task)
        return PAUSE

    def raise_if_cancelled(self) -> None:
        """Raise the pending cancellation or Ctrl-C of the current task."""
        task = self.current
        if task is None:
            return
        if self.interrupted and task is self.main:
            self.interrupted = False
            raise KeyboardInterrupt
        if task.scope.effective:
            raise Cancelled(task.scope.cancel_message())

    async def sleep(self, seconds: float, /) -> None:
        """Suspend the current task; never returns early. Always a checkpoint.

        Raises:
            ValueError: ``seconds`` is negative or NaN.
        """
        if not seconds > 0:
            if seconds < 0 or isnan(seconds):
                raise ValueError("delay must be a non-negative number")
            await self.checkpoint()
            return
        task = self.current
        if task is None:
            raise self.no_task()
        if seconds != inf:
            if task.alarm:  # of a sleep that other code has dropped (K9)
                self.deadlines.drop(task)
            self.deadlines.add(task, self.now() + seconds)
            await self.park(self.deadlines)
        else:
            await self.park(FOREVER)

    # Tasks.

    def spawn(
        self,
        coro: Coroutine[object, object, object],
        name: str,
        owner: Owner,
        base: CancelScope,
        *,
        host: Task | None = None,
        context: Context | None = None,
    ) -> Task:
        """Start a task in the scope ``base``; its first step comes in a later batch."""
        task = Task(self, coro, name, context or copy_context(), owner, base, host)
        self.start(task)
        return task

    def start(self, task: Task) -> None:
        """Make a new task a member of its base scope, and runnable."""
        if self.current is None:
            self.require_own_thread()
        if task.base.members is None:
            task.base.members = {}
        task.base.members[task] = None  # no call, so that no signal comes between
        self.run_queue.append(task)
        if self.instruments:
            self.instruments.task_spawned(task)

    def spawn_system(self, coro: Coroutine[object, object, object], name: str) -> Task:
        """Start a task that belongs to the run and not to the program; its error ends the run."""
        return self.spawn(coro, name, SystemTasks(self), self.system, context=Context())

    def tasks(self) -> list[Task]:
        """Return all tasks that are not done, parents before their children."""
        return tasks_inside([*self.abandoned, self.system, self.root])

    def runnable_tasks(self) -> list[Task]:
        """Return all tasks that only wait for their next step."""
        return [*self.run_queue, *self.hung_up, *self.spent]

    def has_nothing_to_do(self) -> bool:
        """Return whether every task of the run is done, and no callback waits to be called."""
        scopes = self.root, self.system, *self.abandoned
        return not (self.entry or any(scope.members for scope in scopes))

    # The turn.

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Take turns until ``is_over()``.

        The thread counts as running mio during this call, and only then.
        """
        self._presence = Presence(self._detection(), self.async_generators)
        self.thread = threading.get_ident()
        self._presence.surround(self, self._take_turns, is_over)

    def _take_turns(self, is_over: Callable[[], bool]) -> None:
        try:
            while not is_over():
                self.turn()
        except BaseException:
            repair(self)
            raise

    def turn(self) -> None:  # noqa: C901 - a quiet program takes one for each event: one frame
        """Poll, turn the events into readiness, expire deadlines, run the runnable tasks."""
        if self.interrupted:  # check before blocking: nothing re-checks during select()
            self.interruption.deliver(self)
        timeout: float | None = None
        if self.run_queue or self.hung_up or self.spent or self.entry or self.idle:
            self.other_threads.let_run()
            timeout = 0
        elif self.deadlines:
            timeout = self.clock.time_to_wait(self.deadlines.next())
        select = self._select  # the selector's method; a local name saves a look-up in the class
        events = select(timeout, EVENTS_PER_POLL)
        self.turns += 1
        if events:
            self.reactor.turn(events, self.resume, self.hung_up.append)
        elif self._quiet is not None and not (
            self.run_queue or self.hung_up or self.spent or self.entry or self.idle
        ):
            self._quiet(self.deadlines.next())
        if self.instruments:
            self.instruments.after_poll(len(events))
        expired = self.deadlines.expire(self.now()) if self.deadlines else False
        if self.entry:
            self.entry.run(self.crash_with)
        if self.idle and not (self.run_queue or self.hung_up or self.spent or events or expired):
            self.idle.wake(self)
        if self.hung_up:
            admit_hung_up(self.run_queue, self.hung_up)
        if self.run_queue or self.spent:  # an event may have called a callback alone
            self._run_tasks()

    @door
    def _run_tasks(self) -> None:  # noqa: C901, PLR0912, PLR0915 - the hottest loop: one frame
        """Step the woken tasks; then, for a slice, those they wake and the other queues (K2, K3).

        If another queue is not empty, a spent task joins the run queue's end at the first look at
        the clock, and one for each `STEPS_PER_LOOK` quick steps.
        """
        queue, hung_up, spent = self.run_queue, self.hung_up, self.spent
        steps, looks, last_look, end_of_slice = len(queue), 0, 0.0, 0.0
        full_budget = 0 if self.interrupted else self.full_budget  # a Ctrl-C: operations look
        instruments = self.instruments.of_steps or None  # quicker to test than an empty list
        while runnable := queue or hung_up or spent:
            if not steps:
                now = self._slice_clock()
                if not looks:
                    end_of_slice = min(now + SLICE, self.deadlines.next())
                elif now >= end_of_slice or looks == LOOKS_PER_SLICE:
                    break
                steps = STEPS_PER_LOOK if looks and now - last_look < QUICK else 1
                if spent and runnable is not spent and (steps > 1 or not looks):
                    queue.append(spent[0])  # in both for a moment; see repair()
                    spent.popleft()
                looks, last_look = looks + 1, now
            steps -= 1
            self.current = task = runnable[0]  # before popleft(), where signals are raised
            task.parked_on = None
            runnable.popleft()
            self.budget = 0 if task.scope.effective else full_budget
            if instruments is not None:
                instruments.before_step(task)
            if (asyncio := self.asyncio) is not None:  # not before the loop: a step may make it
                asyncio.enter(task.face or asyncio.make_face(task))
            try:
                if (error := task.error) is None:
                    trapped = task.context.run(task.send, None)
                else:
                    task.error = None
                    trapped = task.context.run(task.coro.throw, error)
            except StopIteration as stop:
                self.ending = (task, stop.value, None)
                self.finish(task, stop.value, None)
            except BaseException as exc:  # its owner handles what ends a task
                self.ending = (task, None, exc)
                self.finish(task, None, exc)
            else:
                if trapped is not PAUSED:
                    error = None  # whether it lives on is what tells asyncio's side of clean-up
                    face = task.face  # two plain calls: each takes half of what a chosen one does
                    face.wait_for(task, trapped) if face else wait_elsewhere(task, trapped)
            if instruments is not None:
                instruments.after_step(task)
        # Without a budget, a call from another thread reaches checkpoint(), which raises.
        self.current, self.budget = None, 0
        if self.asyncio is not None:
            self.asyncio.leave()

    step_code: ClassVar[CodeType] = _run_tasks.__code__
    """The code of the frame below the task that runs, in a stack of the run's thread."""

    def finish(self, task: Task, value: object, error: BaseException | None) -> None:  # noqa: C901
        """Complete the end of a task. `repair()` calls it again if an interrupt cuts it short."""
        if error is not None and not task.done:
            if getattr(task.coro, "cr_await", None) is not None:
                interrupt_between_steps(self, task, error)
                return
            if error.__traceback__ is not None:
                # Without the kernel's own frame: it is noise, and would tie the exception to it.
                error.__traceback__ = error.__traceback__.tb_next
        task.done = True
        if task.parked_on is not None:
            task.end_earlier_wait(None)
        members = task.base.members or {}
        if task in members:
            del members[task]
        if not members and task.base.host is None:
            self.abandoned.pop(task.base, None)
        if task.face is not None:
            task.face.finish(value, error)
            task.face = None  # a cycle; from Python 3.14 each task has a face
        try:
            task.finish(value, error)
            if task.wanted is not None:  # now, so that those who are cancelled with it left before
                task.end_wanted()
            self.ending = None
        finally:
            del error, value

    def throw(self, task: Task, error: BaseException) -> bool:
        """End a task's wait with ``error``; False if it does not wait, or cannot leave."""
        parked_on = task.parked_on
        if parked_on is None or task.error is not None:
            return False
        if isinstance(parked_on, TakesError):
            return parked_on.take_error(error)
        if not parked_on.abort(task):
            return False
        task.error = error
        self.run_queue.append(task)
        return True

    # From outside.

    def _make_waker(self) -> Waker:
        waker = Waker()
        # Every write to an eventfd is an edge, so edge-triggered it needs no read.
        callback = waker.drain if self.reactor.emulated else nothing
        self.reactor.watch_internal(waker.fileno(), callback)
        return waker

    def crash_with(self, error: BaseException) -> None:
        """End the run with an error that no task can receive; the run raises it."""
        self._crashes.append(error)
        self.root.cancel("a callback or a system task failed")

    def raise_pending(self, error: BaseException | None = None) -> None:
        """Raise the errors that no task could receive: crashes, or a Ctrl-C that came too late.

        ``error`` is the error of the program itself; a crash does not hide it.
        """
        crashes = [each for each in self._crashes if not holds(error, each)]
        self._crashes = []
        if crashes:
            if error is not None and not is_cancellation(error):
                crashes.append(error)
            del error
            if all(isinstance(each, (KeyboardInterrupt, SystemExit)) for each in crashes):
                raise crashes[0]  # bare, as asyncio raises it: a group would hide the exit status
            raise BaseExceptionGroup("errors in callbacks or system tasks of mio", crashes)
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt

    def close(self) -> None:
        """Release the selector and the waker; refuse further calls of threads."""
        if self.asyncio is not None:
            self.asyncio.release()
        self.entry.close()
        self.reactor.close()
        self.deadlines.close()
        self.entry.waker.close()

    def no_task(self) -> RuntimeError:
        """Return the error of an operation that must wait outside the tasks of this run."""
        if self.is_dead:
            return RuntimeError(FORKED)
        return RuntimeError((self.asyncio and self.asyncio.no_task()) or NO_TASK)

    def require_own_thread(self) -> None:
        """Raise RuntimeError in other threads (K8): asleep, the kernel would miss the call."""
        if threading.get_ident() != self.thread:
            raise RuntimeError(OTHER_THREAD)

    def die_in_child(self) -> None:
        """Stop all tasks in a forked child, and make each of their operations raise (R7)."""
        self.is_dead = True
        self.current = None
        if self.asyncio is not None:
            self.asyncio.die_in_child()
        for queue in (self.run_queue, self.hung_up, self.spent):
            queue.clear()
        self.full_budget = self.budget = 0
        self.reactor.die_in_child()
        self._select = self.reactor.poll.select
        with suppress(OSError):
            self.entry.die_in_child()
        if running.kernel is self:  # the child may begin a run of its own here
            running.kernel = None
            self._presence.withdraw()
            running.was_forked = True


# Typed for all that is above the kernel: what runs in a thread is one.
running_kernel: Final = cast("Callable[[], Kernel]", running_stepper)
