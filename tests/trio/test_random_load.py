"""Bytes stay whole under random load and random cancellation, as they do on Trio's sockets."""

from __future__ import annotations

import functools
import random
from typing import Any

import pytest
import trio

import anyio_mio.trio as mio_trio
from tests.trio.running import run

CONNECTIONS = 30
BYTES_EACH = 60_000
LARGEST_PIECE = 9_000


async def converse(library: Any, address: tuple[str, int], seed: int) -> bytes:
    """Send random pieces, receive the echo, and leave receives in the middle."""
    rng = random.Random(seed)
    data = rng.randbytes(BYTES_EACH)
    got = bytearray()
    stream = await library.open_tcp_stream(*address)

    async def send() -> None:
        start = 0
        while start < len(data):
            end = start + rng.randint(1, LARGEST_PIECE)
            await stream.send_all(data[start:end])
            start = end
            if rng.random() < 0.2:
                await trio.sleep(rng.random() / 1000)
        await stream.send_eof()

    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while len(got) < len(data):
            with trio.move_on_after(rng.random() / 500):
                got += await stream.receive_some(rng.randint(1, LARGEST_PIECE))
        assert await stream.receive_some() == b""
    assert bytes(got) == data
    return bytes(got)


async def echo(stream: Any) -> None:
    async for data in stream:
        await stream.send_all(data)


async def load(library: Any, seed: int) -> dict[int, bytes]:
    results: dict[int, bytes] = {}

    async def one(address: tuple[str, int], number: int) -> None:
        results[number] = await converse(library, address, seed + number)

    async with trio.open_nursery() as nursery:
        serve = functools.partial(library.serve_tcp, echo, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        async with trio.open_nursery() as clients:
            for number in range(CONNECTIONS):
                clients.start_soon(one, listener.socket.getsockname(), number)
        nursery.cancel_scope.cancel()
    return results


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_program_gets_the_same_bytes_on_both_libraries(seed: int) -> None:
    assert run(load, mio_trio, seed) == run(load, trio, seed)


@pytest.mark.usefixtures("place")
def test_bytes_stay_whole_in_each_place() -> None:
    assert len(run(load, mio_trio, 4)) == CONNECTIONS
