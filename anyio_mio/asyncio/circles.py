"""Circles of waits: a task of mio waits for a future that cannot be done before the task has ended.

Facts. A cancelled task of mio cancels the future of asyncio that it awaits, and goes on when the
future is done (A2). If the future is the end of a task of asyncio that waits in `run_in_task()` for
the same task of mio, each of both waits for the other's end. asyncio has the same circle among its
own tasks, and answers `cancel()` with a `RecursionError`.

Decision. Such a wait is left at once, with the cancellation. Then the task of mio ends, and with it
the circle. It is looked for when a wait is cancelled, and at no other time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from anyio_mio.asyncio.asyncio_internals import awaited_future
from anyio_mio.asyncio.task_states import tasks_behind

if TYPE_CHECKING:
    from anyio_mio._kernel.task import Task


def ends_after(future: Any, task: Task) -> bool:
    """Return whether a future waits for the end of a task, or of one whose child the task is."""
    hosts = {id(each) for each in lineage(task)}
    pending, seen = [future], set[int]()
    while pending:
        for each in tasks_behind(pending.pop()):
            if id(each) in hosts:
                return True
            if id(each) in seen:
                continue
            seen.add(id(each))
            awaited = awaited_by(each)
            if awaited is not None:
                pending.append(awaited)
    return False


def lineage(task: Task) -> list[Task]:
    """Return a task and the tasks in whose task groups it is, from the inside out."""
    found, host = [task], task.host
    while host is not None:
        found.append(host)
        host = host.host
    return found


def awaited_by(task: Any) -> Any:
    """Return the future of asyncio that a task of either kind awaits; None if it awaits none."""
    if isinstance(task, asyncio.Task):
        return awaited_future(task)
    return None if task.face is None else task.face.awaited_future()
