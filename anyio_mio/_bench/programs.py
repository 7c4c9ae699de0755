"""Small AnyIO programs that do one thing `n` times, for the rows that need no server."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import anyio.abc
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

Program = Callable[[int], Awaitable[None]]
Goes = dict[str, tuple[Program, int]]

WORKERS: Final = 10  # tasks that want the same lock
SPREAD: Final = 0.01  # seconds over which the deadlines of sleepers lie


async def nothing() -> None:
    """End at the first step."""


async def start_and_wait(
    group: anyio.abc.TaskGroup, n: int, wait: Callable[[], Awaitable[None]]
) -> None:
    """Start tasks that wait for something, and return when all of them do."""
    everybody = anyio.Event()
    missing = n

    async def child() -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            everybody.set()
        await wait()

    for _ in range(n):
        group.start_soon(child)
    await everybody.wait()


async def checkpoint(n: int) -> None:
    """Go through a checkpoint while no other task is runnable."""
    for _ in range(n):
        await anyio.lowlevel.checkpoint()


async def spawn(n: int) -> None:
    """Start a task that ends at once, all in one group."""
    async with anyio.create_task_group() as group:
        for _ in range(n):
            group.start_soon(nothing)


async def nested(n: int) -> None:
    """Open a group, start two tasks in it that pass a checkpoint, and wait for them."""
    for _ in range(n):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.lowlevel.checkpoint)
            group.start_soon(anyio.lowlevel.checkpoint)


async def ping_pong(n: int) -> None:
    """Wake the other task by an event and wait for its answer by another."""
    balls = [anyio.Event() for _ in range(2 * n + 1)]

    async def player(first: int) -> None:
        for ball in range(first, 2 * n, 2):
            await balls[ball].wait()
            balls[ball + 1].set()

    async with anyio.create_task_group() as group:
        group.start_soon(player, 0)
        group.start_soon(player, 1)
        balls[0].set()


async def memory_stream(n: int) -> None:
    """Hand an item to another task through a stream without a buffer."""
    sender, receiver = anyio.create_memory_object_stream[int](0)

    async def produce() -> None:
        async with sender:
            for item in range(n):
                await sender.send(item)

    async with anyio.create_task_group() as group, receiver:
        group.start_soon(produce)
        async for _ in receiver:
            pass


async def timeout(n: int) -> None:
    """Pass a checkpoint under a deadline that is not reached."""
    for _ in range(n):
        with anyio.move_on_after(60):
            await anyio.lowlevel.checkpoint()


async def sleepers(n: int) -> None:
    """Sleep in a task of its own until a deadline; they lie close together and out of order."""
    async with anyio.create_task_group() as group:
        for number in range(n):
            group.start_soon(anyio.sleep, SPREAD * (number * 7919 % 1009) / 1009)


async def cancel_tree(n: int) -> None:
    """Cancel a task that sleeps; one scope cancels all of them."""
    async with anyio.create_task_group() as group:
        await start_and_wait(group, n, anyio.sleep_forever)
        group.cancel_scope.cancel()


async def readable(n: int) -> None:
    """Wait until a socket is readable, receive a byte and send one back, over a socket pair."""
    left, right = socket.socketpair()

    async def answer() -> None:
        for _ in range(n):
            await anyio.wait_readable(right)
            right.send(right.recv(1))

    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        async with anyio.create_task_group() as group:
            group.start_soon(answer)
            for _ in range(n):
                left.send(b"x")
                await anyio.wait_readable(left)
                left.recv(1)


async def writable(n: int) -> None:
    """Wait until a socket is writable, which it is."""
    left, right = socket.socketpair()
    with left, right:
        for _ in range(n):
            await anyio.wait_writable(left)


async def lock(n: int) -> None:
    """Take a lock that others wait for, pass a checkpoint, and release it."""
    mutex = anyio.Lock()

    async def work() -> None:
        for _ in range(n // WORKERS):
            async with mutex:
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        for _ in range(WORKERS):
            group.start_soon(work)


async def to_thread(n: int) -> None:
    """Run a function in a worker thread and wait for what it returns."""
    for _ in range(n):
        await anyio.to_thread.run_sync(int)


async def from_thread(n: int) -> None:
    """Run a function in the loop's thread, from a worker thread, and wait for what it returns."""

    def calls() -> None:
        for _ in range(n):
            anyio.from_thread.run_sync(int)

    await anyio.to_thread.run_sync(calls)


# How many operations make one go: enough that what surrounds them does not count.
GOES: Final[Goes] = {
    "checkpoint": (checkpoint, 20_000),
    "spawn": (spawn, 4_000),
    "nested": (nested, 2_000),
    "ping-pong": (ping_pong, 4_000),
    "memory-stream": (memory_stream, 5_000),
    "timeout": (timeout, 10_000),
    "sleepers": (sleepers, 4_000),
    "cancel-tree": (cancel_tree, 4_000),
    "wait-readable": (readable, 1_000),
    "wait-writable": (writable, 2_000),
    "lock": (lock, 5_000),
    "to-thread": (to_thread, 500),
    "from-thread": (from_thread, 500),
}
