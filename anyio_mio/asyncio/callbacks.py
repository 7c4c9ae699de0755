"""`Callbacks`: the queue of asyncio's callbacks, which one task of the kernel runs.

Facts. asyncio gives each callback, and each step of an asyncio task, to ``loop.call_soon()``, which
puts a `Handle` into a deque. A turn of asyncio's own loop runs all handles that were in the deque
at the start of the turn.

Decision. `Callbacks` is a task of the kernel without a coroutine: its ``send()`` runs the handles.
It is in the kernel's run queue once while there are handles, so asyncio and mio take turns as two
tasks do. One step runs the handles that were there at its start, for `SLICE` at most; the rest run
after the other tasks had a step. Handles that an event of the poll has queued are always run,
because their descriptors are level-triggered and would be queued again.

`EventLoop` polls between two rounds of handles, as asyncio's loop does: programs, and the tests of
libraries, rely on events that arrive while they ``await asyncio.sleep(0)`` a few times. It polls
within the step, because a turn of the kernel for each round costs more (measured: 12.5 µs instead
of 8 for a message from one task to another and back; asyncio's own loop takes 7.8).

In a run of mio, a client often writes and waits for something else before it waits for the answer:
redis-py waits for the task that has written. If the answer has arrived by then, the loop need not
sleep. So if a transport has written, the last round that wakes tasks of mio polls once more.
Without that, each query of redis-py on one connection slept, and took 5 % more CPU (measured).

A `SocketTransport` reads as soon as the poll reports its socket, without a handle in the queue. It
does so only while the queue is empty, so the order of the callbacks does not change.

Cost. A turn with callbacks takes one more step of the kernel, about 0.4 microseconds. The handles
of this module save as much: they are made without a call of ``get_debug()``, and `Callbacks` runs
each without a Python call of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, final

from anyio_mio._kernel.fairness import EVENTS_PER_POLL
from anyio_mio._kernel.interrupts import door
from anyio_mio._kernel.task import Task
from anyio_mio._kernel.traps import PAUSED
from anyio_mio.asyncio.asyncio_internals import StockHandle, StockTimerHandle, format_callback
from anyio_mio.asyncio.other_threads import OtherThread

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
    """A timer, which owns one of the kernel's deadlines. Most are cancelled before they expire."""

    __slots__ = ("alarm", "callbacks")
    __init__ = object.__init__

    alarm: int
    callbacks: Callbacks

    def cancel(self) -> None:
        """Cancel the timer."""
        if not self._cancelled:
            if self.callbacks.run_handle is not None:
                self._repr = repr(self)  # debug mode keeps the text
            self._cancelled = True
            self._callback = self._args = None
            if self.alarm:
                self.callbacks.deadlines.drop(self)

    def expire(self) -> None:
        """Queue the callback. The kernel calls this when the deadline expires."""
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
    """The face of the task that runs the callbacks. asyncio does not see that task."""

    __slots__ = ()

    def has_requests(self) -> bool:
        """Return False: it is never cancelled."""
        return False

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
        due: how many handles, from the left, have to run in the next step.
        rounds: the number of rounds of handles so far.
        expects_answer: True from a write of a transport until the next read or poll.
        names: the dict of sniffio's ``thread_local`` in this thread. To store into it takes 10 ns;
            to set the attribute takes 50.
        task: the task of the kernel that runs the handles.
        is_queued: True while that task is in the kernel's run queue.
        are_of_events: True while all handles in the queue come from events of the last poll.
        is_running: True while a handle runs.
        poll: polls without waiting, between two rounds of handles; None in a run of mio, where the
            tasks of mio have their steps first.
        run_handle: runs a handle in debug mode; None otherwise.
        is_stopping: True after the loop's ``stop()``.
        is_halted: True from the end of the step in which the loop stops.
        on_raise: is called with a SystemExit or KeyboardInterrupt that a handle has raised.
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
        """Queue the handle of a descriptor, to run before the kernel polls again."""
        self.add(handle)
        self.due = len(self.ready)

    def schedule(self) -> None:
        """Ask the kernel for a step.

        Raises:
            OtherThread: this is not the thread of the run, which sleeps and would not notice it.
        """
        kernel = self._kernel
        if not self.is_running and kernel.current is None:
            self.require_own_thread()
        self.is_queued = True
        kernel.run_queue.append(self.task)

    def wake(self) -> None:
        """Ask for a step if there are handles: another thread or a signal has added one."""
        if self.ready and not self.is_queued:
            self.schedule()

    def require_own_thread(self) -> None:
        """Raise OtherThread if this is not the thread of the run, and the run may sleep."""
        kernel = self._kernel
        if kernel.current is None and not self.is_running and get_ident() != kernel.thread:
            raise OtherThread

    @door
    def send(self, value: object) -> object:
        """Run handles: one step of the kernel."""
        kernel, ready, poll = self._kernel, self.ready, self.poll
        # Callbacks do not run in a task of mio: an operation that would wait raises.
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
        """Handle the events that have arrived, before the tasks that the handles have woken."""
        self.expects_answer = False
        poll_between(self._kernel)
        self.are_of_events = False  # the kernel may poll again before these handles run

    def _run_round(self) -> None:
        """Run the handles that are there now, for `SLICE` at most."""
        self.rounds += 1
        due, self.due = self.due, 0
        rest = len(self.ready) - due
        if rest <= HANDLES_PER_LOOK:
            self._run(due + rest)
        else:
            self._run(due)
            self._run_slice(rest)

    def _run_rounds(self, poll: Callable[[], None]) -> None:
        """Run rounds of handles with a poll between two rounds, for `SLICE` at most.

        Each poll is followed by a round, because a second poll would queue the same readers again.
        So the next round is left to the next turn of the kernel, which polls first.
        """
        kernel = self._kernel
        self.is_queued = True  # handles that are added now run in the next round
        end = time.monotonic() + SLICE
        try:
            self._run_round()
            while self.ready and not self.is_stopping:
                others = kernel.run_queue or kernel.hung_up or kernel.spent or kernel.entry
                if others or kernel.interrupted or time.monotonic() >= end:
                    kernel.entry.append(self.wake)
                    break
                self.are_of_events = False
                poll()
                self._run_round()
        finally:
            self.is_queued = False

    def _run_slice(self, count: int) -> None:
        """Run handles for `SLICE` at most, or all of them if the loop is about to stop."""
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
        """Raise the error. The kernel never throws into this task; a test may."""
        raise error

    def close(self) -> None:
        """Drop the handles that are queued."""
        self.ready.clear()
        self.due = 0


def report(handle: StockHandle, error: BaseException) -> None:
    """Report the error of a callback to the loop's exception handler, as asyncio does."""
    source = format_callback(handle._callback, handle._args)
    context = {"message": f"Exception in callback {source}", "exception": error, "handle": handle}
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    handle._loop.call_exception_handler(context)


def poll_between(kernel: Kernel) -> None:
    """Poll without waiting within a turn: set readiness, wake tasks and queue handles."""
    events = kernel.reactor.poll.select(0, EVENTS_PER_POLL)
    kernel.turns += 1
    if events:
        kernel.reactor.turn(events, kernel.run_queue.append, kernel.hung_up.append)
    if kernel.instruments:
        kernel.instruments.after_poll(len(events))
