"""Use from another thread is told off where the kernel would sleep on and not hear of it (K8)."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

import anyio_mio


def while_the_run_sleeps(use: Callable[[], object]) -> BaseException | None:
    """Call ``use`` in a thread of its own; what it raised."""
    errors: list[BaseException | None] = []

    def work() -> None:
        time.sleep(0.01)  # the kernel is in its system call by then
        try:
            use()
        except BaseException as error:  # noqa: BLE001 - it is the result
            errors.append(error)
        else:
            errors.append(None)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    return errors[0]


async def told_off(use: Callable[[], object]) -> str:
    """Have ``use`` called in another thread while this task waits; the error's text."""
    error = await anyio.to_thread.run_sync(while_the_run_sleeps, use)
    assert isinstance(error, RuntimeError)
    return str(error)


async def ended_by(event: anyio.Event) -> None:
    await event.wait()


@pytest.mark.invariant("K8")
def test_setting_an_event_that_somebody_waits_for() -> None:
    async def main() -> None:
        event = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(ended_by, event)
            await anyio.wait_all_tasks_blocked()

            assert "from_thread.run_sync(event.set)" in await told_off(event.set)

            assert not event.is_set()
            event.set()

    anyio.run(main, backend="mio")


def test_releasing_a_semaphore_that_somebody_waits_for() -> None:
    async def main() -> None:
        semaphore = anyio.Semaphore(0)
        async with anyio.create_task_group() as group:
            group.start_soon(semaphore.acquire)
            await anyio.wait_all_tasks_blocked()

            assert "another thread" in await told_off(semaphore.release)

            semaphore.release()

    anyio.run(main, backend="mio")


@pytest.mark.parametrize("change", ["cancel", "deadline", "shield"])
def test_changing_a_scope_in_which_a_task_is(change: str) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            uses: dict[str, Callable[[], object]] = {
                "cancel": scope.cancel,
                "deadline": lambda: setattr(scope, "deadline", 1.0),
                "shield": lambda: setattr(scope, "shield", True),
            }

            assert "another thread" in await told_off(uses[change])

        assert not scope.cancel_called

    anyio.run(main, backend="mio")


def test_starting_a_task() -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            assert "another thread" in await told_off(lambda: group.start_soon(anyio.sleep, 0))

    anyio.run(main, backend="mio")


@pytest.mark.parametrize("has_data", [True, False])
def test_receiving_from_a_stream(has_data: bool) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            async with await anyio.abc.UNIXSocketStream.from_socket(ours) as stream:
                if has_data:
                    peer.send(b"data")

                text = await told_off(lambda: asyncio.run(stream.receive()))

                assert "in another thread" in text

    anyio.run(main, backend="mio")


def test_receiving_from_a_stream_of_another_run() -> None:
    async def other(stream: anyio.abc.ByteStream) -> None:
        await stream.receive()

    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            async with await anyio.abc.UNIXSocketStream.from_socket(ours) as stream:
                text = await told_off(lambda: anyio_mio.run(other, stream))

                assert "in another thread" in text

    anyio.run(main, backend="mio")


def test_receiving_from_a_stream_after_its_run() -> None:
    streams: list[anyio.abc.ByteStream] = []

    async def first() -> None:
        ours, peer = socket.socketpair()
        peer.close()
        streams.append(await anyio.abc.UNIXSocketStream.from_socket(ours))

    async def second() -> None:
        with pytest.raises(RuntimeError, match="after its run is over"):
            await streams[0].receive()

    anyio.run(first, backend="mio")
    anyio.run(second, backend="mio")

    coro: Coroutine[Any, Any, None] = streams[0].aclose()
    with pytest.raises(RuntimeError, match="after its run is over"):
        coro.send(None)  # the descriptor is released all the same, or a warning would fail this


def test_asking_for_the_current_task() -> None:
    async def main() -> None:
        assert await anyio.to_thread.run_sync(anyio_mio_answers) == "not running"

    def anyio_mio_answers() -> str:
        from anyio_mio import lowlevel

        with pytest.raises(RuntimeError, match="not running in this thread"):
            lowlevel.current_task()
        return "not running"

    anyio.run(main, backend="mio")


def test_the_thread_of_the_run_may_do_all_that_between_two_steps() -> None:
    # In callbacks, and in the code of a test between two steps of its runner.
    from anyio_mio._backend.test_runner import TestRunner

    events: list[anyio.Event] = []

    async def wait() -> None:
        event = anyio.Event()
        events.append(event)
        async with anyio.create_task_group() as group:
            group.start_soon(event.wait)
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(anyio.from_thread.run_sync, event.set)

    with TestRunner({}) as runner:
        runner.run_test(wait, {})

    assert events[0].is_set()
