"""Circles of waits: a task of mio waits for a future that cannot be done before the task has ended.

Facts. A cancelled task of mio cancels the future of asyncio that it awaits, and goes on when the
future is done (A2). If the future is the end of a task of asyncio that waits in `run_in_task()` for
the same task of mio, each of both waits for the other's end. asyncio has the same circle among its
own tasks, and answers `cancel()` with a `RecursionError`.

Decision. Such a wait is left at once, with the cancellation. Then the task of mio ends, and with it
the circle. The search begins when a wait is cancelled. If the wait is in no circle, `find_end()`
says what has to happen first, and the search is repeated after that, because the clean-up of a task
may close the circle.

Cost. Nothing for a plain future, which is done as soon as it is cancelled. Some microseconds for
each task of asyncio between the wait and what has to happen first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from anyio_mio._kernel.task_tree import frames_of
from anyio_mio.asyncio.asyncio_internals import awaited_future
from anyio_mio.asyncio.task_states import tasks_behind, tasks_in_frames

if TYPE_CHECKING:
    from anyio_mio._kernel.task import Task

NEVER: Final = object()
"""The future is done after the task, or never."""

SOON: Final = object()
"""A task of asyncio takes a step before the future can be done."""


def find_end(future: Any, task: Task) -> Any:
    """Return what has to happen before a future is done that a task of mio awaits.

    Returns:
        `NEVER` if it waits for the end of the task, or of one whose child the task is, or of tasks
        that wait for each other. Otherwise `SOON`, or a future that is done before it.
    """
    hosts = {id(each) for each in lineage(task)}
    pending, seen, ends = [(future, tasks_behind(future))], set[int](), []
    while pending:
        future, tasks = pending.pop()
        if not hosts.isdisjoint(map(id, tasks)):
            return NEVER
        ends.append(end_of(future, tasks))
        fresh = [each for each in tasks if id(each) not in seen]
        seen.update(map(id, fresh))
        pending += waits_of(fresh)
    if SOON in ends:
        return SOON
    return next((end for end in ends if end is not None), NEVER)


def end_of(future: Any, tasks: list[Any]) -> Any:
    """Return what happens before a future is done; None if each of its tasks waits for others.

    Args:
        future: what is awaited.
        tasks: those for whose end it stands; empty if it is a plain future.
    """
    free = [each for each in tasks if pending_future_of(each) is None]
    if any(isinstance(each, asyncio.Task) for each in free):
        return SOON
    return future if free or not tasks else None


def waits_of(tasks: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """Yield the futures that tasks await, each with the tasks for whose end it stands."""
    for task in tasks:
        future = pending_future_of(task)
        if future is not None:
            coro = task.get_coro() if isinstance(task, asyncio.Task) else task.coro
            yield future, tasks_behind(future) or tasks_in_frames(list(frames_of(coro)))


def pending_future_of(task: Any) -> Any:
    """Return the future of asyncio that a task of either kind waits for; None if it awaits none."""
    if isinstance(task, asyncio.Task):
        future = awaited_future(task)
    else:
        future = None if task.face is None else task.face.awaited_future()
    return None if future is None or future.done() else future


def lineage(task: Task) -> list[Task]:
    """Return a task and the tasks in whose task groups it is, from the inside out."""
    found, host = [task], task.host
    while host is not None:
        found.append(host)
        host = host.host
    return found
