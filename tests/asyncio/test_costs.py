"""What a wait of a library costs on the loop, in counts: polls, handles, look-ups."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

import anyio_mio
import anyio_mio.asyncio
from anyio_mio.lowlevel import Instrument
from anyio_mio.poll._sys.bits import READABLE

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("A1")]

MOST_SHARED_KEYS = 30
"""Attributes that CPython keeps in an object itself; with more, it makes a dict for them."""


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    first, second = socket.socketpair()
    with closing(first), closing(second):
        first.setblocking(False)
        yield first, second


def attributes(loop: Any) -> dict[str, Any]:
    return dict(loop.__dict__)


async def test_the_loop_of_a_run_keeps_its_attributes_in_the_object() -> None:
    loop = asyncio.get_running_loop()
    assert loop.time() > 0  # it is awake
    assert len(attributes(loop)) <= MOST_SHARED_KEYS
    assert "__getattribute__" not in vars(type(loop))


def test_a_loop_of_its_own_keeps_its_attributes_in_the_object() -> None:
    async def main() -> dict[str, Any]:
        return attributes(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=anyio_mio.asyncio.new_event_loop) as runner:
        assert len(runner.run(main())) <= MOST_SHARED_KEYS


async def test_an_answer_that_is_there_is_read_before_a_task_that_a_step_wakes(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    reader, writer = await asyncio.open_connection(sock=ours)

    async def ask() -> None:
        writer.write(b"question")
        theirs.send(b"answer")

    await asyncio.create_task(ask())
    assert bytes(reader._buffer) == b"answer"  # type: ignore[attr-defined]
    writer.close()
    await writer.wait_closed()


def test_waits_for_tasks_that_write_nothing_poll_no_more_than_turns() -> None:
    class Polls(Instrument):
        count = 0

        def after_poll(self, events: int) -> None:
            self.count += 1

    async def nothing() -> None:
        pass

    async def main() -> None:
        await asyncio.create_task(nothing())
        polls.count = 0
        for _ in range(10):
            await asyncio.create_task(nothing())

    polls = Polls()
    anyio_mio.run(main, instruments=[polls])
    assert polls.count < 10


async def test_a_reader_that_two_polls_report_before_a_step_is_called_once(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    loop: Any = asyncio.get_running_loop()
    calls: list[int] = []
    loop.add_reader(pair[0], calls.append, 1)
    watch = loop._selector.watches[pair[0].fileno()]
    watch.deliver(READABLE, None)
    watch.deliver(READABLE, None)
    await checkpoint()
    assert calls == [1]
    watch.deliver(READABLE, None)
    await checkpoint()
    assert calls == [1, 1]
    loop.remove_reader(pair[0])


async def test_a_callback_before_an_event_of_a_later_poll_runs_before_its_data_is_received(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    loop: Any = asyncio.get_running_loop()
    ours, theirs = pair
    order: list[str] = []

    class Protocol(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            order.append("received")
            loop.call_soon(order.append, "called back")

    transport, _ = await loop.create_connection(Protocol, sock=ours)
    for _ in range(2):
        theirs.send(b"x")
        loop._callbacks._poll_for_answers()
    while len(order) < 4:
        await checkpoint()
    transport.close()
    assert order == ["received", "called back", "received", "called back"]
