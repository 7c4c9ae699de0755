"""A wait that other code has begun in a task and has dropped leaves nothing behind (K9).

Such code steps a coroutine by hand, inside a task of mio.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio.abc import UNIXSocketStream

from anyio_mio._kernel.kernel import running_kernel

pytestmark = pytest.mark.invariant("K9")

Program = Callable[[], Coroutine[Any, Any, object]]

dropped: list[Coroutine[Any, Any, Any]] = []
"""Coroutines that were begun; the test keeps them until it closes them."""


def begin(coroutine: Coroutine[Any, Any, Any], *, close: bool) -> None:
    """Step a coroutine to its first wait."""
    coroutine.send(None)
    if close:
        coroutine.close()
    else:
        dropped.append(coroutine)


async def lock_of_another_task() -> anyio.Lock:
    """A lock that a system task of the run holds, so that waiting for it takes long."""
    lock = anyio.Lock()

    async def hold() -> None:
        async with lock:
            await anyio.sleep_forever()

    running_kernel().spawn_system(hold(), "holds a lock")
    await anyio.wait_all_tasks_blocked()
    return lock


async def pair() -> tuple[UNIXSocketStream, UNIXSocketStream]:
    one, other = [await UNIXSocketStream.from_socket(end) for end in socket.socketpair()]
    return one, other


async def sleep() -> object:
    return anyio.sleep(0.01)


async def sleep_forever() -> object:
    return anyio.sleep_forever()


async def event() -> object:
    return anyio.Event().wait()


async def lock() -> object:
    return (await lock_of_another_task()).acquire()


async def semaphore() -> object:
    return anyio.Semaphore(0).acquire()


async def limiter() -> object:
    full = anyio.CapacityLimiter(1)
    full.acquire_on_behalf_of_nowait("another")
    return full.acquire()


async def checkpoint() -> object:
    return running_kernel().checkpoint()


async def shielded_checkpoint() -> object:
    return anyio.lowlevel.cancel_shielded_checkpoint()


async def thread() -> object:
    return anyio.to_thread.run_sync(int)


async def abandonable_thread() -> object:
    return anyio.to_thread.run_sync(int, abandon_on_cancel=True)


async def foreign_descriptor() -> object:
    one, other = socket.socketpair()
    keep.append((one, other))
    return anyio.wait_readable(one)


async def stream() -> object:
    one, other = await pair()
    keep.append((one, other))
    return one.receive()


async def group() -> object:
    tasks = anyio.create_task_group()

    async def body() -> None:
        async with tasks:
            tasks.start_soon(anyio.sleep, 0.01)

    return body()


keep: list[tuple[Any, Any]] = []

WAITS: dict[str, Callable[[], Awaitable[object]]] = {
    function.__name__: function
    for function in (
        sleep,
        sleep_forever,
        event,
        lock,
        semaphore,
        limiter,
        checkpoint,
        shielded_checkpoint,
        thread,
        abandonable_thread,
        foreign_descriptor,
        stream,
    )
}


@pytest.fixture(autouse=True)
def close_what_was_kept() -> Any:
    yield
    while dropped:
        dropped.pop().close()
    for ends in keep:
        for end in ends:
            end.close() if isinstance(end, socket.socket) else end._sock.close()
    keep.clear()


@pytest.mark.parametrize("close", [True, False], ids=["closed", "kept"])
@pytest.mark.parametrize("name", WAITS)
def test_the_next_wait_ends_when_it_should(name: str, close: bool) -> None:
    async def main() -> list[object]:
        begin(await WAITS[name](), close=close)  # type: ignore[arg-type]
        event, seen = anyio.Event(), list[object]()

        async def set_later() -> None:
            await anyio.sleep(0.03)
            seen.append("set")
            event.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(set_later)
            await event.wait()
            seen.append("woken")
        return seen

    assert anyio.run(main, backend="mio") == ["set", "woken"]


@pytest.mark.parametrize("name", WAITS)
def test_a_task_that_ends_after_it_is_not_stepped_again(name: str) -> None:
    async def child() -> None:
        begin(await WAITS[name](), close=False)  # type: ignore[arg-type]

    async def main() -> str:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
        await anyio.sleep(0.02)
        return "went on"

    assert anyio.run(main, backend="mio") == "went on"


def test_a_checkpoint_after_it_yields_once() -> None:
    async def main() -> list[int]:
        seen = list[int]()

        async def other() -> None:
            for number in range(3):
                seen.append(number)
                await running_kernel().checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            begin(running_kernel().checkpoint(), close=False)
            await running_kernel().checkpoint()
            await running_kernel().checkpoint()
            seen.append(99)
        return seen

    assert anyio.run(main, backend="mio") == [0, 1, 99, 2]


@pytest.mark.parametrize("close", [True, False], ids=["closed", "kept"])
@pytest.mark.parametrize("primitive", ["event", "lock", "semaphore", "sleep", "stream"])
def test_the_same_thing_can_be_waited_for_again(primitive: str, close: bool) -> None:
    async def main() -> str:
        event, semaphore = anyio.Event(), anyio.Semaphore(0)
        lock = anyio.Lock()
        ours, theirs = await pair()

        async def hold() -> None:
            async with lock:
                await anyio.sleep(0.01)
            event.set()
            semaphore.release()
            await theirs.send(b"x")

        waits: dict[str, Program] = {
            "event": event.wait,
            "lock": lock.acquire,
            "semaphore": semaphore.acquire,
            "sleep": lambda: anyio.sleep(0.01),
            "stream": ours.receive,
        }
        async with anyio.create_task_group() as tasks, ours, theirs:
            tasks.start_soon(hold)
            await anyio.wait_all_tasks_blocked()
            begin(waits[primitive](), close=close)
            with anyio.fail_after(1):
                await waits[primitive]()
        return "done"

    assert anyio.run(main, backend="mio") == "done"


def test_a_lock_has_one_owner() -> None:
    async def main() -> tuple[bool, bool]:
        lock, free = anyio.Lock(), anyio.Event()

        async def hold() -> None:
            async with lock:
                await free.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            await anyio.wait_all_tasks_blocked()
            begin(anyio.sleep(0.001), close=True)
            with anyio.move_on_after(0.02) as scope:
                await lock.acquire()
            free.set()
        return scope.cancelled_caught, lock.locked()

    assert anyio.run(main, backend="mio") == (True, False)


def test_a_thread_gives_its_own_result() -> None:
    async def main() -> object:
        begin(anyio.to_thread.run_sync(lambda: "first"), close=False)
        return await anyio.to_thread.run_sync(lambda: "second")

    assert anyio.run(main, backend="mio") == "second"


def test_a_dropped_read_is_told_apart_from_a_second_direction_by_an_error() -> None:
    async def main() -> bytes:
        ours, theirs = await pair()
        async with ours, theirs:
            with anyio.move_on_after(0.01):
                await ours.send(bytes(2**22))
            await anyio.sleep(0.001)
            begin(ours.receive(), close=True)
            with pytest.raises(RuntimeError, match="right: await coroutine"):
                await ours.send(b"x")
            await theirs.send(b"there")
            return await ours.receive()

    assert anyio.run(main, backend="mio") == b"there"


def test_what_the_other_code_gets_says_what_to_do() -> None:
    # asyncio says "Task got bad yield: ..." with it.
    async def main() -> str:
        coroutine = anyio.sleep(1)
        yielded = coroutine.send(None)
        coroutine.close()
        return repr(yielded)

    assert "await this coroutine in a task of mio" in anyio.run(main, backend="mio")


def test_a_group_that_was_begun_so_does_not_wake_its_task() -> None:
    async def main() -> bool:
        begin(await group(), close=False)  # type: ignore[arg-type]
        with anyio.move_on_after(0.05) as scope:
            await anyio.Event().wait()
        return scope.cancelled_caught

    assert anyio.run(main, backend="mio")
