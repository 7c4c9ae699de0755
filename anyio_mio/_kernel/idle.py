"""Two waits that no event ends: until all other tasks are blocked, and forever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from anyio_mio._reactor.scheduler import Wait

if TYPE_CHECKING:
    from anyio_mio._kernel.stepper import Stepper
    from anyio_mio._kernel.task import Task


@final
class IdleWaiters(dict["Task", None]):
    """The tasks inside ``wait_all_tasks_blocked()``.

    While there are any, the kernel polls without blocking; a turn in which nothing was ready,
    nothing expired and nothing is runnable wakes them all.
    """

    __slots__ = ()

    async def wait(self, kernel: Stepper) -> None:
        """Suspend the current task until every other task is blocked. Always a checkpoint."""
        await kernel.checkpoint()
        task = kernel.current
        assert task is not None
        self[task] = None
        await kernel.park(self)

    def wake(self, kernel: Stepper) -> None:
        """Resume them all: everything else is blocked."""
        tasks = list(self)
        self.clear()
        for task in tasks:
            kernel.resume(task)

    def describe(self, task: Task, /) -> Wait:
        """See `Describes`."""
        return Wait("all other tasks to be blocked")

    def abort(self, task: Task, /) -> bool:
        """Take a cancelled task out."""
        if task not in self:
            return False
        del self[task]
        return True


@final
class Forever:
    """What a task that sleeps forever is parked on."""

    __slots__ = ()

    def abort(self, task: object, /) -> bool:
        """Let the task go: it is still waiting."""
        return True

    def describe(self, task: object, /) -> Wait:
        """Say that only a cancellation ends this wait.

        A program that sleeps forever means to: it may wait for a signal's handler to cancel it.
        """
        return Wait("sleep forever: only a cancellation ends it")


FOREVER: Final = Forever()
