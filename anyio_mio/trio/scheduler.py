"""Trio as the scheduler of mio's sockets: the reactor's protocol in Trio's words."""

from __future__ import annotations

from collections.abc import Awaitable
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
    """Parks, resumes and checkpoints in the Trio run that calls.

    It has no state, since Trio has it all: one instance serves every run and thread.

    Attributes:
        budget: never positive, which sends each operation of shared code through `checkpoint()`.
            Trio's tasks have nobody who would refill a budget at each step; the streams of this
            package keep their own account instead (see `anyio_mio.trio.streams`).
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
        """Suspend the current task on ``waitable``; a cancellation takes it out again."""
        task = current_task()

        def abort(_raise_cancel: object) -> Abort:
            return Abort.SUCCEEDED if waitable.abort(task) else Abort.FAILED

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

    async def sleep(self, seconds: float, /) -> None:
        """Suspend the current task for ``seconds``. Always a checkpoint."""
        await trio.sleep(seconds)

    def now(self) -> float:
        """Trio's clock, in seconds."""
        return trio.current_time()
