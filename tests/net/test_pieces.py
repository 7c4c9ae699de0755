"""A large payload goes to the system in pieces, and other tasks run between two of them."""

from __future__ import annotations

import itertools
import socket

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream

from anyio_mio._net.socket_base import MAX_SEND

pytestmark = pytest.mark.anyio


async def test_other_tasks_run_between_the_pieces_of_a_large_send() -> None:
    events: list[int | str] = []

    def take_all(data: memoryview, flags: int) -> int:
        events.append(len(data))
        return len(data)

    async def spin() -> None:
        while True:
            events.append("other")
            await anyio.lowlevel.checkpoint()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        raw = socket.create_connection(listener.getsockname())
        async with (
            await SocketStream.from_socket(raw) as stream,
            anyio.create_task_group() as group,
        ):
            stream._send_some = take_all  # type: ignore[attr-defined]
            group.start_soon(spin)
            await stream.send(bytes(3 * MAX_SEND + 1))
            group.cancel_scope.cancel()

    pieces = [each for each in events if each != "other"]
    between = [each for each, after in itertools.pairwise(events) if after != "other"]
    assert pieces == [MAX_SEND, MAX_SEND, MAX_SEND, 1]
    assert set(between[1:]) == {"other"}
