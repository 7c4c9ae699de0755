"""The recipe of docs/guides/trio.md for stopping in good order."""

from __future__ import annotations

import functools

import trio

import anyio_mio.trio as mio_trio
from tests.trio.running import everything_is_blocked, run


def test_handlers_in_a_nursery_of_their_own_outlive_the_server() -> None:
    async def answer_late(stream: mio_trio.SocketStream) -> None:
        await stream.receive_some()
        await go_on.wait()
        await stream.send_all(b"late")

    async def main() -> bytes:
        async with trio.open_nursery() as handlers:
            async with trio.open_nursery() as serving:
                serve = functools.partial(
                    mio_trio.serve_tcp, answer_late, 0, host="127.0.0.1", handler_nursery=handlers
                )
                (listener,) = await serving.start(serve)
                stream = await mio_trio.open_tcp_stream(*listener.socket.getsockname())
                await stream.send_all(b"x")
                await everything_is_blocked()
                serving.cancel_scope.cancel()
            handlers.cancel_scope.deadline = trio.current_time() + 5
            async with stream:
                go_on.set()
                return await stream.receive_some()

    go_on = trio.Event()
    assert run(main) == b"late"
