"""UDP: an echo server, and a client that asks again when no answer comes.

    python examples/udp_echo.py          # serves 127.0.0.1 on a free port, and asks it itself

Datagrams may be lost, so the client gives each one a time limit and three attempts. The server
drops every third datagram on purpose, to show that this is not theory.
"""

from __future__ import annotations

from typing import Any

import anyio
from anyio.abc import ConnectedUDPSocket, SocketAttribute, TaskStatus

import anyio_mio

ATTEMPTS, SECONDS = 3, 0.05


async def serve(*, task_status: TaskStatus[Any] = anyio.TASK_STATUS_IGNORED) -> None:
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as udp:
        task_status.started(udp.extra(SocketAttribute.local_port))
        received = 0
        async for data, sender in udp:
            received += 1
            if received % 3:
                await udp.sendto(data, *sender)


async def ask(udp: ConnectedUDPSocket, question: bytes) -> int:
    """Returns how many attempts it took."""
    for attempt in range(1, ATTEMPTS + 1):
        await udp.send(question)
        with anyio.move_on_after(SECONDS):
            while await udp.receive() != question:
                pass  # the late answer to an earlier question
            return attempt
    raise TimeoutError(f"no answer to {question!r} after {ATTEMPTS} attempts")


async def main(questions: int = 6) -> list[int]:
    async with anyio.create_task_group() as group:
        port = await group.start(serve)
        async with await anyio.create_connected_udp_socket("127.0.0.1", port) as udp:
            attempts = [await ask(udp, b"question %d" % number) for number in range(questions)]
        group.cancel_scope.cancel()
    print("attempts for each question:", attempts)
    return attempts


if __name__ == "__main__":
    anyio_mio.run(main)
