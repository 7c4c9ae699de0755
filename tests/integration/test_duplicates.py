"""A duplicate keeps a closed descriptor's entry in the selector alive; it must do no harm (R5)."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from anyio_mio.lowlevel import statistics
from tests.integration.conftest import Run


async def armed(end: socket.socket) -> SocketStream:
    """An adopted stream that the selector knows."""
    stream = await SocketStream.from_socket(end)
    await arm(stream)
    return stream


async def arm(stream: SocketStream) -> None:
    with anyio.move_on_after(0.001):
        await stream.receive()


async def makes_no_stale_event(stream: SocketStream, peer: socket.socket) -> None:
    await stream.aclose()
    before = statistics().reactor.stale_events
    peer.send(b"x")
    await anyio.wait_all_tasks_blocked()
    assert statistics().reactor.stale_events == before


@pytest.mark.invariant("R5")
def test_a_raw_socket_that_was_handed_out_may_be_duplicated(run: Run[None]) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            stream = await anyio.connect_tcp(*listener.getsockname())
            await arm(stream)
            peer, _ = listener.accept()
            with peer, stream.extra(SocketAttribute.raw_socket).dup():
                await makes_no_stale_event(stream, peer)

    run(main)


def test_an_adopted_socket_may_have_a_duplicate_already(run: Run[None]) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer, ours.dup():
            await makes_no_stale_event(await armed(ours), peer)

    run(main)


def test_the_hang_up_of_a_duplicate_does_not_make_its_heir_spin(run: Run[None]) -> None:
    """The heir: a socket that got the number of a closed one, of which somebody has a duplicate."""

    async def main() -> None:
        ours, peer = socket.socketpair()
        heir_end, heir_peer = socket.socketpair()
        stream = await armed(ours)
        with contextlib.ExitStack() as stack:
            stack.enter_context(heir_peer)
            number = ours.fileno()
            stack.callback(os.close, os.dup(number))
            registration: Any = stream
            registration._registration.may_be_shared = False  # nobody knows of the duplicate
            await stream.aclose()
            os.dup2(heir_end.fileno(), number)
            heir_end.close()
            heir = await armed(socket.socket(fileno=number))
            async with heir, anyio.create_task_group() as tasks:
                waiting = tasks.create_task(heir.receive())
                peer.close()  # hangs the duplicate up, under the heir's number
                await anyio.sleep(0.01)
                heir_peer.send(b"x")
                assert await waiting == b"x"

    run(main)


FORKED_SINCE = """
import os, socket, anyio, anyio_mio
from anyio_mio._kernel.kernel import running_kernel

async def main():
    ours, peer = socket.socketpair()
    stream = await anyio.abc.SocketStream.from_socket(ours)
    stream._registration.may_be_shared = False
    with anyio.move_on_after(0.001):
        await stream.receive()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # holds a duplicate of every descriptor until the parent is through
        os._exit(0)
    await stream.aclose()
    peer.send(b"x")
    await anyio.wait_all_tasks_blocked()
    print(running_kernel().reactor.statistics().stale_events)
    os.close(writing)
    os.waitpid(child, 0)
    peer.close()

anyio.run(main, backend="mio", backend_options={"selector": "epoll"})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")
def test_a_fork_makes_duplicates_of_everything() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED_SINCE],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert (ended.stdout, ended.stderr) == ("0\n", "")
