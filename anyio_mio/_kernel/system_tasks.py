"""Tasks of the run's own, which no task group waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from anyio_mio._kernel.cancelled import Cancelled

if TYPE_CHECKING:
    from anyio_mio._kernel.kernel import Kernel
    from anyio_mio._kernel.task import Task


@final
class SystemTasks:
    """Owner of the system tasks."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def task_done(self, task: Task, value: object, error: BaseException | None, /) -> None:
        """A system task may be cancelled; any other error ends the run."""
        if error is not None and not isinstance(error, Cancelled):
            self._kernel.crash_with(error)
