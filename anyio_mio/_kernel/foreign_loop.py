"""The protocols of asyncio's side: the loop of the run, and the face of each task.

A run has no such loop until its program uses asyncio: `Kernel.asyncio` is None, and each hook below
costs one test of that. `anyio_mio.asyncio` supplies the loop. The kernel calls it

* before each step of a task (`enter`, with the task's face), and after the last step of a turn
  (`leave`), so that ``asyncio.current_task()`` is right;
* when a task yields what is not the kernel's own (`TaskFace.wait_for`): a future of asyncio;
* when a task is done, if it has a face (`TaskFace.finish`);
* for async generators that asyncio's callbacks start (`first_iteration`, `finalizer`);
* for the task tree (`tasks`, `describe_task`, `can_wake`);
* at the end of the run (`release`), and in a forked child (`die_in_child`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, Protocol

from anyio_mio._kernel.cancelled import FOREIGN_AWAIT, Cancelled
from anyio_mio._reactor.scheduler import TaskRef

if TYPE_CHECKING:
    from anyio_mio._kernel.task import Task, TaskFace


class TimeLimits(Protocol):
    """Until when tasks wait at the most, because of timers of the loop."""

    def of(self, task: Any, /) -> float:
        """Return when a limit ends the wait of a task, on the run's clock; inf if none does."""


class ForeignLoop(Protocol):
    """The loop of the run for libraries that know asyncio only."""

    enter: Callable[[Any], object]
    """Make a face the current task of asyncio. A C function: it runs before each step."""

    leave: Callable[[], object]
    """Clear asyncio's current task."""

    make_face: Callable[[Task], TaskFace]
    """Give a task its face, and return the face."""

    def no_task(self) -> str | None:
        """Return what an operation of mio's in a task of asyncio should be told; None elsewhere."""

    def first_iteration(self, generator: AsyncGenerator[Any, Any], /) -> bool:
        """Adopt an async generator if a callback or a task of asyncio started it."""

    def finalizer(self, generator: AsyncGenerator[Any, Any], /) -> bool:
        """Close an adopted generator; in any thread. False if it is not adopted."""

    def tasks(self) -> list[Any]:
        """Return the loop's own tasks, which the task tree shows beside the kernel's."""

    def running_task(self) -> str:
        """Return the name of its own task that runs now, for any thread; empty if none does."""

    def describe_task(self, task: Any, until: float, /) -> Any:
        """Describe one of its tasks as a `TaskState`; None if it is done.

        Args:
            task: the task.
            until: when a time limit ends its wait, on the run's clock; inf if none does.
        """

    def time_limits(self) -> TimeLimits:
        """Return the time limits that asyncio's timers are, as they are now."""

    def can_wake(self) -> bool:
        """Return whether a callback that waits for a descriptor can continue the run."""

    def release(self) -> None:
        """Refuse every use from now on: the run is over."""

    def die_in_child(self) -> None:
        """Refuse every use: this process is a fork of the one that runs the loop."""


def wait_elsewhere(task: TaskRef, trapped: object) -> None:
    """Park a task on what it has yielded, which is not the kernel's own."""
    if task.parked_on is not None:
        task.end_earlier_wait(None)
    if trapped is None:  # asyncio's way to let other tasks run: a checkpoint
        if task.scope.effective and task.error is None:
            if task.face is not None:
                task.face.end_yield()
            else:
                task.error = Cancelled(task.scope.cancel_message())
        task.kernel.spent.append(task)
    elif task.face is not None:
        task.face.wait_for(task, trapped)
    else:
        task.kernel.fail(task, TypeError(FOREIGN_AWAIT.format(trapped)))
