"""The queue of asyncio's callbacks: one task of the kernel runs them.

Facts. asyncio hands each callback, and each step of an asyncio task, to ``loop.call_soon()``, as a
`Handle` in a deque. A turn of asyncio's own loop runs all handles that were there at its start.

Decision. `Callbacks` is a task of the kernel without a coroutine: its ``send()`` runs the handles.
It stands in the kernel's queue once while there is a handle, so asyncio and mio take turns as two
tasks do. One step runs what was there at its start, but no longer than `SLICE`: the rest waits
until the other tasks had their step. What an event of the poll has queued is always run, because
the descriptors are level-triggered and would queue it once more.

A loop of its own polls between two rounds of handles, as asyncio's does: programs, and the tests of
libraries, count on the events that come while they ``await asyncio.sleep(0)`` a few times. It polls
within the step, because a turn of the kernel for each round costs more (measured: 12.5 µs instead
of 8 for a message from a task to another and back; asyncio's own loop takes 7.8).

In a run of mio, a client often writes and waits for something else before it waits for the answer:
redis-py waits for the task that has written. If the answer has come by then, the client need not
sleep. So the last round that wakes tasks of mio polls once more if a transport has written. Without
that, a query of redis-py on one connection slept each time, and took 5 % more CPU (measured).

A transport of ours reads as soon as the poll tells of it, without a handle in the queue. It does so
only while the queue is empty, so the order of callbacks stays what it is.

Cost. A turn with callbacks takes one step of the kernel more, some 0.4 microseconds. The handles of
this room spare that: they are made without asking the loop for its debug mode, and run without a
Python call of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final, final

from anyio_mio._kernel.fairness import EVENTS_PER_POLL
from anyio_mio._kernel.interrupts import door
from anyio_mio._kernel.task import Task
from anyio_mio._kernel.traps import PAUSED
from anyio_mio.asyncio.asyncio_internals import StockHandle, StockTimerHandle, format_callback

if TYPE_CHECKING:
    from anyio_mio._kernel.kernel import Kernel

SLICE: Final = 0.0005
"""Seconds of callbacks in one step of the kernel, beyond those that events have queued."""

HANDLES_PER_LOOK: Final = 8
"""Handles between two looks at the clock."""


class Handle(StockHandle):
    """A callback that waits to be called; `make_handle()` makes it."""

    __slots__ = ()
    __init__ = object.__init__


def make_handle(
    callback: Callable[..., object],
    args: tuple[Any, ...],
    loop: asyncio.AbstractEventLoop,
    context: Context | None = None,
) -> Handle:
    """Make a handle, for 35 ns less than a class whose ``__init__()`` is a Python function."""
    handle: Handle = Handle()
    handle._context = copy_context() if context is None else context
    handle._loop = loop
    handle._callback = callback
    handle._args = args
    handle._cancelled = False
    handle._repr = None
    handle._source_traceback = None
    return handle


@final
class TimerHandle(StockTimerHandle):
    """A timer: an owner of one of the kernel's deadlines. Most are cancelled before their time."""

    __slots__ = ("alarm", "callbacks")
    __init__ = object.__init__

    alarm: int
    callbacks: Callbacks

    def cancel(self) -> None:
        """Take the timer back."""
        if not self._cancelled:
            if self.callbacks.run_handle is not None:
                self._repr = repr(self)  # debug mode keeps what it was
            self._cancelled = True
            self._callback = self._args = None
            if self.alarm:
                self.callbacks.deadlines.drop(self)

    def expire(self) -> None:
        """Queue the callback: its time has come."""
        self._scheduled = False
        self.callbacks.add(self)


def make_timer(
    when: float,
    callback: Callable[..., object],
    args: tuple[Any, ...],
    loop: asyncio.AbstractEventLoop,
    context: Context | None,
    callbacks: Callbacks,
) -> TimerHandle:
    """Make a timer and give it its deadline; see `make_handle()`."""
    timer: TimerHandle = TimerHandle()
    timer._when = when
    timer._scheduled = True
    timer._context = copy_context() if context is None else context
    timer._loop = loop
    timer._callback = callback
    timer._args = args
    timer._cancelled = False
    timer._repr = None
    timer._source_traceback = None
    timer.alarm = 0
    timer.callbacks = callbacks
    callbacks.deadlines.add(timer, when)
    return timer


@final
class NoFace:
    """The face of the callbacks' own task, which is none of asyncio's."""

    __slots__ = ()

    def cancelling(self) -> int:
        """Return 0: it is never cancelled."""
        return 0

    def wait_for(self, task: Task, future: Any, /) -> None:
        """Do nothing: it never waits."""

    def end_yield(self) -> None:
        """Do nothing: it never yields."""

    def finish(self, value: object, error: BaseException | None, /) -> None:
        """Do nothing: it never ends."""


@final
class Callbacks:
    """asyncio's ready queue. The kernel steps it as the coroutine of a task.

    Attributes:
        ready: the handles, in the order in which they were added.
        deadlines: the kernel's, to which timers belong.
        due: how many of them, from the left, have to run in the next step.
        rounds: how many times handles were run.
        expects_answer: True after a transport has written, until one reads or a poll has looked.
        names: what sniffio's ``thread_local`` holds in this thread. A store into the dict takes 10
            ns, and one by the attribute 50.
        task: the task that stands in the kernel's queue for them.
        is_queued: True while it does.
        are_of_events: True while there are handles and events of this poll have queued them all.
        is_running: True while a handle runs.
        poll: polls without waiting, between two rounds of handles; None in a run of mio, where the
            tasks of mio have their steps first.
        run_handle: runs a handle in debug mode; None otherwise.
        is_stopping: True after the loop's ``stop()``.
        is_halted: True after the step in which or before which the loop was stopped.
        on_raise: told of a SystemExit or KeyboardInterrupt that a handle raised.
    """

    __slots__ = (
        "_kernel",
        "_leave",
        "are_of_events",
        "deadlines",
        "due",
        "expects_answer",
        "is_halted",
        "is_queued",
        "is_running",
        "is_stopping",
        "names",
        "on_raise",
        "poll",
        "ready",
        "rounds",
        "run_handle",
        "task",
    )

    def __init__(self, kernel: Kernel, leave: Callable[[], object]) -> None:
        self._kernel = kernel
        self.deadlines = kernel.deadlines
        self._leave = leave
        self.ready: deque[StockHandle] = deque()
        self.due: int = 0
        self.rounds: int = 0
        self.expects_answer: bool = False
        self.names: dict[str, object] = {}
        self.is_queued: bool = False
        self.are_of_events: bool = False
        self.is_running: bool = False
        self.poll: Callable[[], None] | None = None
        self.is_stopping: bool = False
        self.is_halted: bool = False
        self.run_handle: Callable[[StockHandle], None] | None = None
        self.on_raise: Callable[[BaseException], None] = kernel.crash_with
        owner: Any = None
        coro: Any = self
        self.task = Task(kernel, coro, "asyncio callbacks", Context(), owner, kernel.system, None)
        self.task.face = NoFace()

    def add(self, handle: StockHandle) -> None:
        """Queue a handle."""
        if not self.is_queued:
            self.schedule()
        self.ready.append(handle)

    def add_event(self, handle: StockHandle) -> None:
        """Queue the handle of a descriptor: it runs before the kernel polls again."""
        self.add(handle)
        self.due = len(self.ready)

    def schedule(self) -> None:
        """Ask the kernel for a step.

        Raises:
            RuntimeError: this is not the thread of the run, which would not hear of it.
        """
        kernel = self._kernel
        if not self.is_running and kernel.current is None:
            kernel.require_own_thread()
        self.is_queued = True
        kernel.run_queue.append(self.task)

    def wake(self) -> None:
        """Ask for a step if a handle waits: after another thread, or a signal, has added one."""
        if self.ready and not self.is_queued:
            self.schedule()

    def require_own_thread(self) -> None:
        """Raise RuntimeError in a thread in which the run could miss the call."""
        if self._kernel.current is None and not self.is_running:
            self._kernel.require_own_thread()

    @door
    def send(self, value: object) -> object:
        """Run handles: one step of the kernel."""
        kernel, ready, poll = self._kernel, self.ready, self.poll
        # What runs here is in no task of mio: an operation that would wait raises.
        kernel.current = None
        kernel.budget = 0
        self._leave()
        self.is_queued = self.are_of_events = False
        if self.is_halted:
            return PAUSED
        self.names["name"] = "asyncio"
        self.is_running = True
        try:
            if poll is None:
                self._run_round()
            else:
                self._run_rounds(poll)
        except BaseException as error:
            self.on_raise(error)
        finally:
            self.is_running = False
            self.names["name"] = "mio"
            self.is_halted = self.is_stopping
            if self.due > len(ready):
                self.due = len(ready)
            if ready and not self.is_queued and poll is None:
                self.schedule()
        if self.expects_answer and kernel.run_queue and not ready and poll is None:
            self._poll_for_answers()
        return PAUSED

    def _poll_for_answers(self) -> None:
        """Deliver the events that are there, before the tasks that the handles have woken."""
        self.expects_answer = False
        poll_between(self._kernel)
        self.are_of_events = False  # the kernel may poll again before these are run

    def _run_round(self) -> None:
        """Run the handles that are there now, or as many of them as a slice allows."""
        self.rounds += 1
        due, self.due = self.due, 0
        rest = len(self.ready) - due
        if rest <= HANDLES_PER_LOOK:
            self._run(due + rest)
        else:
            self._run(due)
            self._run_slice(rest)

    def _run_rounds(self, poll: Callable[[], None]) -> None:
        """Run rounds with a poll between two, for `SLICE` at the most.

        A poll is followed by a round, always: a second one would queue the same readers again. So
        the round after the last one here is left to the next turn of the kernel, which polls first.
        """
        kernel = self._kernel
        self.is_queued = True  # a handle that is added is for the next round
        end = time.monotonic() + SLICE
        try:
            self._run_round()
            while self.ready and not self.is_stopping:
                others = kernel.run_queue or kernel.spent or kernel.entry or kernel.interrupted
                if others or time.monotonic() >= end:
                    kernel.entry.append(self.wake)
                    break
                self.are_of_events = False
                poll()
                self._run_round()
        finally:
            self.is_queued = False

    def _run_slice(self, count: int) -> None:
        """Run handles for `SLICE` at the most; all of them if the loop is about to stop."""
        if count > HANDLES_PER_LOOK:
            end = time.monotonic() + SLICE
            while count > HANDLES_PER_LOOK and (self.is_stopping or time.monotonic() < end):
                self._run(HANDLES_PER_LOOK)
                count -= HANDLES_PER_LOOK
            if count > HANDLES_PER_LOOK and not self.is_stopping:
                return
        self._run(count)

    @door
    def _run(self, count: int) -> None:
        popleft = self.ready.popleft
        for _ in range(count):
            handle = popleft()
            if handle._cancelled:
                continue
            if self.run_handle is not None:
                self.run_handle(handle)
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                report(handle, error)
        handle = None  # type: ignore[assignment] # breaks a cycle with an exception's traceback

    def throw(self, error: BaseException) -> object:
        """Pass an error on: the kernel has nothing to throw, but a test may."""
        raise error

    def close(self) -> None:
        """Drop what is queued."""
        self.ready.clear()
        self.due = 0


def report(handle: StockHandle, error: BaseException) -> None:
    """Tell the loop's exception handler what a callback raised, in asyncio's words."""
    source = format_callback(handle._callback, handle._args)
    context = {"message": f"Exception in callback {source}", "exception": error, "handle": handle}
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    handle._loop.call_exception_handler(context)


def poll_between(kernel: Kernel) -> None:
    """Poll without waiting, in the midst of a turn: set readiness, and wake or call what waits."""
    events = kernel.reactor.poll.harvest(0, EVENTS_PER_POLL)
    kernel.turns += 1
    if events:
        kernel.reactor.turn(events, kernel.run_queue.append)
    if kernel.instruments:
        kernel.instruments.after_poll(len(events))
