"""UNIX streams: descriptors on the way, messages, half-close, and a listener that is full."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from inspect import signature
from io import IOBase
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream, UNIXSocketStream

import anyio_mio
from anyio_mio.lowlevel import statistics
from anyio_mio.poll._sys.bits import READABLE
from tests.integration.conftest import Polls, Run
from tests.shared.leaks import open_descriptors

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux has it")
has_packets = pytest.mark.skipif(
    "kind" not in signature(anyio.create_unix_listener).parameters,
    reason="AnyIO has SOCK_SEQPACKET from 4.16",
)


@asynccontextmanager
async def stream_and_peer() -> AsyncIterator[tuple[UNIXSocketStream, socket.socket]]:
    """A stream of ours, and the other end as a plain blocking socket."""
    ours, peer = socket.socketpair()
    with peer:
        async with await UNIXSocketStream.from_socket(ours) as stream:
            yield stream, peer


@contextmanager
def a_file(path: Path, content: bytes = b"content") -> Iterator[IOBase]:
    path.write_bytes(content)
    with path.open("rb") as file:
        yield file


def send_with_descriptor(peer: socket.socket, data: bytes, fd: int) -> None:
    peer.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])


def close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def test_a_plain_read_stops_behind_a_descriptor_and_the_next_needs_no_edge(run: Run[None]) -> None:
    async def main() -> None:
        async with stream_and_peer() as (stream, peer), anyio.create_task_group() as tasks:
            first = tasks.create_task(stream.receive())
            await anyio.wait_all_tasks_blocked()
            peer.sendall(b"aaaa")
            send_with_descriptor(peer, b"bbbb", 0)
            peer.sendall(b"cccc")
            received = await first
            while len(received) < 12:
                received += await stream.receive()

        assert received == b"aaaabbbbcccc"

    run(main)


@pytest.mark.invariant("R2")
@linux
@pytest.mark.parametrize("with_descriptor", [False, True])
def test_a_short_read_is_believed_unless_a_descriptor_came_along(
    with_descriptor: bool,
) -> None:
    async def main() -> bool:
        async with stream_and_peer() as (stream, peer), anyio.create_task_group() as tasks:
            first = tasks.create_task(stream.receive())
            await anyio.wait_all_tasks_blocked()
            if with_descriptor:
                send_with_descriptor(peer, b"x", 0)
            else:
                peer.sendall(b"x")
            await first
            ready: int = stream._registration.ready  # type: ignore[attr-defined]
        return not ready & READABLE

    assert anyio_mio.run(main) is not with_descriptor


def test_bytes_behind_a_descriptor_need_no_edge(run: Run[None]) -> None:
    async def main() -> None:
        async with stream_and_peer() as (stream, peer), anyio.create_task_group() as tasks:
            first = tasks.create_task(stream.receive_fds(100, 1))
            await anyio.wait_all_tasks_blocked()
            send_with_descriptor(peer, b"aaaa", 0)
            peer.sendall(b"bbbb")
            received, fds = await first
            close_all(fds)

            assert (received, len(fds)) == (b"aaaa", 1)
            assert await stream.receive() == b"bbbb"

    run(main)


def test_a_descriptor_arrives_as_a_duplicate_that_is_not_inherited(
    run: Run[None], tmp_path: Path
) -> None:
    async def main() -> None:
        one, other = [await UNIXSocketStream.from_socket(end) for end in socket.socketpair()]
        async with one, other:
            with a_file(tmp_path / "file") as file:
                await one.send_fds(b"x", [file, file.fileno()])
            message, fds = await other.receive_fds(10, 5)

        assert message == b"x"
        assert [os.get_inheritable(fd) for fd in fds] == [False, False]
        assert os.read(fds[0], 100) == b"content"
        assert os.lseek(fds[1], 0, os.SEEK_CUR) == len("content")
        close_all(fds)

    run(main)


def test_no_more_descriptors_are_taken_than_were_asked_for(run: Run[None]) -> None:
    async def main() -> None:
        async with stream_and_peer() as (stream, peer):
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 8))
            peer.sendmsg([b"x"], [rights])
            before = open_descriptors()
            _, fds = await stream.receive_fds(1, 1)

            # What the message's room was rounded up to may fit one more; the caller owns all.
            assert len(open_descriptors() - before) == len(fds)
            assert 1 <= len(fds) <= 2
            close_all(fds)

    run(main)


@linux
def test_foreign_ancillary_data_is_refused_and_no_descriptor_is_left(run: Run[None]) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        async with await UNIXSocketStream.from_socket(ours) as stream:
            with peer:
                send_with_descriptor(peer, b"x", 0)
            with pytest.raises(RuntimeError, match="SO_PASSCRED"):
                await stream.receive_fds(10, 10)

    run(main)


def test_a_cancelled_reception_of_descriptors_loses_none(run: Run[None]) -> None:
    async def main() -> None:
        async with stream_and_peer() as (stream, peer):
            for is_late in (True, False) * 5:
                async with anyio.create_task_group() as tasks:
                    handle = tasks.create_task(stream.receive_fds(1, 1))
                    await anyio.wait_all_tasks_blocked()
                    if is_late:
                        tasks.cancel_scope.cancel()
                    send_with_descriptor(peer, b"x", 0)
                    tasks.cancel_scope.cancel()
                was_lost = handle.status is not anyio.TaskHandle.Status.FINISHED
                _, fds = await stream.receive_fds(1, 1) if was_lost else handle.return_value
                assert len(fds) == 1
                close_all(fds)

    run(main)


def test_a_cancelled_sending_of_descriptors_sends_none(run: Run[None]) -> None:
    async def main() -> None:
        async with stream_and_peer() as (stream, peer):
            raw = stream.extra(SocketAttribute.raw_socket)
            with contextlib.suppress(BlockingIOError):
                while True:
                    raw.send(bytes(65536))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stream.send_fds, b"x", [0])
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            await stream.aclose()
            ancillary: list[Any] = []
            while (message := peer.recvmsg(65536, 1000))[0]:
                ancillary += message[1]

        assert ancillary == []

    run(main)


def test_closing_wakes_who_waits_for_descriptors(run: Run[None]) -> None:
    async def main() -> None:
        async with stream_and_peer() as (stream, _), anyio.create_task_group() as tasks:

            async def receive() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await stream.receive_fds(10, 1)

            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()

    run(main)


def test_what_has_sent_its_end_still_receives(run: Run[None]) -> None:
    async def main() -> None:
        async with stream_and_peer() as (stream, peer):
            await stream.send_eof()
            await stream.send_eof()

            assert peer.recv(10) == b""
            peer.sendall(b"still here")
            assert await stream.receive() == b"still here"

    run(main)


@asynccontextmanager
async def packet_streams(path: Path) -> AsyncIterator[tuple[SocketStream, SocketStream]]:
    async with await anyio.create_unix_listener(path, kind=socket.SOCK_SEQPACKET) as listener:
        one = await anyio.connect_unix(path, kind=socket.SOCK_SEQPACKET)
        other = await listener.accept()
    async with one, other:
        yield one, other


@linux
@has_packets
def test_messages_keep_their_bounds_however_long_they_are(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        async with packet_streams(tmp_path / "socket") as (one, other):
            for size in (1, 100_000, 3):
                await one.send(bytes(size))

            assert [len(await other.receive(200_000)) for _ in range(3)] == [1, 100_000, 3]

    run(main)


@linux
@has_packets
def test_an_empty_message_is_not_sent_for_it_would_be_the_end(
    run: Run[None], tmp_path: Path
) -> None:
    async def main() -> None:
        async with packet_streams(tmp_path / "socket") as (one, other):
            await one.send(b"")
            await one.send(b"x")

            assert await other.receive() == b"x"

    run(main)


@linux
@has_packets
def test_a_message_that_can_never_be_sent_breaks_at_once(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        async with packet_streams(tmp_path / "socket") as (one, _):
            with pytest.raises(anyio.BrokenResourceError) as caught:
                await one.send(bytes(2**24))

            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.__cause__.errno == errno.EMSGSIZE

    run(main)


@contextmanager
def full_listener(path: Path) -> Iterator[tuple[socket.socket, list[socket.socket]]]:
    """A listener whose queue holds no more, and who fills it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        clients = []
        try:
            while True:
                client = socket.socket(socket.AF_UNIX)
                clients.append(client)
                client.setblocking(False)
                client.connect(str(path))
        except BlockingIOError:
            yield listener, clients
        finally:
            for client in clients:
                client.close()


@linux
def test_a_full_listener_is_asked_again_until_it_has_room(
    run: Run[None], polls: Polls, tmp_path: Path
) -> None:
    async def main() -> None:
        with full_listener(tmp_path / "socket") as (listener, _):
            async with anyio.create_task_group() as tasks:
                connecting = tasks.create_task(anyio.connect_unix(tmp_path / "socket"))
                before = polls.count
                await anyio.sleep(0.05)
                assert polls.count - before < 50

                listener.accept()[0].close()

            await connecting.return_value.aclose()

    run(main)


@linux
def test_who_waits_for_a_full_listener_can_be_cancelled(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        with full_listener(tmp_path / "socket"), anyio.move_on_after(0.02) as scope:
            await anyio.connect_unix(tmp_path / "socket")

        assert scope.cancelled_caught
        assert statistics().reactor.registrations == 0

    run(main)


def test_a_connection_that_fails_leaves_nothing_open(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await anyio.connect_unix(tmp_path / "nothing")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(tmp_path / "bound"))
            with pytest.raises(ConnectionRefusedError):
                await anyio.connect_unix(tmp_path / "bound")

    run(main)


def test_an_adopted_unix_socket_is_a_unix_stream(run: Run[None]) -> None:
    async def main() -> None:
        for end in socket.socketpair():
            async with await SocketStream.from_socket(end) as stream:
                assert isinstance(stream, UNIXSocketStream)

    run(main)


def test_arguments_that_make_no_sense_are_refused(run: Run[None]) -> None:
    async def main() -> None:
        async with stream_and_peer() as (stream, _):
            with pytest.raises(ValueError, match="message must not be empty"):
                await stream.send_fds(b"", [0])
            with pytest.raises(ValueError, match="fds must not be empty"):
                await stream.send_fds(b"x", [])
            with pytest.raises(ValueError, match="msglen must be a non-negative integer"):
                await stream.receive_fds(-1, 0)
            with pytest.raises(ValueError, match="maxfds must be a positive integer"):
                await stream.receive_fds(1, 0)

    run(main)


def test_the_end_comes_to_who_asks_for_descriptors_too(run: Run[None]) -> None:
    async def main() -> None:
        async with stream_and_peer() as (stream, peer):
            peer.close()
            with pytest.raises(anyio.EndOfStream):
                await stream.receive_fds(10, 1)
            with pytest.raises(anyio.BrokenResourceError) as caught:
                await stream.send_fds(b"x", [0])
            assert isinstance(caught.value.__cause__, BrokenPipeError)

    run(main)


def test_while_one_sends_descriptors_a_second_sender_is_refused(run: Run[None]) -> None:
    async def main() -> None:
        async with stream_and_peer() as (stream, _), anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send_fds, bytes(2**20), [0])
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await stream.send_fds(b"x", [0])
            with pytest.raises(anyio.BusyResourceError):
                await stream.send(b"x")
            tasks.cancel_scope.cancel()

    run(main)


@linux
@has_packets
def test_the_end_of_messages_is_told_and_their_size_is_checked(
    run: Run[None], tmp_path: Path
) -> None:
    async def main() -> None:
        async with packet_streams(tmp_path / "socket") as (one, other):
            with pytest.raises(ValueError, match="max_bytes must be a positive integer"):
                await other.receive(0)
            await one.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await other.receive()

    run(main)


def test_a_descriptor_says_what_it_is(run: Run[None]) -> None:
    async def main() -> None:
        async with stream_and_peer() as (stream, _):
            fd = stream.extra(SocketAttribute.raw_socket).fileno()
            assert repr(stream) == f"<UNIXSocketStream fd={fd}>"
        assert repr(stream) == "<UNIXSocketStream closed>"

    run(main)
