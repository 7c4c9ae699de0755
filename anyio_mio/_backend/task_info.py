"""AnyIO's information about a task."""

from __future__ import annotations

from weakref import ref

import anyio

from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.task import Task


class MioTaskInfo(anyio.TaskInfo):
    """What AnyIO tells about a task."""

    __slots__ = ("_task",)

    def __init__(self, task: Task) -> None:
        host = task.host
        parent_id = id(host) if host is not None else None
        super().__init__(id(task), parent_id, task.name, task.coro)
        self._task = ref(task)

    def __eq__(self, other: object) -> bool:
        # AnyIO compares the ids, which are addresses: a new task may have that of one that ended.
        if isinstance(other, MioTaskInfo):
            return self._task == other._task
        return NotImplemented

    __hash__ = anyio.TaskInfo.__hash__

    def has_pending_cancellation(self) -> bool:
        """Return whether the task's next checkpoint raises the cancellation; looked up now."""
        task = self._task()
        return task is not None and not task.done and task.scope.effective


def task_info(task: Task) -> MioTaskInfo:
    """Return the task's information; it is made once, until `Starting` drops it."""
    info = task.info
    if info is None:
        info = task.info = MioTaskInfo(task)
    return info  # type: ignore[return-value]


def current_task_info(kernel: Kernel) -> MioTaskInfo:
    """Return the information about the task that runs now.

    Raises:
        RuntimeError: a callback runs, and no task.
    """
    task = kernel.current
    if task is None:
        hint = kernel.asyncio.no_task() if kernel.asyncio is not None else None
        raise RuntimeError(hint or "There is no task currently running")
    return task_info(task)
