"""Signals: a C handler's byte ends the kernel's sleep, and Ctrl-C becomes KeyboardInterrupt.

Python runs signal handlers between two bytecodes of the main thread. If a signal arrives just
before ``epoll_wait``, its handler would run only after the next event. So the interpreter writes a
byte to a descriptor that the selector watches (`signal.set_wakeup_fd`).

The first Ctrl-C is delivered to the main task at its next checkpoint, where programs expect
exceptions. If a second one comes before that, a task uses the CPU without a checkpoint. Then
KeyboardInterrupt is raised at once, but only in the program's own code. In our code it could come
between removing a task from a queue and resuming it, so there it waits for a checkpoint too. If the
main task cannot be told, because it waits for a thread or for children that do not end, the second
one ends all waits of the run. While no tasks are stepped, between two tests of a test runner,
Ctrl-C does what it does without us.

A handler of the program for another signal may raise as well: ``sys.exit()``, or a time limit. Our
own code cannot prevent that. CPython calls handlers only at the beginning of a Python function,
after calls of C functions, and at backward jumps. So:

* Code that takes a task out of a wait queue appends it to the run queue with no call in between;
  code that takes a deadline or an entry out acts on it a second time if it was cut short.
* The end of a task is written down before it is settled, and to settle it twice does no harm.
* `repair()` completes what was cut short between two steps, before the main task is told: the end
  of a task, the start of a step, and a poll. The events of the poll may be lost, so it takes each
  descriptor for ready: a wake-up is a hint in any case (R5).
* A scope that was not left, because the handler raised where ``__exit__()`` begins, is ended by the
  scope around it, with the error on its way; a task group around it waits for the children.

Limits: if the program catches the error inside the scope around one that was not left, and
goes on, that scope's own end finds a scope open in it and raises RuntimeError. A function of the
program, of AnyIO or of asyncio that was cut short has done the half of what it does. And a second
error while the first one is handled breaks off the run.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, final

from anyio_mio._kernel.cancelled import Cancelled
from anyio_mio._kernel.entry import nothing
from anyio_mio._kernel.idle import FOREVER
from anyio_mio._kernel.running import running
from anyio_mio._kernel.stepper import Stepper
from anyio_mio._kernel.traps import YIELDED

if TYPE_CHECKING:
    from anyio_mio._kernel.cancel_scope import CancelScope
    from anyio_mio._kernel.entry import EntryQueue
    from anyio_mio._kernel.task import Task
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio._reactor.scheduler import Waitable

PACKAGE: Final = __name__.partition(".")[0]
OURS: Final = tuple(
    f"{PACKAGE}.{room}"
    for room in ("poll", "_reactor", "_kernel", "_net", "_backend", "asyncio", "trio")
)

DOORS: Final[set[CodeType]] = set()
"""Functions of ours that step the program's code: what runs below them is not ours any more."""

PRESSED_TWICE: Final = "Ctrl-C was pressed again while the program was ending"

F = TypeVar("F", bound=Callable[..., Any])


def door(function: F) -> F:
    """Mark a function that steps the program's own code."""
    DOORS.add(function.__code__)
    return function


class Interruptible(Stepper, Protocol):
    """The kernel, as far as a Ctrl-C concerns it."""

    main: Task | None
    current: Task | None
    interrupted: bool
    interruption: Interruption
    entry: EntryQueue
    reactor: Reactor
    root: CancelScope

    def tasks(self) -> list[Task]:
        """Return all tasks that are not done."""

    def finish(self, task: Task, value: object, error: BaseException | None) -> None:
        """Settle the end of a task."""


active: Final[list[Interrupts]] = []
"""What has taken over this process's signals now: at most one, in the main thread."""


@final
class Interrupts:
    """Signal handling of one run; enter it around the run. Does nothing outside the main thread.

    Args:
        kernel: the run, whose sleep ends when a signal comes.
        takes_sigint: whether Ctrl-C goes to the main task. If not, it does what it does without us.
    """

    __slots__ = ("_kernel", "_previous_fd", "_read", "_stack", "_takes_sigint", "_write")

    def __init__(self, kernel: Interruptible, *, takes_sigint: bool = True) -> None:
        self._kernel = kernel
        self._takes_sigint = takes_sigint
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        with contextlib.ExitStack() as stack:
            self._watch_wakeups(stack)
            if self._takes_sigint:
                self._take_over_sigint(stack)
            active.append(self)
            stack.callback(active.remove, self)
            self._stack = stack.pop_all()

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def release_in_child(self) -> None:
        """Give the child of a fork its signals; the socket pair is shared with the parent."""
        self._stack.close()
        signal.set_wakeup_fd(-1)

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Handle SIGINT."""
        kernel = self._kernel
        hogged = kernel.interrupted and kernel.current is not None
        if (hogged or running.kernel is not kernel) and not is_ours(frame):
            kernel.interrupted = False
            raise KeyboardInterrupt
        kernel.interruption.note(kernel)
        kernel.entry.put(nothing)

    def _watch_wakeups(self, stack: contextlib.ExitStack) -> None:
        read, write = socket.socketpair()
        stack.callback(read.close)
        stack.callback(write.close)
        read.setblocking(False)
        write.setblocking(False)
        reactor = self._kernel.reactor

        def drain() -> None:
            with contextlib.suppress(BlockingIOError):
                while read.recv(4096):
                    pass

        reactor.watch_internal(read.fileno(), drain)
        stack.callback(reactor.unwatch_internal, read.fileno())
        previous = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, previous)

    def _take_over_sigint(self, stack: contextlib.ExitStack) -> None:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.handle)
            stack.callback(self._give_sigint_back)

    def _give_sigint_back(self) -> None:
        # The program may have set a handler of its own during the run.
        if signal.getsignal(signal.SIGINT) == self.handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@final
class Interruption:
    """A Ctrl-C on its way to the main task.

    Where the main task waits for a thread it cannot be told, and where it waits for its children
    these may not end. If another Ctrl-C comes while it still waits there, every wait of the run
    ends: a thread is left behind, and a shield is no obstacle.
    """

    __slots__ = ("_is_second", "_stuck_on", "broke_off")

    def __init__(self) -> None:
        self._stuck_on: Waitable | None = None  # what the main task could not leave at once
        self._is_second = False
        self.broke_off = False

    def note(self, kernel: Interruptible) -> None:
        """Note a Ctrl-C; the signal's handler calls this, between any two bytecodes."""
        kernel.interrupted = True
        if kernel.current is kernel.main:
            kernel.budget = 0
        stuck_on = self._stuck_on
        if stuck_on is not None:
            self._is_second = kernel.main is None or kernel.main.parked_on is stuck_on

    def deliver(self, kernel: Interruptible) -> None:
        """End the main task's wait before a sleep; if it cannot, its next checkpoint raises."""
        main = kernel.main
        if self._is_second:
            self._is_second = False
            self._break_off(kernel)
        elif main is None:  # the run ends, and raises it then
            self._stuck_on = FOREVER
        elif kernel.throw(main, KeyboardInterrupt()):
            kernel.interrupted = False
            self._stuck_on = main.parked_on if main.error is None else None
        elif main.parked_on is not YIELDED:
            self._stuck_on = main.parked_on

    def _break_off(self, kernel: Interruptible) -> None:
        self.broke_off = True
        kernel.interrupted = kernel.main is None  # after the main task the run itself raises it
        kernel.root.cancel(PRESSED_TWICE)
        for task in kernel.tasks():
            error = KeyboardInterrupt() if task is kernel.main else Cancelled(PRESSED_TWICE)
            task.force(error)


def interrupt_between_steps(kernel: Interruptible, task: Task, error: BaseException) -> None:
    """Handle what a handler of the program has raised right after a step: the task has not ended.

    It ends the main task's wait, see `run.run_main()`. If this task has yielded something for
    asyncio, that is lost: the error ends the wait of this task instead.
    """
    kernel.ending = None
    if task.parked_on is not None:
        raise error
    kernel.fail(task, error)


def repair(kernel: Interruptible) -> None:
    """Complete what an interrupt has cut short: a poll, the end of a task, the start of its step.

    Without this, a task that has left its group might never be reported to it, and the group would
    wait for ever.
    """
    task = kernel.current
    ending, kernel.ending = kernel.ending, None
    try:
        if ending is not None:
            kernel.finish(*ending)
        elif task is not None and is_to_be_stepped(kernel, task):
            kernel.run_queue.appendleft(task)
    finally:
        kernel.current = None
        kernel.reactor.try_all(kernel.resume)
        remove_twins(kernel)


def remove_twins(kernel: Interruptible) -> None:
    """Leave each runnable task in one queue, once: what was cut short has been done twice."""
    runnable = dict.fromkeys(kernel.run_queue)
    for queue in (kernel.hung_up, kernel.spent):
        for twice in runnable.keys() & queue:
            queue.remove(twice)  # it was on its way to the run queue
    if len(runnable) != len(kernel.run_queue):
        kernel.run_queue.clear()
        kernel.run_queue.extend(runnable)


def is_to_be_stepped(kernel: Interruptible, task: Task) -> bool:
    """Return whether a task was taken out of its queue, and its step has not begun."""
    return not (task.done or task.parked_on is not None or task in kernel.runnable_tasks())


def is_ours(frame: FrameType | None) -> bool:
    """Return whether raising here could tear our own state."""
    if frame is None or is_in_our_code(frame):
        return True
    # What the standard library does for us is ours as well.
    caller = frame.f_back
    while caller is not None and not is_in_our_code(caller):
        caller = caller.f_back
    return caller is not None and caller.f_code not in DOORS


def is_in_our_code(frame: FrameType) -> bool:
    """Return whether a frame runs one of the rooms that carry the program."""
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and name.startswith(OURS)


def release_in_child() -> None:
    """Give the signals back in a forked child, whose kernels are dead already."""
    for interrupts in tuple(active):
        interrupts.release_in_child()
