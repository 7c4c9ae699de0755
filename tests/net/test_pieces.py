"""A large payload goes to the system in pieces: large ones only while no other task is runnable."""

from __future__ import annotations

import socket

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream

from anyio_mio._net.socket_base import MAX_SEND, MAX_SEND_ALONE

pytestmark = pytest.mark.anyio
PAYLOAD = bytes(2 * MAX_SEND_ALONE + MAX_SEND)


class Recorder:
    """A ``send()`` that takes everything, and remembers how much that was."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, data: memoryview, flags: int) -> int:
        self.sizes.append(len(data))
        return len(data)


async def sizes_of_pieces() -> list[int]:
    """Send the payload, and return the sizes that the system was given."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        raw = socket.create_connection(listener.getsockname())
        async with await SocketStream.from_socket(raw) as stream:
            recorder = Recorder()
            stream._send_some = recorder  # type: ignore[attr-defined]
            await stream.send(PAYLOAD)
    return recorder.sizes


async def test_a_task_that_is_alone_sends_large_pieces() -> None:
    assert await sizes_of_pieces() == [MAX_SEND_ALONE, MAX_SEND_ALONE, MAX_SEND]


async def test_a_task_beside_parked_tasks_sends_large_pieces() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        sizes = await sizes_of_pieces()
        group.cancel_scope.cancel()

    assert sizes == [MAX_SEND_ALONE, MAX_SEND_ALONE, MAX_SEND]


async def test_a_task_beside_a_runnable_one_sends_small_pieces() -> None:
    async def spin() -> None:
        while True:
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(spin)
        sizes = await sizes_of_pieces()
        group.cancel_scope.cancel()

    assert set(sizes) == {MAX_SEND}
    assert sum(sizes) == len(PAYLOAD)
