"""Tasks that wait until nothing else can run."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from anyio_mio._kernel.kernel import Kernel
    from anyio_mio._kernel.task import Task


@final
class IdleWaiters:
    """The tasks inside ``wait_all_tasks_blocked()``.

    While there are any, the kernel polls without blocking; a turn in which nothing was ready,
    nothing expired and nothing is runnable wakes them all.
    """

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    def __len__(self) -> int:
        return len(self._tasks)

    async def wait(self, kernel: Kernel) -> None:
        """Suspend the current task until every other task is blocked. Always a checkpoint."""
        await kernel.checkpoint()
        task = kernel.current
        assert task is not None
        self._tasks.append(task)
        await kernel.park(self)  # type: ignore[arg-type, unused-ignore]

    def wake(self, kernel: Kernel) -> None:
        """Everything is blocked: resume them all."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            kernel.resume(task)

    def abort(self, task: Task, /) -> bool:
        """Take a cancelled task out."""
        if task in self._tasks:
            self._tasks.remove(task)
            return True
        return False
