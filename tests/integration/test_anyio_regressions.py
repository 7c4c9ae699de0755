"""What AnyIO's other backends had to mend from 4.14 on, asked of mio.

AnyIO's own suite covers most of it. Here is what it asks of one backend or one kind of socket only,
and what edge-triggered readiness could break in a way of its own.
"""

from __future__ import annotations

import array
import fcntl
import math
import os
import socket
import termios
import threading
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio.abc import SocketAttribute, SocketListener, SocketStream, UNIXSocketStream

from anyio_mio.lowlevel import statistics
from tests.integration.conftest import Run

LOCAL = "127.0.0.1"


async def listening(kind: str, directory: Path) -> SocketListener:
    if kind == "unix":
        return await anyio.create_unix_listener(directory / "socket")
    multi = await anyio.create_tcp_listener(local_host=LOCAL)
    listener = multi.listeners[0]
    assert isinstance(listener, SocketListener)
    return listener


def test_no_task_runs_in_a_callback_and_the_error_says_so(run: Run[None]) -> None:
    """agronholm/anyio#773."""

    async def main() -> None:
        def call_back() -> None:
            with pytest.raises(RuntimeError, match="no task"):
                anyio.get_current_task()

        await anyio.to_thread.run_sync(anyio.from_thread.run_sync, call_back)

    run(main)


def test_a_datagram_socket_closes_while_another_task_sends(run: Run[None]) -> None:
    """agronholm/anyio#1237: closing hung until the datagram was gone."""

    async def main() -> None:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with other:
            sock = await anyio.abc.ConnectedUNIXDatagramSocket.from_socket(one)

            async def send_until_it_fails() -> None:
                while True:
                    await sock.send(bytes(1000))

            async def send() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await send_until_it_fails()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send)
                await anyio.wait_all_tasks_blocked()
                await sock.aclose()

    run(main)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_closing_a_listener_wakes_accept_and_frees_the_descriptor_though_cancelled(
    run: Run[None], kind: str, tmp_path: Path
) -> None:
    """agronholm/anyio#1288 and #1289."""

    async def main() -> None:
        listener = await listening(kind, tmp_path)
        raw = listener.extra(SocketAttribute.raw_socket)

        async def accept() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await listener.accept()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            await anyio.wait_all_tasks_blocked()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await listener.aclose()
        assert scope.cancelled_caught
        assert raw.fileno() == -1
        assert statistics().reactor.registrations == 0

    run(main)


def test_what_a_cancelled_send_did_not_send_is_not_sent_by_the_next(run: Run[None]) -> None:
    """agronholm/anyio#1299: what it had buffered went out with the next one."""

    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            peer.setblocking(False)
            stream = await SocketStream.from_socket(ours)
            with anyio.move_on_after(0.001):
                await stream.send(b"a" * 2**22)
            taken = len(drain(peer))
            await stream.send(b"b")
            assert 0 < taken < 2**22
            assert drain(peer) == b"b"
            await stream.aclose()

    run(main)


def drain(peer: socket.socket) -> bytes:
    received = bytearray()
    while True:
        try:
            received += peer.recv(65536)
        except BlockingIOError:
            return bytes(received)


@pytest.mark.parametrize("delay", [-1, -math.inf, math.nan])
def test_a_delay_that_is_no_length_of_time_is_refused(run: Run[None], delay: float) -> None:
    """agronholm/anyio#1306."""

    async def main() -> None:
        with pytest.raises(ValueError, match="delay must be a non-negative number"):
            await anyio.sleep(delay)

    run(main)


def test_a_deadline_that_is_no_number_is_refused(run: Run[None]) -> None:
    """agronholm/anyio#1317: it silently meant never."""

    async def main() -> None:
        with pytest.raises(ValueError, match="deadline must not be NaN"):
            anyio.CancelScope(deadline=math.nan)
        scope = anyio.CancelScope()
        with pytest.raises(ValueError, match="deadline must not be NaN"):
            scope.deadline = math.nan
        assert scope.deadline == math.inf

    run(main)


def test_threads_whose_calls_were_cancelled_are_used_again(run: Run[None]) -> None:
    """agronholm/anyio#1352."""

    async def main() -> None:
        await anyio.to_thread.run_sync(int)
        before = threading.active_count()
        for _ in range(20):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.to_thread.run_sync, threading.get_ident)
                    await anyio.lowlevel.checkpoint()
                    scope.cancel()
            await anyio.to_thread.run_sync(int)

        assert threading.active_count() == before

    run(main)


@pytest.mark.parametrize("turns", range(4))
def test_a_connection_that_is_cancelled_in_any_turn_is_closed(run: Run[None], turns: int) -> None:
    """agronholm/anyio#1364. The descriptors are counted by ``run``."""

    async def main() -> None:
        with socket.create_server((LOCAL, 0)) as listener:
            port = listener.getsockname()[1]

            async def connect() -> None:
                async with await anyio.connect_tcp(LOCAL, port):
                    await anyio.sleep_forever()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connect)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()

    run(main)


def test_all_of_a_long_message_is_sent_with_descriptors(run: Run[None]) -> None:
    """agronholm/anyio#1422: a short write was taken for the whole."""
    message = os.urandom(2**20)

    async def main() -> None:
        one, other = [await UNIXSocketStream.from_socket(end) for end in socket.socketpair()]
        received = bytearray()
        async with one, other, anyio.create_task_group() as tasks:
            tasks.start_soon(one.send_fds, message, [0])
            fds = []
            while len(received) < len(message):
                data, some = await other.receive_fds(65536, 4)
                received += data
                fds += some
            for fd in fds:
                os.close(fd)

        assert received == message
        assert len(fds) == 1

    run(main)


def test_nothing_is_read_for_a_receive_that_was_cancelled(run: Run[None]) -> None:
    """agronholm/anyio#1423: reading went on, into a buffer that grew."""

    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            async with await SocketStream.from_socket(ours) as stream:
                with anyio.move_on_after(0.001):
                    await stream.receive()
                peer.sendall(bytes(1000))
                await anyio.wait_all_tasks_blocked()
                waiting = array.array("i", [0])
                fcntl.ioctl(ours.fileno(), termios.FIONREAD, waiting)

                assert waiting[0] == 1000

    run(main)


def test_a_limiter_gives_back_the_token_of_the_borrower_that_was_cancelled(
    run: Run[None],
) -> None:
    """In AnyIO 4.16: the task's own token was given back instead."""

    async def main() -> None:
        limiter = anyio.CapacityLimiter(2)
        async with limiter:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await limiter.acquire_on_behalf_of("another")
            assert scope.cancelled_caught
            assert limiter.borrowed_tokens == 1
            assert "another" not in limiter.statistics().borrowers

    run(main)
