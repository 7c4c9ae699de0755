"""asyncio's tasks in the task tree, and circles of waits that go through both kinds of tasks."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

import anyio_mio.asyncio
from anyio_mio.console import render_tree
from anyio_mio.console.pictures import ask_for_tree
from anyio_mio.lowlevel import TaskTree, task_tree
from tests.console.pictures import asyncio_picture_of, find

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "mio"


async def test_a_task_of_asyncio_is_in_the_tree_with_its_stack() -> None:
    state = await asyncio_picture_of(lambda: asyncio.sleep(100))

    assert (state.kind, state.state, state.parent) == ("asyncio", "parked", None)
    assert [frame.function.rpartition(".")[2] for frame in state.stack] == ["waiting", "sleep"]
    assert state.waits_for == "asyncio.sleep()"


async def sleep_in_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(100), name="child")


async def sleep_in_wait() -> None:
    await asyncio.wait([asyncio.create_task(asyncio.sleep(100), name="child")])


async def sock_recv() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        await asyncio.get_running_loop().sock_recv(left, 1)


async def in_executor() -> None:
    release = threading.Event()
    try:
        await asyncio.get_running_loop().run_in_executor(None, release.wait)
    finally:
        release.set()


async def serve_forever() -> None:
    async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0) as server:
        await server.serve_forever()


@pytest.mark.parametrize(
    "wait, words",
    [
        (lambda: asyncio.Event().wait(), "an event of asyncio to be set"),
        (lambda: asyncio.Queue[int]().get(), "an item of a queue of asyncio"),
        (lambda: asyncio.Semaphore(0).acquire(), "a semaphore of asyncio"),
        (sock_recv, "sock_recv() of asyncio"),
        (in_executor, "a worker thread of asyncio, or a future of another thread"),
        (serve_forever, "a server of asyncio to be closed"),
        (sleep_in_group, "asyncio task 'child'"),
        (sleep_in_wait, "asyncio task 'child'"),
    ],
    ids=["event", "queue", "semaphore", "sock", "executor", "server", "group", "wait"],
)
@pytest.mark.parametrize("kind", ["asyncio", "mio"])
async def test_waits_for_asyncios_own_classes_are_named_in_both_kinds_of_tasks(
    wait: Callable[[], Awaitable[object]], words: str, kind: str
) -> None:
    if kind == "asyncio":
        state = await asyncio_picture_of(wait)
    else:

        async def waiting() -> None:
            await wait()

        async with anyio.create_task_group() as group:
            group.start_soon(waiting, name="waiting")
            await anyio.sleep(0.01)
            state = find(task_tree(), "waiting")
            group.cancel_scope.cancel()

    assert (state.waits_for, state.kind) == (words, kind)


async def test_gather_names_its_tasks() -> None:
    state = await asyncio_picture_of(
        lambda: asyncio.gather(*(asyncio.sleep(100) for _ in range(7)))
    )

    assert state.waits_for.startswith("7 tasks: asyncio task '")
    assert state.waits_for.endswith(", …")
    assert len(state.waits_for_tasks) == 7


async def test_a_plain_future_is_shown_as_it_is() -> None:
    future = asyncio.get_running_loop().create_future()

    state = await asyncio_picture_of(lambda: future)

    assert state.waits_for.startswith("asyncio future <Future pending")
    assert not state.needs_a_task


async def test_a_task_of_mio_names_the_task_of_asyncio_that_it_awaits() -> None:
    awaited = asyncio.create_task(asyncio.sleep(100), name="awaited")

    async def waiting() -> None:
        await awaited

    async with anyio.create_task_group() as group:
        group.start_soon(waiting, name="waiting")
        await anyio.sleep(0.01)
        tree = task_tree()
        group.cancel_scope.cancel()

    assert find(tree, "waiting").waits_for == "asyncio task 'awaited'"
    assert find(tree, "waiting").waits_for_tasks == (find(tree, "awaited").id,)


async def test_a_circle_of_waits_goes_through_both_kinds_of_tasks() -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def in_mio() -> None:
        await tasks[0]

    tasks.append(asyncio.create_task(anyio_mio.asyncio.run_in_task(in_mio), name="outer"))
    await anyio.sleep(0.01)
    tree = task_tree()
    tasks[0].cancel()

    (sentence,) = tree.deadlocks
    assert "'outer' waits for task" in sentence
    assert "waits for asyncio task 'outer'" in sentence
    assert f"DEADLOCK: {sentence}" in render_tree(tree)


async def test_a_callback_of_asyncio_that_may_come_is_no_deadlock() -> None:
    """A protocol's callback may set the event that every task waits for."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    event = anyio.Event()
    trees: list[TaskTree] = []

    def look(kernel: Any) -> None:
        trees.append(ask_for_tree(kernel)[0])
        loop.call_soon_threadsafe(event.set)

    async with server:
        future = loop.run_in_executor(None, look, loop._kernel)  # type: ignore[attr-defined]
        await event.wait()
        await future

    assert trees[0].deadlocks == ()


async def test_a_step_of_a_task_of_asyncio_is_seen_while_it_runs() -> None:
    async def look() -> TaskTree:
        return task_tree()

    tree = await asyncio.create_task(look(), name="looks")

    state = find(tree, "looks")
    assert state.state == "running"
    assert [frame.function.rpartition(".")[2] for frame in state.stack] == ["look", "task_tree"]


def test_a_run_without_asyncio_does_not_import_it_for_the_tree() -> None:
    """The kernel asks the loop of the run, which is None there."""
    program = (
        "import sys, anyio_mio\nfrom anyio_mio.lowlevel import task_tree\n"
        "async def main():\n    print(len(task_tree().tasks), 'anyio_mio.asyncio' in sys.modules)\n"
        "anyio_mio.run(main)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.stdout.split() == ["1", "False"], done.stderr


async def without_limit(circle: asyncio.Task[Any]) -> None:
    await asyncio.wait([circle])


async def with_timeout(circle: asyncio.Task[Any]) -> None:
    async with asyncio.timeout(100):
        await asyncio.wait([circle])


async def with_wait_for(circle: asyncio.Task[Any]) -> None:
    await asyncio.wait_for(asyncio.wait([circle]), 100)


async def with_wait(circle: asyncio.Task[Any]) -> None:
    await asyncio.wait([circle], timeout=100)


async def with_scope_of_anyio(circle: asyncio.Task[Any]) -> None:
    with anyio.move_on_after(100):
        await asyncio.wait([circle])


async def with_call_later(circle: asyncio.Task[Any]) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(100, task.cancel)
    await asyncio.wait([circle])


async def circle_of(wait: Callable[[asyncio.Task[Any]], Awaitable[None]], kind: str) -> TaskTree:
    """A task waits for another one, which waits for the first in a given way."""
    tasks: list[asyncio.Task[Any]] = []

    async def inner() -> None:
        await wait(tasks[0])

    async def outer() -> None:
        if kind == "mio":
            await anyio_mio.asyncio.run_in_task(inner)
        else:
            await asyncio.create_task(inner(), name="inner")

    tasks.append(asyncio.create_task(outer(), name="outer"))
    await anyio.sleep(0.02)
    tree = task_tree()
    tasks[0].cancel()
    with suppress(asyncio.CancelledError):
        await tasks[0]
    return tree


@pytest.mark.parametrize("kind", ["asyncio", "mio"])
@pytest.mark.parametrize(
    "wait", [with_timeout, with_wait_for, with_wait, with_scope_of_anyio, with_call_later]
)
async def test_a_circle_that_a_time_limit_of_asyncio_ends_is_no_deadlock(
    wait: Callable[[asyncio.Task[Any]], Awaitable[None]], kind: str
) -> None:
    tree = await circle_of(wait, kind)

    assert tree.deadlocks == ()
    assert 99 < min(task.time_limit for task in tree.tasks) <= 100


@pytest.mark.parametrize("kind", ["asyncio", "mio"])
async def test_the_same_circle_without_a_limit_is_a_deadlock(kind: str) -> None:
    assert len((await circle_of(without_limit, kind)).deadlocks) == 1


async def test_tasks_of_asyncio_stand_in_the_order_in_which_they_were_made() -> None:
    def names() -> list[str]:
        return [task.name for task in task_tree().tasks if task.kind == "asyncio"]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.sleep(100)) for _ in range(30)]
        first = names()
        tasks += [group.create_task(asyncio.sleep(100), name=f"a {n}") for n in range(12)]
        second = names()
        tasks += [group.create_task(asyncio.sleep(100))]
        third = names()
        for task in tasks:
            task.cancel()

    assert third == [task.get_name() for task in tasks]
    assert first == third[:30]
    assert second == third[:42]
