"""Nothing is kept alive by cycles: what ends is gone at once, without the garbage collector."""

from __future__ import annotations

import gc
import socket
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import anyio_mio


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    anyio_mio.run(anyio.sleep, 0)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


IS_LOCKED = getattr(sys, "_is_gil_enabled", lambda: True)()


class Thing:
    """Something that a frame holds."""


async def plain(thing: Thing) -> None:
    await anyio.lowlevel.checkpoint()


async def with_scope(thing: Thing) -> None:
    with anyio.move_on_after(10):
        await anyio.lowlevel.checkpoint()


async def timed_out(thing: Thing) -> None:
    with anyio.move_on_after(0.001):
        await anyio.sleep(1)


async def failed_after(thing: Thing) -> None:
    try:
        with anyio.fail_after(0.001):
            await anyio.sleep(1)
    except TimeoutError:
        pass


async def with_group(thing: Thing) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(plain, thing)
        group.start_soon(with_scope, thing)


async def with_cancelled_group(thing: Thing) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 1)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


async def with_failed_child(thing: Thing) -> None:
    async def fail() -> None:
        raise KeyError

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            await anyio.sleep(1)
    except ExceptionGroup:
        pass


async def with_start(thing: Thing) -> None:
    async def child(*, task_status: anyio.abc.TaskStatus[Thing]) -> None:
        task_status.started(thing)

    async with anyio.create_task_group() as group:
        await group.start(child)


async def with_failed_start(thing: Thing) -> None:
    async def child(*, task_status: anyio.abc.TaskStatus[Thing]) -> None:
        raise KeyError

    try:
        async with anyio.create_task_group() as group:
            await group.start(child)
    except* KeyError:
        pass


async def with_thread(thing: Thing) -> None:
    await anyio.to_thread.run_sync(lambda thing: None, thing)
    with anyio.fail_after(5):  # the thread lets go of its arguments a moment after its report
        await anyio.sleep(0.01)


async def with_failed_thread(thing: Thing) -> None:
    def fail(thing: Thing) -> None:
        raise KeyError

    try:
        await anyio.to_thread.run_sync(fail, thing)
    except KeyError:
        pass
    if not IS_LOCKED:
        # Reference counts are biased: the thread that made the error frees it, when it runs again.
        await anyio.to_thread.run_sync(int)
    await anyio.sleep(0.01)


async def with_socket(thing: Thing) -> None:
    ours, peer = socket.socketpair()
    with peer:
        async with await anyio.abc.UNIXSocketStream.from_socket(ours) as stream:
            peer.send(b"x")
            await stream.receive()
            with anyio.move_on_after(0.001):
                await stream.receive()


async def with_closed_socket(thing: Thing) -> None:
    async def receive(stream: anyio.abc.ByteStream) -> None:
        try:
            await stream.receive()
        except anyio.ClosedResourceError:
            pass

    ours, peer = socket.socketpair()
    with peer:
        stream = await anyio.abc.UNIXSocketStream.from_socket(ours)
        async with anyio.create_task_group() as group:
            group.start_soon(receive, stream)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()


async def with_raw_wait(thing: Thing) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        with anyio.move_on_after(0.001):
            await anyio.wait_readable(ours)
        anyio.notify_closing(ours)


USES = [
    plain,
    with_scope,
    timed_out,
    pytest.param(
        failed_after,
        marks=pytest.mark.skipif(
            sys.version_info >= (3, 12),
            reason="contextlib's own frame keeps the error from 3.12 on, on every backend",
        ),
    ),
    with_group,
    with_cancelled_group,
    with_failed_child,
    with_start,
    with_failed_start,
    with_thread,
    with_failed_thread,
    with_socket,
    with_closed_socket,
    with_raw_wait,
]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_a_task_and_all_it_held_is_gone_when_it_ends(
    use: Callable[[Thing], Coroutine[Any, Any, None]],
) -> None:
    async def hold() -> weakref.ref[Thing]:
        thing = Thing()
        async with anyio.create_task_group() as group:
            group.start_soon(use, thing)
        return weakref.ref(thing)

    async def main() -> None:
        assert (await hold())() is None

    anyio_mio.run(main)


def garbage_of_a_run(rounds: int) -> int:
    """How many objects wait for the garbage collector after a run."""

    async def main() -> None:
        for _ in range(rounds):
            await with_group(Thing())
            await with_cancelled_group(Thing())
            await with_socket(Thing())
            await timed_out(Thing())

    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        anyio_mio.run(main)
        gc.collect()
        return len(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def test_what_a_run_leaves_does_not_grow_with_what_it_did() -> None:
    garbage_of_a_run(1)

    assert garbage_of_a_run(20) <= garbage_of_a_run(2) + 10
