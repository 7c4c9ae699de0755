"""asyncio's pipe transports on mio's loop, alone: reading, writing, pausing, and both ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import anyio
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("A1")]


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The two ends of a pipe, which are closed at the end if the test has not."""
    reader, writer = os.pipe()
    with open(reader, "rb", 0) as reading, open(writer, "wb", 0) as writing:
        yield reading, writing


async def reader_of(file: BinaryIO) -> tuple[asyncio.StreamReader, Any]:
    loop, stream = asyncio.get_running_loop(), asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(stream)
    transport, _ = await loop.connect_read_pipe(lambda: protocol, file)
    return stream, transport


class Written(asyncio.BaseProtocol):
    """A writer's protocol, which notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


async def writer_of(file: BinaryIO) -> tuple[Written, Any]:
    protocol = Written()
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: protocol, file)
    return protocol, transport


async def test_what_is_written_into_one_end_is_read_from_the_other(pipe: Any) -> None:
    stream, reading = await reader_of(pipe[0])
    _, writing = await writer_of(pipe[1])

    writing.write(b"hello\n")
    line = await stream.readline()
    writing.close()
    rest = await stream.read()
    reading.close()

    assert (line, rest) == (b"hello\n", b"")


async def test_more_than_a_pipe_holds_waits_in_the_transport_until_it_is_read(pipe: Any) -> None:
    data = os.urandom(1 << 20)
    protocol, writing = await writer_of(pipe[1])
    writing.write(data)
    waiting = writing.get_write_buffer_size()
    stream, reading = await reader_of(pipe[0])
    received = await stream.readexactly(len(data))
    await asyncio.sleep(0)

    assert waiting > 0
    assert received == data
    assert protocol.told == ["pause", "resume"]
    writing.close()
    await protocol.lost
    reading.close()


async def test_a_writer_hears_that_the_reading_end_is_closed(pipe: Any) -> None:
    protocol, _ = await writer_of(pipe[1])
    pipe[0].close()

    with anyio.fail_after(5):
        await protocol.lost


async def test_a_reader_that_is_paused_gets_nothing_until_it_goes_on(pipe: Any) -> None:
    received: list[bytes] = []

    class Reading(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            received.append(data)

    transport, _ = await asyncio.get_running_loop().connect_read_pipe(Reading, pipe[0])
    transport.pause_reading()
    os.write(pipe[1].fileno(), b"hello")
    await asyncio.sleep(0.01)
    before = received.copy()
    transport.resume_reading()
    with anyio.fail_after(5):
        while not received:
            await asyncio.sleep(0.001)
    transport.close()

    assert (before, received) == ([], [b"hello"])


async def test_a_scope_ends_a_read_and_the_pipe_can_be_read_on(pipe: Any) -> None:
    stream, reading = await reader_of(pipe[0])
    with anyio.move_on_after(0.01) as scope:
        await stream.read(100)
    os.write(pipe[1].fileno(), b"later")

    assert scope.cancelled_caught
    assert await stream.read(100) == b"later"
    reading.close()


async def test_closed_pipes_leave_no_watch_and_no_descriptor(pipe: Any) -> None:
    loop: Any = asyncio.get_running_loop()
    before = set(loop._selector.watches)
    _, reading = await reader_of(pipe[0])
    protocol, writing = await writer_of(pipe[1])
    reading.close()
    writing.close()
    with anyio.fail_after(5):
        await protocol.lost
    await asyncio.sleep(0)

    assert set(loop._selector.watches) == before
    assert pipe[0].closed
    assert pipe[1].closed
