"""AnyIO's event, lock and semaphore.

Waiting tasks are parked on them. A wake-up removes a task from the queue and resumes it. A
cancellation removes it with ``abort()``, so a release in the same tick finds the next task.

A queue is an `OrderedDict`: a task leaves it at either end or from its middle in constant time, so
that cancelling n waiters takes n steps. A deque's ``remove()`` looks at each task before it.

Three things are written out here that would read shorter as calls. The numbers are machine
instructions of CPython 3.11, counted by valgrind, of 16,000 that an event takes to be made, set and
awaited, and of 19,000 that a lock takes to be acquired by waiting, held for a checkpoint, released:

* `Event.wait()` and `Lock.acquire()` do what `Kernel.park()` does, and read ``running.kernel``.
  Only without a kernel do they call `running_kernel()`, which raises. It saves 770 at each wait.
* ``async with lock`` awaits `Lock.acquire()` itself, and `Lock.__aexit__()` is no coroutine.
  AnyIO's two would be one more coroutine each, and cost 1,700.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any

import anyio
from anyio import EventStatistics, LockStatistics, SemaphoreStatistics

from anyio_mio._backend.task_info import task_info
from anyio_mio._kernel.running import running, running_kernel
from anyio_mio._kernel.stepper import Stepper
from anyio_mio._kernel.task import Task
from anyio_mio._kernel.traps import DONE, PAUSE
from anyio_mio._reactor.scheduler import Wait


class Event(anyio.Event):
    """A flag that tasks can wait for."""

    __slots__ = ("_flag", "_waiters")
    _flag: bool
    _waiters: dict[Task, None] | None

    def __new__(cls) -> Event:
        self = object.__new__(cls)
        self._flag = False
        self._waiters = None  # most events never have one
        return self

    def set(self) -> None:
        """Raise the flag and wake all waiters, in the order they came.

        Raises:
            RuntimeError: it was called from another thread, which would not wake the waiters.
        """
        waiters = self._waiters
        if waiters is None:
            self._flag = True
            return
        try:
            for task in waiters:
                kernel = task.kernel
                if kernel.current is None:
                    kernel.require_own_thread()
                kernel.run_queue.append(task)
        except BaseException:
            self._complete(waiters)
            raise
        self._flag, self._waiters = True, None

    def _complete(self, waiters: dict[Task, None]) -> None:
        """Wake the rest of the waiters, if a signal's handler has raised after the first."""
        left = [task for task in waiters if task not in task.kernel.runnable_tasks()]
        if len(left) < len(waiters):
            self._flag, self._waiters = True, None
            for task in left:
                task.kernel.resume(task)

    def is_set(self) -> bool:
        """Return whether the flag is raised."""
        return self._flag

    async def wait(self) -> None:
        """Wait until the flag is raised. Always a checkpoint."""
        kernel = running.kernel or running_kernel()
        if self._flag:
            await kernel.checkpoint()
            return
        task = kernel.current
        if task is None:
            raise kernel.no_task()
        if self._waiters is None:
            self._waiters = {task: None}
        else:
            self._waiters[task] = None
        if task.parked_on is not None:  # from here on Kernel.park(), written out
            task.end_earlier_wait(self)
        task.parked_on = self
        if task.scope.effective:
            task.interrupt(task.scope.cancel_message())
        await PAUSE

    def abort(self, task: Task, /) -> bool:
        """Remove a cancelled waiter; return False if it was woken already."""
        waiters = self._waiters
        if waiters is None or task not in waiters:
            return False
        del waiters[task]
        return True

    def describe(self, task: Task, /) -> Wait:
        """See `Describes`."""
        return Wait("an event to be set", needs_a_task=True)

    def statistics(self) -> EventStatistics:
        """Return how many tasks wait."""
        return EventStatistics(len(self._waiters or ()))


class Lock(anyio.Lock):
    """A mutex. ``release()`` gives it to the first waiter at once.

    A lock that others wait for stands in ``Task.wanted`` of its owner: if the task ends without
    releasing it, they get an error, as on Trio, and do not wait forever.
    """

    __slots__ = ("_fast_acquire", "_owner", "_waiters")
    _fast_acquire: bool
    _owner: Task | None
    _waiters: OrderedDict[Task, None]

    def __new__(cls, *, fast_acquire: bool = False) -> Lock:
        self = object.__new__(cls)
        self._fast_acquire = fast_acquire
        self._owner = None
        self._waiters = OrderedDict()
        return self

    async def acquire(self) -> None:  # noqa: C901 - with Kernel.park() written out
        """Acquire the lock; wait until it is free.

        Raises:
            RuntimeError: the current task holds it already.
            BrokenResourceError: the task that holds it has ended.

        Checkpoint: always; without contention ``fast_acquire`` only checks for cancellation.
        """
        kernel = running.kernel or running_kernel()
        if kernel.budget <= 0:
            await kernel.checkpoint_if_cancelled()
        task = kernel.current
        assert task is not None
        owner = self._owner
        if owner is None:
            self._owner = task
            if not self._fast_acquire:
                try:
                    await give_way(kernel)
                except BaseException:  # of a signal's handler
                    self.release()
                    raise
            return
        if owner is task:
            raise RuntimeError("Attempted to acquire an already held Lock")
        if owner.done:
            raise owner_has_ended(owner)
        if owner.wanted is not self:
            owner.add_wanted(self)
        self._waiters[task] = None
        if task.parked_on is not None:  # from here on Kernel.park(), written out
            task.end_earlier_wait(self)
        task.parked_on = self
        if task.scope.effective:
            task.interrupt(task.scope.cancel_message())
        await PAUSE

    __aenter__ = acquire

    def __aexit__(self, *exc_info: object) -> Coroutine[Any, Any, None]:
        self.release()
        return DONE

    def acquire_nowait(self) -> None:
        """Take the lock if it is free.

        Raises:
            WouldBlock: another task holds it.
            RuntimeError: the current task holds it already.
        """
        task = running_kernel().current
        if self._owner is task and task is not None:
            raise RuntimeError("Attempted to acquire an already held Lock")
        if self._owner is not None:
            raise anyio.WouldBlock
        self._owner = task

    def release(self) -> None:
        """Give the lock to the first waiter, or free it.

        Raises:
            RuntimeError: the current task does not hold it.
        """
        owner = self._owner
        kernel = running.kernel or running_kernel()
        if owner is not kernel.current or owner is None:
            raise RuntimeError("The current task is not holding this lock")
        waiters = self._waiters
        if waiters:
            for task in waiters:  # noqa: B007 - next(iter(waiters)) takes 12 ns more
                break
            del waiters[task]
            self._owner = task
            kernel.run_queue.append(task)
            if waiters and task.wanted is not self:
                task.add_wanted(self)
        else:
            self._owner = None

    def locked(self) -> bool:
        """Return whether a task holds it."""
        return self._owner is not None

    def abort(self, task: Task, /) -> bool:
        """Remove a cancelled waiter; return False if it owns the lock already."""
        if task not in self._waiters:
            return False
        del self._waiters[task]
        return True

    def is_held_by(self, task: Task) -> bool:
        """Return whether this task holds the lock."""
        return self._owner is task

    def owner_ended(self, owner: Task) -> None:
        """Handle the end of the task that holds the lock: it will not be released."""
        for task in tuple(self._waiters):
            task.error = owner_has_ended(owner)
            del self._waiters[task]  # no call from here on: a signal's handler cannot come between
            task.kernel.run_queue.append(task)

    def describe(self, task: Task, /) -> Wait:
        """Name the task that holds the lock."""
        owner = self._owner
        if owner is None:
            return Wait("a lock")
        return Wait(f"the lock that task {owner.name!r} holds", tasks=(owner,), needs_a_task=True)

    def statistics(self) -> LockStatistics:
        """Return owner and number of waiters."""
        owner = task_info(self._owner) if self._owner is not None else None
        return LockStatistics(self._owner is not None, owner, len(self._waiters))


class Semaphore(anyio.Semaphore):
    """A counter. Tasks that acquire it wait until it is above zero."""

    __slots__ = ("_max_value", "_value", "_waiters")

    def __new__(
        cls, initial_value: int, *, max_value: int | None = None, fast_acquire: bool = False
    ) -> Semaphore:
        return object.__new__(cls)

    def __init__(
        self, initial_value: int, *, max_value: int | None = None, fast_acquire: bool = False
    ) -> None:
        super().__init__(initial_value, max_value=max_value, fast_acquire=fast_acquire)
        self._value = initial_value
        self._max_value = max_value
        self._waiters: OrderedDict[Task, None] = OrderedDict()

    async def acquire(self) -> None:
        """Decrement the counter; wait while it is 0. A checkpoint, but see ``fast_acquire``."""
        kernel = running_kernel()
        if kernel.budget <= 0:
            await kernel.checkpoint_if_cancelled()
        if self._value > 0 and not self._waiters:
            self._value -= 1
            if not self._fast_acquire:
                try:
                    await give_way(kernel)
                except BaseException:  # of a signal's handler
                    self.release()
                    raise
            return
        task = kernel.current
        assert task is not None
        self._waiters[task] = None
        try:
            await kernel.park(self)
        except BaseException:
            self._waiters.pop(task, None)  # a signal's handler has raised before the wait
            raise

    def acquire_nowait(self) -> None:
        """Decrement the counter.

        Raises:
            WouldBlock: it is zero.
        """
        if self._value == 0:
            raise anyio.WouldBlock
        self._value -= 1

    def release(self) -> None:
        """Increment the counter, or wake the first waiter.

        Raises:
            ValueError: ``max_value`` would be exceeded.
        """
        if self._max_value is not None and self._value == self._max_value:
            raise ValueError("semaphore released too many times")
        waiters = self._waiters
        if waiters:
            for task in waiters:  # noqa: B007 - next(iter(waiters)) takes 12 ns more
                break
            kernel = task.kernel
            if kernel.current is None:
                kernel.require_own_thread()
            del waiters[task]  # no call from here on, so that no handler of a signal comes between
            kernel.run_queue.append(task)
        else:
            self._value += 1

    @property
    def value(self) -> int:
        """The counter."""
        return self._value

    @property
    def max_value(self) -> int | None:
        """The upper bound, if there is one."""
        return self._max_value

    def abort(self, task: Task, /) -> bool:
        """Remove a cancelled waiter; return False if it was woken already."""
        if task not in self._waiters:
            return False
        del self._waiters[task]
        return True

    def describe(self, task: Task, /) -> Wait:
        """See `Describes`."""
        return Wait("a semaphore", needs_a_task=True)

    def statistics(self) -> SemaphoreStatistics:
        """Return how many tasks wait."""
        return SemaphoreStatistics(len(self._waiters))


def owner_has_ended(owner: Task) -> anyio.BrokenResourceError:
    """Return the error of a task that waits for a lock which will never be released."""
    return anyio.BrokenResourceError(
        f"the task {owner.name!r} has ended without releasing this lock.\n"
        "  wrong: await lock.acquire() in a task that ends or fails before lock.release()\n"
        "  right: async with lock: ..."
    )


async def give_way(kernel: Stepper) -> None:
    """Yield to other tasks after something was taken without waiting.

    Cancellation was checked before. It must not be raised now, or the acquired object would be
    lost. If other tasks are runnable, they run first; otherwise the task only spends budget.
    """
    kernel.budget -= 1
    if kernel.budget <= 0 or kernel.run_queue or kernel.spent or kernel.hung_up:
        await kernel.yield_now()
