"""Two waits that no event ends: until all other tasks are blocked, and for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from anyio_mio._reactor.scheduler import Wait

if TYPE_CHECKING:
    from anyio_mio._kernel.stepper import Stepper
    from anyio_mio._kernel.task import Task


@final
class IdleWaiters(dict["Task", None]):
    """The tasks inside ``wait_all_tasks_blocked()``.

    While there are any, the kernel polls without blocking. They are all woken in a turn without an
    event, an expired deadline or a runnable task.
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
        """Resume all of them, because every other task is blocked."""
        for task in tuple(self):
            del self[task]  # no call from here on, so that no handler of a signal comes between
            kernel.run_queue.append(task)

    def describe(self, task: Task, /) -> Wait:
        """See `Describes`."""
        return Wait("all other tasks to be blocked")

    def abort(self, task: Task, /) -> bool:
        """Remove a cancelled task."""
        if task not in self:
            return False
        del self[task]
        return True


@final
class Forever:
    """The object that a task is parked on which sleeps for ever."""

    __slots__ = ()

    def abort(self, task: object, /) -> bool:
        """Allow the task to leave: no other event can have woken it."""
        return True

    def describe(self, task: object, /) -> Wait:
        """Describe this wait, which only a cancellation ends.

        It is no deadlock: the program may wait for a signal handler that cancels it.
        """
        return Wait("sleep forever: only a cancellation ends it")


FOREVER: Final = Forever()
