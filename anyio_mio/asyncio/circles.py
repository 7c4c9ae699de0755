"""Circles of waits: a task of mio waits for a future that cannot be done before the task has ended.

Facts. When a task of mio is cancelled, the asyncio future that it awaits is cancelled, and the task
resumes when the future is done (A2). If that future is an asyncio task which waits in
`run_in_task()` for the same task of mio, each of the two waits for the other to end. asyncio's own
tasks can form such a circle too; there `cancel()` raises `RecursionError`.

Decision. The task of mio leaves such a wait at once, with the cancellation. It ends, and so the
circle is broken. The search starts when a wait is cancelled. If the wait is in no circle,
`find_end()` returns what has to happen first, and the search is repeated after that, because the
clean-up of a task may close a circle.

Cost. Nothing for a plain future, which is done as soon as it is cancelled. Some microseconds for
each asyncio task between the wait and what has to happen first.
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
"""The future will be done after the task has ended, or never."""

SOON: Final = object()
"""An asyncio task has to take a step before the future can be done."""


def find_end(future: Any, task: Task) -> Any:
    """Return what has to happen before the future is done that a task of mio awaits.

    Returns:
        `NEVER` if the future waits for the end of the task or of one of its parent tasks, or of
        tasks that wait for each other. Otherwise `SOON`, or a future that has to be done first.
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
    """Return what has to happen before a future is done; None if all its tasks wait for others.

    Args:
        future: what is awaited.
        tasks: the tasks whose end completes it; empty if it is a plain future.
    """
    free = [each for each in tasks if pending_future_of(each) is None]
    if any(isinstance(each, asyncio.Task) for each in free):
        return SOON
    return future if free or not tasks else None


def waits_of(tasks: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """Yield the futures that tasks await, each with the tasks whose end completes it."""
    for task in tasks:
        future = pending_future_of(task)
        if future is not None:
            coro = task.get_coro() if isinstance(task, asyncio.Task) else task.coro
            yield future, tasks_behind(future) or tasks_in_frames(list(frames_of(coro)))


def pending_future_of(task: Any) -> Any:
    """Return the asyncio future that a task of asyncio or mio awaits, or None."""
    if isinstance(task, asyncio.Task):
        future = awaited_future(task)
    else:
        future = None if task.face is None else task.face.awaited_future()
    return None if future is None or future.done() else future


def lineage(task: Task) -> list[Task]:
    """Return a task, its parent task, the parent of that, and so on."""
    found, host = [task], task.host
    while host is not None:
        found.append(host)
        host = host.host
    return found
