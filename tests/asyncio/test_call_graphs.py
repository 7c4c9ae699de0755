"""asyncio's call graphs (Python 3.14) in tasks of both worlds."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import anyio
import pytest

from anyio_mio.lowlevel import task_tree

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.invariant("A2"),
    pytest.mark.skipif(sys.version_info < (3, 14), reason="call graphs are new in Python 3.14"),
]
asyncio_of_3_14: Any = asyncio


def names(graph: Any) -> list[str]:
    """Return the functions on a graph's stack, the innermost first."""
    return [entry.frame.f_code.co_name for entry in graph.call_stack]


async def test_the_graph_of_a_task_of_asyncio_shows_its_stack_and_its_task_group() -> None:
    started = asyncio.Event()

    async def leaf() -> None:
        started.set()
        await asyncio.sleep(60)

    async def branch() -> None:
        await leaf()

    async def root() -> None:
        async with asyncio.TaskGroup() as group:
            tasks.append(group.create_task(branch()))

    tasks: list[asyncio.Task[None]] = []
    parent = asyncio.create_task(root())
    await started.wait()
    graph = asyncio_of_3_14.capture_call_graph(tasks[0])
    text = asyncio_of_3_14.format_call_graph(tasks[0])
    parent.cancel()
    await asyncio.wait([parent])

    assert {"leaf", "branch"} <= set(names(graph))
    assert [each.future for each in graph.awaited_by] == [parent]
    assert "branch()" in text


async def test_a_task_of_mio_that_awaits_a_task_of_asyncio_does_not_break_its_graph() -> None:
    async def wait() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    async with anyio.create_task_group() as group:

        async def await_it() -> None:
            await task

        group.start_soon(await_it)
        await asyncio.sleep(0.001)
        graph = asyncio_of_3_14.capture_call_graph(task)
        group.cancel_scope.cancel()

    assert graph.future is task
    assert "wait" in names(graph)


async def test_a_task_of_mio_is_no_future_and_has_a_task_tree_in_the_place_of_a_graph() -> None:
    with pytest.raises(TypeError, match="mio task"):
        asyncio_of_3_14.capture_call_graph()

    assert [task.name for task in task_tree().tasks if task.state == "running"]
