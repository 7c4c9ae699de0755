"""Trio as the scheduler of mio's sockets: the reactor's protocol on Trio's functions."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Final, final

import outcome
import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from anyio_mio._reactor.scheduler import ErrorClasses, Waitable

TRIO_ERRORS: Final = ErrorClasses(
    closed=trio.ClosedResourceError,
    broken=trio.BrokenResourceError,
    busy=trio.BusyResourceError,
    end_of_stream=trio.EndOfChannel,
)


@final
class TrioScheduler:
    """Parks Trio's tasks, in the run that calls.

    Attributes:
        budget: never positive, so that each operation of shared code calls `checkpoint()`. Trio
            could not refill a budget at each step of a task. The streams of this package count
            their operations themselves (see `anyio_mio.trio.streams`).
    """

    __slots__ = ("budget",)

    errors: Final = TRIO_ERRORS

    def __init__(self) -> None:
        self.budget: int = 0

    @property
    def current(self) -> Task:
        """The task that runs now."""
        return current_task()

    def park(self, waitable: Waitable, /) -> Awaitable[None]:
        """Suspend the current task on ``waitable``; a cancellation removes it from there."""
        abort = partial(abort_wait, waitable, current_task())
        return wait_task_rescheduled(abort)  # noqa: ASYNC105 - the caller awaits it

    def resume(self, task: Task, /) -> None:
        """Make a parked task runnable."""
        reschedule(task)

    def fail(self, task: Task, error: BaseException, /) -> None:
        """Make a parked task runnable; ``error`` is raised where it waits."""
        reschedule(task, outcome.Error(error))

    async def checkpoint(self) -> None:
        """Raise the pending cancellation, or let the other tasks run."""
        self.budget = 0
        await trio.lowlevel.checkpoint()

    def now(self) -> float:
        """Return Trio's clock, in seconds."""
        return trio.current_time()


def abort_wait(waitable: Waitable, task: Task, _raise_cancel: object) -> Abort:
    """Remove a cancelled task from the object that it waits for."""
    return Abort.SUCCEEDED if waitable.abort(task) else Abort.FAILED
