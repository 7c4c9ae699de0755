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
        try:
            await kernel.park(self)
        except BaseException:
            self.pop(task, None)  # a signal's handler has raised before the wait
            raise

    def wake(self, kernel: Stepper) -> None:
        """Resume them all: everything else is blocked."""
        for task in tuple(self):
            del self[task]  # no call from here on, so that no handler of a signal comes between
            kernel.run_queue.append(task)

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
