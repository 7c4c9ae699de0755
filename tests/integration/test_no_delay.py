"""Small messages are sent at once, also on connections that came before the listener was ours."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import anyio.abc
import pytest
import trio

import anyio_mio
import anyio_mio.trio as mio_trio
from anyio_mio._net import listeners
from anyio_mio.trio import listeners as trio_listeners


def queue(stack: ExitStack, listening: socket.socket, count: int) -> None:
    for _ in range(count):
        stack.enter_context(socket.create_connection(listening.getsockname()))


def no_delay(sock: Any) -> bool:
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Calls that set the options of one socket."""
    made: list[object] = []

    def noting(real: Callable[[Any], None]) -> Callable[[Any], None]:
        def note(sock: Any) -> None:
            made.append(sock)
            real(sock)

        return note

    for module, name in ((listeners, "set_no_delay"), (trio_listeners, "set_stream_options")):
        monkeypatch.setattr(module, name, noting(getattr(module, name)))
    return made


def test_each_connection_has_the_option_and_only_those_queued_before_cost_a_call(
    calls: list[object],
) -> None:
    async def main() -> None:
        with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as listening:
            queue(stack, listening, 3)
            async with await anyio.abc.SocketListener.from_socket(listening) as listener:
                streams = []
                for late in (0, 0, 0, 5, 0, 0, 0, 0):
                    queue(stack, listening, late)
                    streams.append(await listener.accept())
                    if len(streams) == 3:  # the queue is empty, and the listener learns of it
                        with anyio.move_on_after(0.02):
                            await listener.accept()
                raws = [each.extra(anyio.abc.SocketAttribute.raw_socket) for each in streams]
                assert all(map(no_delay, raws))
                for each in streams:
                    await each.aclose()

    anyio_mio.run(main)
    assert len(calls) == 1 + 3  # the listener, and those that were queued before


def test_inside_trio_too(calls: list[object]) -> None:
    async def main() -> None:
        with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as listening:
            queue(stack, listening, 2)
            ours = trio.socket.from_stdlib_socket(listening)
            async with mio_trio.SocketListener(ours) as listener:
                queue_later = listener.socket
                streams = [await listener.accept() for _ in range(2)]
                with trio.move_on_after(0.02):
                    await listener.accept()
                stack.enter_context(socket.create_connection(queue_later.getsockname()))
                streams.append(await listener.accept())
                for each in streams:
                    assert no_delay(each)
                    await each.aclose()

    trio.run(main)
    assert len(calls) == 1 + 2
