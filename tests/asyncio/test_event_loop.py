"""A loop of its own goes through its rounds as asyncio's does: poll, then run what is ready.

Programs, and the tests of libraries, do ``await asyncio.sleep(0)`` some times and expect that the
events of these rounds have come. So each program here says in which round it saw what, and mio's
loop has to give the answer of asyncio's.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from anyio_mio.asyncio import new_event_loop
from anyio_mio.asyncio.callbacks import SLICE
from anyio_mio.poll import available_selectors
from tests.asyncio.threads import until_it_sleeps

ROUNDS = 8
pytestmark = pytest.mark.invariant("A1")

Program = Callable[[list[str]], Awaitable[None]]


async def count_rounds(seen: list[str]) -> None:
    for number in range(ROUNDS):
        seen.append(f"round {number}")
        await asyncio.sleep(0)


async def a_reader(seen: list[str]) -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        loop.add_reader(left, lambda: seen.append(f"read {left.recv(10)!r}"))
        right.send(b"x")
        await count_rounds(seen)
        loop.remove_reader(left)


async def a_reader_whose_bytes_come_later(seen: list[str]) -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        loop.add_reader(left, lambda: seen.append(f"read {left.recv(10)!r}"))
        loop.call_soon(lambda: loop.call_soon(right.send, b"x"))
        await count_rounds(seen)
        loop.remove_reader(left)


async def a_writer(seen: list[str]) -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()

    def write() -> None:
        seen.append("writable")
        loop.remove_writer(left)

    with left, right:
        loop.add_writer(left, write)
        await count_rounds(seen)


async def a_timer_that_is_due(seen: list[str]) -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(-1, seen.append, "timer")
    loop.call_soon(lambda: loop.call_later(-1, seen.append, "timer of a callback"))
    await count_rounds(seen)


async def a_stream_that_its_peer_closes(seen: list[str]) -> None:
    left, right = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=left)

    async def read() -> None:
        seen.append(f"read {await reader.read()!r}")
        writer.close()

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    right.close()
    await count_rounds(seen)
    await task
    await writer.wait_closed()


async def a_connection_that_is_aborted(seen: list[str]) -> None:
    left, right = socket.socketpair()
    _, ours = await asyncio.open_connection(sock=left)
    reader, theirs = await asyncio.open_connection(sock=right)

    async def read() -> None:
        try:
            seen.append(f"read {await reader.read()!r}")
        finally:
            theirs.close()

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    ours.transport.abort()
    await count_rounds(seen)
    await task
    await theirs.wait_closed()


def run(program: Program, factory: Callable[[], asyncio.AbstractEventLoop]) -> dict[str, int]:
    """Return how many rounds had begun when each event came."""
    seen: list[str] = []
    with asyncio.Runner(loop_factory=factory) as runner:

        async def main() -> None:
            await program(seen)

        runner.run(main())
    rounds = [event.startswith("round") for event in seen]
    return {event: sum(rounds[:place]) for place, event in enumerate(seen) if not rounds[place]}


@pytest.mark.parametrize("selector", available_selectors())
@pytest.mark.parametrize(
    "program",
    [
        a_reader,
        a_reader_whose_bytes_come_later,
        a_writer,
        a_timer_that_is_due,
        a_stream_that_its_peer_closes,
        a_connection_that_is_aborted,
    ],
)
def test_a_program_sees_its_events_in_asyncios_rounds(program: Program, selector: str) -> None:
    expected = run(program, asyncio.SelectorEventLoop)

    assert run(program, partial(new_event_loop, selector=selector)) == expected
    assert max(expected.values()) < ROUNDS


def test_events_of_the_round_that_stops_the_loop_are_handled() -> None:
    """As asyncio does: a round polls, then runs what is ready, and the last one too."""
    seen: list[str] = []
    loop = new_event_loop()
    left, right = socket.socketpair()
    with left, right:
        loop.add_reader(left, lambda: seen.append(f"read {left.recv(10)!r}"))
        right.send(b"x")
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.remove_reader(left)
        loop.close()

    assert seen == ["read b'x'"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_a_loop_runs_on_after_an_error_that_ended_it(
    error: type[BaseException], rounds: int
) -> None:
    loop = new_event_loop()

    def fail(after: int) -> None:
        if after:
            loop.call_soon(fail, after - 1)
        else:
            raise error

    loop.call_soon(fail, rounds)
    with pytest.raises(error):
        loop.run_forever()
    later: list[Any] = []
    loop.call_soon(lambda: loop.call_soon(later.append, 1))
    loop.run_until_complete(asyncio.wait_for(asyncio.sleep(0.01), 5))
    loop.close()

    assert later == [1]


def test_a_flood_of_callbacks_keeps_neither_threads_nor_timers_from_their_round() -> None:
    loop = new_event_loop()
    seen: list[str] = []
    is_over = False

    def flood() -> None:
        if not is_over:
            loop.call_soon(flood)

    async def main() -> None:
        nonlocal is_over
        flood()
        thread = threading.Thread(
            target=loop.call_soon_threadsafe, args=(seen.append, "thread"), daemon=True
        )
        thread.start()
        await asyncio.sleep(10 * SLICE)
        while not seen:
            await asyncio.sleep(SLICE)
        is_over = True
        thread.join()

    loop.run_until_complete(asyncio.wait_for(main(), 5))
    loop.close()

    assert seen == ["thread"]


def test_a_reader_is_called_once_for_each_poll_however_long_the_callbacks_take() -> None:
    """A future that a reader sets must be able to take the reader back before the next event."""
    loop = new_event_loop()
    errors: list[Any] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    left, right = socket.socketpair()
    is_over = False

    def work() -> None:
        end = time.monotonic() + SLICE / 3
        while time.monotonic() < end:
            pass
        if not is_over:
            loop.call_soon(work)

    async def until_readable() -> None:
        future = loop.create_future()
        future.add_done_callback(lambda _: loop.remove_reader(left))
        loop.add_reader(left, future.set_result, None)
        await future

    async def main() -> None:
        nonlocal is_over
        loop.call_soon(work)
        for _ in range(200):
            right.send(b"x")
            await until_readable()
            left.recv(1)
        is_over = True

    with left, right:
        loop.run_until_complete(asyncio.wait_for(main(), 10))
        loop.close()

    assert errors == []


def test_an_event_that_another_thread_sets_wakes_the_loop() -> None:
    async def main() -> None:
        event = asyncio.Event()
        reports: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context["message"]))

        def work() -> None:
            until_it_sleeps(loop)
            event.set()

        thread = threading.Thread(target=work)
        thread.start()
        async with asyncio.timeout(5):
            await event.wait()
        thread.join()
        assert "right: loop.call_soon_threadsafe" in reports[0]

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())
