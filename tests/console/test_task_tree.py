"""The task tree: what it says of tasks, and that it finds deadlocks."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute, TaskStatus

import anyio_mio
from anyio_mio._backend import processes as processes_module
from anyio_mio._backend.processes import ThreadExit
from anyio_mio._kernel.kernel import Kernel, running_kernel
from anyio_mio._kernel.task_tree import find_deadlocks
from anyio_mio._net.listeners import SocketListener
from anyio_mio.console import render_tree
from anyio_mio.console.pictures import ask_for_tree
from anyio_mio.lowlevel import TaskState, TaskTree, task_tree
from anyio_mio.testing import MockClock
from tests.console.pictures import find, picture_of

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_threads_of_earlier_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the threads that libraries left in this process: each could end a deadlock."""
    enumerate_all, left = threading.enumerate, set(threading.enumerate())
    left.discard(threading.main_thread())
    monkeypatch.setattr(
        threading, "enumerate", lambda: [each for each in enumerate_all() if each not in left]
    )


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "mio", {}


async def test_a_task_that_sleeps_says_how_long() -> None:
    state = await picture_of(lambda: anyio.sleep(100))

    assert state.state == "parked"
    assert state.waits_for in ("sleep, 100.0 s left", "sleep, 99.9 s left")


async def test_a_task_that_sleeps_forever_says_so() -> None:
    assert "forever" in (await picture_of(anyio.sleep_forever)).waits_for


async def test_a_task_in_accept_names_the_address() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as multi:
        (listener,) = multi.listeners
        assert isinstance(listener, SocketListener)
        state = await picture_of(listener.accept)
        port = multi.extra(SocketAttribute.local_port)

    assert state.waits_for == f"accept on TCP 127.0.0.1:{port}"


async def test_a_task_in_receive_names_both_ends() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as multi:
        port = multi.extra(SocketAttribute.local_port)
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            state = await picture_of(client.receive)
            own = client.extra(SocketAttribute.local_port)

    assert state.waits_for == f"receive on TCP 127.0.0.1:{own} from 127.0.0.1:{port}"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets")
async def test_a_task_that_waits_for_sockets_without_names_gives_the_descriptor() -> None:
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        state = await picture_of(lambda: anyio.wait_readable(left))
        number = left.fileno()

    assert state.waits_for == f"wait_readable on UNIX socket {number}, without a name"


@pytest.mark.parametrize(
    "wait, words",
    [
        (lambda: anyio.Event().wait(), "an event to be set"),
        (lambda: anyio.Semaphore(0).acquire(), "a semaphore"),
    ],
    ids=["event", "semaphore"],
)
async def test_waits_for_other_tasks_are_named(
    wait: Callable[[], Awaitable[object]], words: str
) -> None:
    state = await picture_of(wait)

    assert (state.waits_for, state.needs_a_task) == (words, True)


async def test_waits_in_a_memory_stream_are_named() -> None:
    send, receive = anyio.create_memory_object_stream[int]()
    with send, receive:
        assert (await picture_of(receive.receive)).waits_for == "an item of a memory stream"
        assert (await picture_of(lambda: send.send(1))).waits_for == "room in a memory stream"


async def test_a_worker_thread_is_named_by_what_it_runs() -> None:
    release = threading.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(partial(anyio.to_thread.run_sync, release.wait), name="waiting")
        await anyio.sleep(0.05)
        state = find(task_tree(), "waiting")
        release.set()

    assert "a worker thread" in state.waits_for
    assert "wait" in state.waits_for


async def test_the_caller_of_start_names_the_child_that_has_not_started() -> None:
    async def slow(*, task_status: TaskStatus[None]) -> None:
        await anyio.sleep_forever()

    async def caller() -> None:
        async with anyio.create_task_group() as group:
            await group.start(slow, name="slow")

    state = await picture_of(caller)

    assert state.waits_for == "task_status.started() of task 'slow'"


async def test_a_stack_leads_through_generators_and_wrapped_awaitables_to_the_innermost() -> None:
    async def numbers() -> AsyncIterator[int]:
        await anyio.sleep_forever()
        yield 1

    class Wrapped:
        def __await__(self) -> Any:
            return self.iterate().__await__()

        async def iterate(self) -> None:
            async for _ in numbers():
                pass

    async def outermost() -> None:
        await Wrapped()

    state = await picture_of(outermost)
    functions = [frame.function.rpartition(".")[2] for frame in state.stack]

    assert functions.index("outermost") < functions.index("iterate") < functions.index("numbers")
    assert state.stack[functions.index("numbers")].file == __file__


async def test_the_task_that_asks_is_running_and_its_stack_ends_where_it_asks() -> None:
    tree = task_tree()
    (running,) = [task for task in tree.tasks if task.state == "running"]

    assert any(
        frame.function == "test_the_task_that_asks_is_running_and_its_stack_ends_where_it_asks"
        for frame in running.stack
    )


async def test_scopes_tell_deadline_shield_and_cancellation() -> None:
    release = anyio.Event()

    async def scoped() -> None:
        with anyio.CancelScope() as cancelled:
            cancelled.cancel()
            with anyio.move_on_after(50, shield=True):
                await release.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(scoped, name="scoped")
        await anyio.wait_all_tasks_blocked()
        state = find(task_tree(), "scoped")
        release.set()

    outer, inner = state.scopes[-2:]
    assert (outer.is_cancelled, outer.is_shielded) == (True, False)
    assert (inner.is_cancelled, inner.is_shielded) == (False, True)
    assert 49 < inner.deadline <= 50
    assert not state.is_cancelled


async def test_children_stand_below_their_parents() -> None:
    async def parent() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever, name="child")

    async with anyio.create_task_group() as group:
        group.start_soon(parent, name="parent")
        await anyio.wait_all_tasks_blocked()
        tree = task_tree()
        group.cancel_scope.cancel()

    assert find(tree, "child").parent == find(tree, "parent").id
    assert find(tree, "parent").waits_for == "1 child task: 'child'"
    lines = render_tree(tree, stacks=False).splitlines()
    indents = {line.split("'")[1]: len(line) - len(line.lstrip()) for line in lines if "'" in line}
    assert indents["child"] > indents["parent"]


async def test_two_tasks_that_wait_for_each_others_locks_are_a_deadlock() -> None:
    first, second = anyio.Lock(), anyio.Lock()

    async def take(one: anyio.Lock, other: anyio.Lock) -> None:
        async with one:
            await anyio.lowlevel.checkpoint()
            async with other:
                pass

    async with anyio.create_task_group() as group:
        group.start_soon(take, first, second, name="left")
        group.start_soon(take, second, first, name="right")
        await anyio.wait_all_tasks_blocked()
        tree = task_tree()
        group.cancel_scope.cancel()

    (sentence,) = tree.deadlocks
    assert "'left' waits for the lock that task 'right' holds" in sentence
    assert "'right' waits for the lock that task 'left' holds" in sentence
    assert f"DEADLOCK: {sentence}" in render_tree(tree)


async def test_a_parent_that_holds_what_its_child_waits_for_is_a_deadlock() -> None:
    lock = anyio.Lock()

    async def parent() -> None:
        async with lock, anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever, name="bystander")
            group.start_soon(lock.acquire, name="child")

    async with anyio.create_task_group() as group:
        group.start_soon(parent, name="parent")
        await anyio.wait_all_tasks_blocked()
        tree = task_tree()
        group.cancel_scope.cancel()

    (sentence,) = tree.deadlocks
    assert "'child' waits for the lock that task 'parent' holds" in sentence


async def test_a_lock_that_is_held_by_a_task_that_goes_on_is_no_deadlock() -> None:
    lock = anyio.Lock()

    async def hold() -> None:
        async with lock:
            await anyio.sleep(1000)

    async with anyio.create_task_group() as group:
        group.start_soon(hold)
        group.start_soon(lock.acquire)
        await anyio.wait_all_tasks_blocked()
        tree = task_tree()
        group.cancel_scope.cancel()

    assert tree.deadlocks == ()


def test_a_run_that_nothing_in_it_can_wake_is_a_deadlock() -> None:
    pictures: list[TaskTree] = []

    async def main() -> None:
        event = anyio.Event()

        def look(token: anyio.lowlevel.EventLoopToken) -> None:
            anyio.from_thread.run_sync(lambda: pictures.append(task_tree()), token=token)
            anyio.from_thread.run_sync(event.set, token=token)

        token = anyio.lowlevel.current_token()
        thread = threading.Thread(target=look, args=[token], name="anyio_mio look")
        thread.start()
        await event.wait()
        thread.join()

    anyio_mio.run(main)

    (tree,) = pictures
    assert any("every task waits for another task" in sentence for sentence in tree.deadlocks)


async def wait_for_a_call(event: anyio.Event) -> None:
    await event.wait()


async def wait_in_a_portal(event: anyio.Event) -> None:
    async with anyio.from_thread.BlockingPortal() as portal:
        await portal.sleep_until_stopped()


async def wait_for_a_handler(event: anyio.Event) -> None:
    before = signal.signal(signal.SIGUSR2, lambda number, frame: event.set())
    try:
        await event.wait()
    finally:
        signal.signal(signal.SIGUSR2, before)


async def wait_for_a_signal(event: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGUSR2) as signals:
        async for _ in signals:
            pass


async def wait_for_ever(event: anyio.Event) -> None:
    await anyio.sleep_forever()


async def wait_for_a_timer(event: anyio.Event) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 1000)
        await event.wait()


async def wait_for_a_process(event: anyio.Event) -> None:
    async with await anyio.open_process([sys.executable, "-c", "input()"]) as process:
        try:
            await process.wait()
        finally:
            process.kill()


async def wait_for_a_process_in_a_thread(event: anyio.Event) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes_module, "process_exit", ThreadExit)  # as where pidfds are missing
        await wait_for_a_process(event)


async def wait_for_a_datagram(event: anyio.Event) -> None:
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as udp:
        await udp.receive()


async def wait_for_a_thread(event: anyio.Event) -> None:
    release = threading.Event()
    try:
        await anyio.to_thread.run_sync(release.wait, abandon_on_cancel=True)
    finally:
        release.set()


WAITS: dict[str, tuple[Callable[[anyio.Event], Awaitable[None]], str]] = {
    "a call of a thread": (wait_for_a_call, "a thread"),
    "a portal": (wait_in_a_portal, "a thread"),
    "a signal handler": (wait_for_a_handler, "anyio_mio look"),
    "a signal": (wait_for_a_signal, "anyio_mio look"),
    "nothing": (wait_for_ever, "anyio_mio look"),
    "a timer": (wait_for_a_timer, "anyio_mio look"),
    "a process": (wait_for_a_process, "anyio_mio look"),
    "a process in a thread": (wait_for_a_process_in_a_thread, "anyio_mio look"),
    "a datagram": (wait_for_a_datagram, "anyio_mio look"),
    "a thread": (wait_for_a_thread, "anyio_mio look"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGUSR2")
@pytest.mark.parametrize("wait, thread", WAITS.values(), ids=WAITS)
def test_a_program_that_waits_for_something_outside_is_no_deadlock(
    wait: Callable[[anyio.Event], Awaitable[None]], thread: str
) -> None:
    trees: list[TaskTree] = []

    def look(kernel: Kernel, scope: anyio.CancelScope) -> None:
        time.sleep(0.2)  # until it waits
        trees.append(ask_for_tree(kernel)[0])
        kernel.entry.put(scope.cancel)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            arguments = [running_kernel(), scope]
            threading.Thread(target=look, args=arguments, name=thread).start()
            await wait(anyio.Event())

    anyio_mio.run(main)

    (tree,) = trees
    assert tree.deadlocks == ()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the process of a descriptor")
async def test_a_task_that_waits_for_a_process_names_it() -> None:
    if not hasattr(os, "pidfd_open"):
        pytest.skip("this Python has no pidfd_open()")
    async with await anyio.open_process([sys.executable, "-c", "input()"]) as process:
        state = await picture_of(process.wait)
        process.kill()

    assert state.waits_for == f"wait_readable on process {process.pid}"


def test_the_sentence_about_a_long_circle_names_its_first_tasks() -> None:
    tasks = tuple(
        TaskState(n, None, f"task {n}", "mio", "parked", "a lock", waits_for_tasks=((n + 1) % 500,))
        for n in range(500)
    )

    (sentence,) = find_deadlocks(tasks, can_be_woken=True)

    assert "'task 9' waits for a lock; and 490 more" in sentence


def test_a_picture_follows_the_clock_of_the_run() -> None:
    async def main() -> str:
        return (await picture_of(lambda: anyio.sleep(7))).waits_for

    assert anyio_mio.run(main, clock=MockClock()) == "sleep, 7.0 s left"


async def wait_in_a_circle(limit: Callable[[], Any]) -> TaskTree:
    """A parent holds the lock that its child wants, and waits for the child."""
    lock = anyio.Lock()
    trees: list[TaskTree] = []

    async def child() -> None:
        with limit():
            async with lock:
                pass

    async with lock, anyio.create_task_group() as outer, anyio.create_task_group() as group:
        outer.start_soon(look_and_cancel, trees, group)
        group.start_soon(child, name="child")
    return trees[0]


async def look_and_cancel(trees: list[TaskTree], group: anyio.abc.TaskGroup) -> None:
    await anyio.wait_all_tasks_blocked()
    trees.append(task_tree())
    group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "limit", [partial(anyio.fail_after, 100), partial(anyio.move_on_after, 100)]
)
async def test_a_circle_that_a_time_limit_ends_is_no_deadlock(limit: Callable[[], Any]) -> None:
    tree = await wait_in_a_circle(limit)

    assert tree.deadlocks == ()
    assert 99 < find(tree, "child").time_limit <= 100


async def test_a_limit_that_a_shield_keeps_away_ends_no_wait() -> None:
    lock = anyio.Lock()

    async def child() -> None:
        with anyio.fail_after(100), anyio.CancelScope(shield=True) as scope:
            scopes.append(scope)
            async with lock:
                pass

    scopes: list[anyio.CancelScope] = []
    async with lock, anyio.create_task_group() as group:
        group.start_soon(child, name="child")
        await anyio.wait_all_tasks_blocked()
        tree = task_tree()
        scopes[0].cancel()

    assert find(tree, "child").time_limit == float("inf")


async def test_a_circle_below_a_limit_of_the_parent_is_no_deadlock() -> None:
    with anyio.move_on_after(100):
        tree = await wait_in_a_circle(partial(anyio.CancelScope))

    assert tree.deadlocks == ()


async def test_a_circle_without_a_limit_is_a_deadlock() -> None:
    assert (await wait_in_a_circle(partial(anyio.CancelScope))).deadlocks != ()
