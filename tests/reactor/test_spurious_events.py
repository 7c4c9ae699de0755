"""Events that nothing stands behind are legal, everywhere (P3)."""

from __future__ import annotations

import socket

import anyio
import pytest

import anyio_mio
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio.poll._sys.bits import ERROR, HANGUP, PRIORITY, READ_HANGUP, READABLE, WRITABLE

EVERYTHING = READABLE | WRITABLE | PRIORITY | READ_HANGUP | HANGUP | ERROR


@pytest.mark.invariant("P3")
@pytest.mark.parametrize("bits", [READABLE, WRITABLE, EVERYTHING])
def test_a_stream_tries_and_waits_on(bits: int) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        fd = ours.fileno()
        received: list[bytes] = []

        async def receive(stream: anyio.abc.ByteStream) -> None:
            received.append(await stream.receive())

        with peer:
            async with (
                await anyio.abc.UNIXSocketStream.from_socket(ours) as stream,
                anyio.create_task_group() as group,
            ):
                group.start_soon(receive, stream)
                kernel = running_kernel()
                for _ in range(3):
                    await anyio.wait_all_tasks_blocked()
                    kernel.reactor.turn([(fd, bits)], kernel.resume, kernel.resume)
                await anyio.wait_all_tasks_blocked()
                assert received == []
                peer.send(b"x")

        assert received == [b"x"]

    anyio_mio.run(main)
