"""A run that spins before it sleeps, with real sockets, threads, timers and signals."""

from __future__ import annotations

import os
import signal
import threading
import time

import anyio
import anyio.abc
import anyio.to_thread
import pytest

import anyio_mio

SPIN = 0.005  # seconds; long enough that what these tests wait for comes during it


async def echo(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


def test_answers_that_come_during_the_spin_are_received() -> None:
    async def main() -> bytes:
        received = b""
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with anyio.create_task_group() as group:
                group.start_soon(listener.serve, echo)
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    for number in range(10):
                        await stream.send(b"%d" % number)
                        received += await stream.receive()
                group.cancel_scope.cancel()
        return received

    assert anyio_mio.run(main, busy_poll=SPIN) == b"0123456789"


def test_a_deadline_within_the_spin_is_not_early() -> None:
    async def main() -> float:
        begin = time.monotonic()
        await anyio.sleep(SPIN / 2)
        return time.monotonic() - begin

    assert anyio_mio.run(main, busy_poll=SPIN) >= SPIN / 2


def test_a_thread_that_ends_during_the_spin_wakes_its_task() -> None:
    async def main() -> list[int]:
        return [await anyio.to_thread.run_sync(abs, -number) for number in range(10)]

    assert anyio_mio.run(main, busy_poll=SPIN) == list(range(10))


def test_ctrl_c_during_the_spin_ends_the_run() -> None:
    interrupt = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))

    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        anyio_mio.run(anyio.sleep_forever, busy_poll=0.01)
    interrupt.join()
