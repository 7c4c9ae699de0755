"""Pictures of a task that waits, for the tests of the task tree."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio

from anyio_mio.lowlevel import TaskState, TaskTree, task_tree

Waiting = Callable[[], Awaitable[object]]


def find(tree: TaskTree, name: str) -> TaskState:
    (task,) = [task for task in tree.tasks if task.name == name]
    return task


async def picture_of(wait: Waiting) -> TaskState:
    """The state of a task of mio that waits."""

    async def waiting() -> None:
        await wait()

    async with anyio.create_task_group() as group:
        group.start_soon(waiting, name="waiting")
        await anyio.wait_all_tasks_blocked()
        state = find(task_tree(), "waiting")
        group.cancel_scope.cancel()
    return state


async def asyncio_picture_of(wait: Waiting) -> TaskState:
    """The state of a task of asyncio that waits."""

    async def waiting() -> None:
        await wait()

    task = asyncio.create_task(waiting(), name="waiting")
    await anyio.sleep(0.01)
    state = find(task_tree(), "waiting")
    task.cancel()
    return state
