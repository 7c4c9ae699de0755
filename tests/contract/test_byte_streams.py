"""One list of demands, made of every kind of byte stream on every selector.

Each demand is a small coroutine, named by the sentence that it holds, which is given a fresh
channel. When it is through and the channel is closed, the number of descriptors, registrations and
tasks must be what it was: so each is a test for leaks as well.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from importlib.metadata import version

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteReceiveStream

from anyio_mio.lowlevel import statistics
from tests.contract.kinds import KINDS, Channel
from tests.models.selectors import SELECTORS
from tests.shared.leaks import open_descriptors

LARGE = bytes(range(256)) * 2**14
"""4 MiB, which no kind takes without a reader."""

SEVERAL_BUDGETS = 200
"""Operations: more than a task may finish without yielding, no more than a UNIX socket buffers."""

Demand = Callable[[Channel], Awaitable[None]]
DEMANDS: dict[str, Demand] = {}


def demand(coroutine: Demand) -> Demand:
    DEMANDS[getattr(coroutine, "__name__")] = coroutine  # noqa: B009 - a Callable has no name
    return coroutine


@demand
async def bytes_arrive_in_the_order_they_were_sent(channel: Channel) -> None:
    for part in (b"a", b"bc", b"d" * 1000):
        await channel.sender.send(part)

    assert await receive_exactly(channel.receiver, 1003) == b"abc" + b"d" * 1000


@demand
async def a_receive_returns_no_more_than_it_was_asked_for(channel: Channel) -> None:
    await channel.sender.send(b"abcdef")

    assert len(await channel.receiver.receive(2)) <= 2


@demand
async def a_receive_waits_for_the_first_byte_only(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        handle = tasks.create_task(channel.receiver.receive(1000))
        await anyio.wait_all_tasks_blocked()
        await channel.sender.send(b"x")

    assert handle.return_value == b"x"


@demand
async def a_receive_of_nothing_is_refused(channel: Channel) -> None:
    for size in (0, -1):
        with pytest.raises(ValueError, match="max_bytes must be a positive integer"):
            await channel.receiver.receive(size)


@demand
async def an_empty_send_adds_nothing(channel: Channel) -> None:
    await channel.sender.send(b"")
    await channel.sender.send(b"x")

    assert await channel.receiver.receive() == b"x"


@demand
async def any_buffer_of_bytes_can_be_sent(channel: Channel) -> None:
    for item in (bytearray(b"ab"), memoryview(b"_cd_")[1:3], b"ef"):
        await channel.sender.send(item)  # type: ignore[arg-type]

    assert await receive_exactly(channel.receiver, 6) == b"abcdef"


@demand
async def what_is_too_large_for_the_system_arrives_whole(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(channel.sender.send, LARGE)

        assert await receive_exactly(channel.receiver, len(LARGE)) == LARGE


@demand
async def a_slow_reader_loses_nothing(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_all, channel, [LARGE[: 2**18]] * 2)
        received = bytearray()
        while len(received) < 2**19:
            await anyio.wait_all_tasks_blocked()
            received += await channel.receiver.receive()

    assert received == LARGE[: 2**18] * 2


@demand
async def chunks_of_any_size_make_the_same_bytes(channel: Channel) -> None:
    chance = random.Random(41)
    cuts = sorted(chance.sample(range(1, 200_000), 150))
    parts = [LARGE[start:end] for start, end in zip([0, *cuts], [*cuts, 200_000], strict=True)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_all, channel, parts)
        received = bytearray()
        while len(received) < 200_000:
            received += await channel.receiver.receive(chance.randint(1, 5000))

    assert received == LARGE[:200_000]


@demand
async def what_was_sent_before_the_end_arrives_before_it(channel: Channel) -> None:
    await channel.sender.send(b"farewell")
    await channel.sender.aclose()

    assert await receive_exactly(channel.receiver, 8) == b"farewell"
    with pytest.raises(anyio.EndOfStream):
        await channel.receiver.receive()


@demand
async def the_end_is_told_as_often_as_one_asks(channel: Channel) -> None:
    await channel.sender.aclose()

    for _ in range(3):
        with pytest.raises(anyio.EndOfStream):
            await channel.receiver.receive()


@demand
async def the_end_wakes_who_waits_for_bytes(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, anyio.EndOfStream, channel.receiver.receive)
        await anyio.wait_all_tasks_blocked()
        await channel.sender.aclose()


@demand
async def an_iteration_stops_at_the_end(channel: Channel) -> None:
    await channel.sender.send(b"abc")
    await channel.sender.aclose()

    assert b"".join([chunk async for chunk in channel.receiver]) == b"abc"


@demand
async def an_end_that_was_closed_receives_nothing(channel: Channel) -> None:
    await channel.sender.send(b"x")
    await channel.receiver.aclose()

    await expect(anyio.ClosedResourceError, channel.receiver.receive)


@demand
async def an_end_that_was_closed_sends_nothing(channel: Channel) -> None:
    await channel.sender.aclose()

    await expect(anyio.ClosedResourceError, channel.sender.send, b"x")


@demand
async def closing_wakes_who_waits_for_bytes(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, anyio.ClosedResourceError, channel.receiver.receive)
        await anyio.wait_all_tasks_blocked()
        await channel.receiver.aclose()


@demand
async def closing_wakes_who_waits_to_send(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, anyio.ClosedResourceError, channel.sender.send, LARGE)
        await anyio.wait_all_tasks_blocked()
        await channel.sender.aclose()


@demand
async def sending_to_an_end_that_has_closed_breaks(channel: Channel) -> None:
    await channel.receiver.aclose()

    await expect(anyio.BrokenResourceError, send_all, channel, [LARGE] * 100)


@demand
async def the_end_of_the_reader_wakes_who_waits_to_send(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, anyio.BrokenResourceError, channel.sender.send, LARGE)
        await anyio.wait_all_tasks_blocked()
        await channel.receiver.aclose()


@demand
async def closing_again_does_nothing(channel: Channel) -> None:
    for end in (channel.sender, channel.receiver):
        await end.aclose()
        await end.aclose()


@demand
async def closing_while_cancelled_closes_and_then_raises(channel: Channel) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await channel.sender.aclose()
        pytest.fail("aclose() is no checkpoint")

    await expect(anyio.ClosedResourceError, channel.sender.send, b"x")


@demand
async def closing_by_force_does_not_wait(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expect, anyio.ClosedResourceError, channel.sender.send, LARGE)
        await anyio.wait_all_tasks_blocked()
        await anyio.aclose_forcefully(channel.sender)


@demand
async def a_cancelled_receive_loses_no_byte(channel: Channel) -> None:
    received: list[bytes] = []

    async def receive_once() -> None:
        received.append(await channel.receiver.receive(1))

    for number in range(50):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive_once)
            await anyio.wait_all_tasks_blocked()
            if number % 2:
                await channel.sender.send(bytes([number]))
            tasks.cancel_scope.cancel()
    await channel.sender.aclose()
    received += [chunk async for chunk in channel.receiver]

    assert b"".join(received) == bytes(range(1, 50, 2))


@demand
async def a_receive_that_is_cancelled_already_takes_nothing(channel: Channel) -> None:
    await channel.sender.send(b"x")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await channel.receiver.receive()
        pytest.fail("receive() is no checkpoint")

    assert await channel.receiver.receive() == b"x"


@demand
async def a_send_that_is_cancelled_already_sends_nothing(channel: Channel) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await channel.sender.send(b"lost")
        pytest.fail("send() is no checkpoint")
    await channel.sender.send(b"x")

    assert await channel.receiver.receive() == b"x"


@demand
async def a_cancelled_send_has_sent_the_beginning(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(channel.sender.send, LARGE)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    await channel.sender.aclose()
    received = b"".join([chunk async for chunk in channel.receiver])

    assert len(received) < len(LARGE)
    assert LARGE.startswith(received)


@demand
async def a_second_receiver_is_refused(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(channel.receiver.receive)
        await anyio.wait_all_tasks_blocked()
        await expect(anyio.BusyResourceError, channel.receiver.receive)
        tasks.cancel_scope.cancel()


@demand
async def a_second_sender_is_refused(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(channel.sender.send, LARGE)
        await anyio.wait_all_tasks_blocked()
        await expect(anyio.BusyResourceError, channel.sender.send, b"x")
        tasks.cancel_scope.cancel()


@demand
async def receiving_what_is_there_lets_others_run(channel: Channel) -> None:
    await channel.sender.send(bytes(SEVERAL_BUDGETS))
    async with anyio.create_task_group() as tasks:
        steps: list[None] = []
        tasks.start_soon(count_steps, steps)
        await receive_exactly(channel.receiver, SEVERAL_BUDGETS, step=1)
        tasks.cancel_scope.cancel()

    assert len(steps) > 2


@demand
async def sending_without_waiting_lets_others_run(channel: Channel) -> None:
    async with anyio.create_task_group() as tasks:
        steps: list[None] = []
        tasks.start_soon(count_steps, steps)
        await send_all(channel, [b"x"] * SEVERAL_BUDGETS)
        tasks.cancel_scope.cancel()

    assert len(steps) > 2


@demand
async def a_deadline_ends_a_stream_that_never_rests(channel: Channel) -> None:
    async def chatter() -> None:
        while True:
            await channel.sender.send(b"x" * 100)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(chatter)
        with anyio.move_on_after(0.02) as scope:
            while True:
                await channel.receiver.receive()
        tasks.cancel_scope.cancel()

    assert scope.cancelled_caught


@demand
async def an_error_in_its_users_leaves_nothing_behind(channel: Channel) -> None:
    async def fail_meanwhile() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(channel.receiver.receive)
            tasks.start_soon(channel.sender.send, LARGE)
            await anyio.lowlevel.checkpoint()
            raise ZeroDivisionError

    await expect(ExceptionGroup, fail_meanwhile)


# What is not demanded of a kind, with the reason.
BUFFERS_OBJECTS = "a memory stream counts objects, so a large one does not block"
ENCRYPTS_FIRST = "a record is encrypted before the checkpoint"
READS_AHEAD = "AnyIO's wrapper has the bytes already, and gives them without a checkpoint"
EXEMPT: dict[str, dict[str, str]] = {
    "memory": {
        "closing_wakes_who_waits_to_send": BUFFERS_OBJECTS,
        "the_end_of_the_reader_wakes_who_waits_to_send": BUFFERS_OBJECTS,
        "closing_by_force_does_not_wait": BUFFERS_OBJECTS,
        "a_cancelled_send_has_sent_the_beginning": BUFFERS_OBJECTS,
        "a_second_sender_is_refused": BUFFERS_OBJECTS,
        "a_second_receiver_is_refused": "a memory stream has any number of receivers",
        "closing_while_cancelled_closes_and_then_raises": "closing one is no checkpoint in AnyIO",
        "receiving_what_is_there_lets_others_run": READS_AHEAD,
    },
    "tls": {
        "a_send_that_is_cancelled_already_sends_nothing": ENCRYPTS_FIRST,
        "receiving_what_is_there_lets_others_run": READS_AHEAD,
    },
    "tls, a server sends": {
        "a_send_that_is_cancelled_already_sends_nothing": ENCRYPTS_FIRST,
        "receiving_what_is_there_lets_others_run": READS_AHEAD,
    },
    "tls, a server receives": {
        "a_send_that_is_cancelled_already_sends_nothing": ENCRYPTS_FIRST,
        "receiving_what_is_there_lets_others_run": READS_AHEAD,
    },
}

ANYIO = tuple(map(int, version("anyio").split(".")[:2]))
if ANYIO < (4, 15):
    for kind in ("memory", "tls", "tls, a server sends"):
        EXEMPT.setdefault(kind, {})["a_receive_of_nothing_is_refused"] = "AnyIO does so from 4.15"
if ANYIO < (4, 16):
    EXEMPT["memory"] |= {
        "an_empty_send_adds_nothing": "before AnyIO 4.16 an empty item is one",
        "closing_wakes_who_waits_for_bytes": "before AnyIO 4.16 closing one wakes only its peer",
    }

CASES = [(name, kind) for kind in KINDS for name in DEMANDS if name not in EXEMPT.get(kind, {})]


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("name,kind", CASES)
def test_of_a_stream(name: str, kind: str, selector: str) -> None:
    async def main() -> None:
        with anyio.fail_after(10):
            # Once for what is made at the first use and stays, such as imports.
            async with KINDS[kind]():
                pass
            before = census()
            async with KINDS[kind]() as channel:
                await DEMANDS[name](channel)
            assert census() == before

    anyio.run(main, backend="mio", backend_options={"selector": SELECTORS[selector]()})


def census() -> tuple[int, int, int]:
    """How many descriptors, registrations and tasks there are."""
    run = statistics()
    return len(open_descriptors()), run.reactor.registrations, run.tasks


async def receive_exactly(receiver: ByteReceiveStream, count: int, step: int = 65536) -> bytes:
    received = bytearray()
    while len(received) < count:
        received += await receiver.receive(min(step, count - len(received)))
    return bytes(received)


async def send_all(channel: Channel, parts: list[bytes]) -> None:
    for part in parts:
        await channel.sender.send(part)


async def expect(
    error: type[Exception], operation: Callable[..., Awaitable[object]], *arguments: object
) -> None:
    with pytest.raises(error):
        await operation(*arguments)


async def count_steps(steps: list[None]) -> None:
    while True:
        steps.append(None)
        await anyio.lowlevel.checkpoint()
