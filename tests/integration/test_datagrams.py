"""Datagrams: refusals, queues that are full, sizes, and sockets that are shut down."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from anyio.abc import (
    ConnectedUDPSocket,
    ConnectedUNIXDatagramSocket,
    SocketAttribute,
    UDPSocket,
    UNIXDatagramSocket,
)

from anyio_mio._net.datagrams import receive_from_ipv6
from tests.integration.conftest import Polls, Run

LOCAL = "127.0.0.1"

linux = pytest.mark.skipif(sys.platform != "linux", reason="as measured on Linux")


def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOCAL, 0))
        return cast(int, sock.getsockname()[1])


@contextmanager
def peer_at(path: Path) -> Iterator[socket.socket]:
    """A UNIX datagram socket of somebody else's, which nobody reads."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.bind(str(path))
        peer.setblocking(False)
        yield peer


def fill(peer: socket.socket) -> None:
    """Fill a UNIX datagram socket's queue with another sender's messages."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.sendto(b"filling", peer.getsockname())


def drain(peer: socket.socket) -> list[bytes]:
    messages = []
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(peer.recv(1000))
    return messages


async def refused(operation: Any) -> None:
    with pytest.raises(anyio.BrokenResourceError) as caught:
        await operation
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


@linux
def test_a_refusal_comes_out_of_the_next_call_and_the_socket_works_on(run: Run[None]) -> None:
    async def main() -> None:
        port = unused_port()
        async with await anyio.create_connected_udp_socket(LOCAL, port) as sock:
            await sock.send(b"refused")
            await refused(sock.receive())
            await sock.send(b"refused")
            await refused(sock.send(b"refused"))

            async with await anyio.create_udp_socket(local_host=LOCAL, local_port=port) as peer:
                await sock.send(b"x")
                assert (await peer.receive())[0] == b"x"

    run(main)


@linux
def test_a_refusal_wakes_who_waits_for_a_datagram(run: Run[None]) -> None:
    async def main() -> None:
        sock = await anyio.create_connected_udp_socket(LOCAL, unused_port())
        async with sock, anyio.create_task_group() as tasks:
            tasks.start_soon(refused, sock.receive())
            await anyio.wait_all_tasks_blocked()
            await sock.send(b"refused")

    run(main)


@linux
def test_who_sends_to_a_full_queue_waits_for_room_without_spinning(
    run: Run[None], polls: Polls, tmp_path: Path
) -> None:
    async def main() -> None:
        with peer_at(tmp_path / "peer") as peer:
            fill(peer)
            async with await anyio.create_unix_datagram_socket() as sock:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(sock.sendto, b"patience", str(tmp_path / "peer"))
                    before = polls.count
                    await anyio.sleep(0.05)
                    assert polls.count - before < 50
                    assert b"patience" not in drain(peer)
                assert drain(peer) == [b"patience"]

    run(main)


@linux
def test_who_is_connected_to_a_full_queue_is_woken_when_there_is_room(
    run: Run[None], polls: Polls, tmp_path: Path
) -> None:
    async def main() -> None:
        with peer_at(tmp_path / "peer") as peer:
            fill(peer)
            path = str(tmp_path / "peer")
            async with await anyio.create_connected_unix_datagram_socket(path) as sock:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(sock.send, b"patience")
                    before = polls.count
                    await anyio.sleep(0.02)
                    assert polls.count - before < 50
                    assert b"patience" not in drain(peer)
                assert drain(peer) == [b"patience"]

    run(main)


@linux
def test_while_one_waits_for_room_a_second_sender_is_refused(
    run: Run[None], tmp_path: Path
) -> None:
    async def main() -> None:
        with peer_at(tmp_path / "peer") as peer:
            fill(peer)
            async with unconnected() as sock, anyio.create_task_group() as tasks:
                tasks.start_soon(sock.sendto, b"x", str(tmp_path / "peer"))
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(anyio.BusyResourceError):
                    await sock.sendto(b"y", str(tmp_path / "peer"))
                tasks.cancel_scope.cancel()

    run(main)


@asynccontextmanager
async def unconnected() -> AsyncIterator[UNIXDatagramSocket]:
    async with await anyio.create_unix_datagram_socket() as sock:
        yield sock


@linux
def test_who_is_cancelled_while_waiting_for_room_has_sent_nothing(
    run: Run[None], tmp_path: Path
) -> None:
    async def main() -> None:
        with peer_at(tmp_path / "peer") as peer:
            fill(peer)
            async with unconnected() as sock:
                with anyio.move_on_after(0.01):
                    await sock.sendto(b"lost", str(tmp_path / "peer"))
                drain(peer)
                await anyio.sleep(0.03)
                assert drain(peer) == []
                await sock.sendto(b"x", str(tmp_path / "peer"))
                assert drain(peer) == [b"x"]

    run(main)


@linux
def test_closing_ends_the_wait_for_room(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        with peer_at(tmp_path / "peer") as peer:
            fill(peer)
            async with unconnected() as sock, anyio.create_task_group() as tasks:

                async def send() -> None:
                    with pytest.raises(anyio.ClosedResourceError):
                        await sock.sendto(b"x", str(tmp_path / "peer"))

                tasks.start_soon(send)
                await anyio.wait_all_tasks_blocked()
                await sock.aclose()

    run(main)


def test_a_peer_that_is_gone_breaks_the_sending(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        async with unconnected() as sock:
            with pytest.raises(anyio.BrokenResourceError) as caught:
                await sock.sendto(b"x", str(tmp_path / "nobody"))
            assert isinstance(caught.value.__cause__, FileNotFoundError)

    run(main)


def test_an_empty_datagram_is_one_too(run: Run[None]) -> None:
    async def main() -> None:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        one, other = [await ConnectedUNIXDatagramSocket.from_socket(end) for end in ends]
        async with one, other:
            await one.send(b"")
            assert await other.receive() == b""
        async with await anyio.create_udp_socket(local_host=LOCAL) as udp:
            port = udp.extra(SocketAttribute.local_port)
            await udp.sendto(b"", LOCAL, port)
            assert await udp.receive() == (b"", (LOCAL, port))

    run(main)


def test_the_longest_datagram_arrives_whole(run: Run[None]) -> None:
    longest = bytes(65_507 if sys.platform == "linux" else 9216)

    async def main() -> None:
        async with await anyio.create_udp_socket(local_host=LOCAL) as sock:
            await sock.sendto(longest, LOCAL, sock.extra(SocketAttribute.local_port))
            assert (await sock.receive())[0] == longest

    run(main)


def test_all_datagrams_of_one_event_are_received(run: Run[None]) -> None:
    async def main() -> None:
        async with await anyio.create_udp_socket(local_host=LOCAL) as sock:
            address = (LOCAL, sock.extra(SocketAttribute.local_port))
            async with anyio.create_task_group() as tasks:
                first = tasks.create_task(sock.receive())
                await anyio.wait_all_tasks_blocked()
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                    for number in range(5):
                        peer.sendto(bytes([number]), address)
                received = [await first] + [await sock.receive() for _ in range(4)]

        assert b"".join(data for data, _ in received) == bytes(range(5))

    run(main)


def test_one_that_was_shut_down_does_not_hold_the_loop(run: Run[None]) -> None:
    """A hang-up stays on such a socket though its reads block."""

    async def main() -> None:
        async with await anyio.create_connected_udp_socket(LOCAL, unused_port()) as sock:
            sock.extra(SocketAttribute.raw_socket).shutdown(socket.SHUT_RDWR)
            with anyio.move_on_after(0.01), contextlib.suppress(anyio.BrokenResourceError):
                while True:
                    await sock.receive()

    run(main)


def test_a_cancelled_receive_loses_no_datagram(run: Run[None]) -> None:
    async def main() -> None:
        async with await anyio.create_udp_socket(local_host=LOCAL) as sock:
            port = sock.extra(SocketAttribute.local_port)
            for is_late in (True, False) * 5:
                async with anyio.create_task_group() as tasks:
                    handle = tasks.create_task(sock.receive())
                    await anyio.wait_all_tasks_blocked()
                    with anyio.CancelScope(shield=True):
                        if is_late:
                            tasks.cancel_scope.cancel()
                        await sock.sendto(b"x", LOCAL, port)
                    tasks.cancel_scope.cancel()
                if handle.status is not anyio.TaskHandle.Status.FINISHED:
                    assert (await sock.receive())[0] == b"x"

    run(main)


def test_one_that_cannot_be_made_leaves_nothing_open(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        async with await anyio.create_udp_socket(local_host=LOCAL) as sock:
            port = sock.extra(SocketAttribute.local_port)
            with pytest.raises(OSError, match="in use"):
                await anyio.create_udp_socket(local_host=LOCAL, local_port=port)
        with pytest.raises(FileNotFoundError):
            await anyio.create_connected_unix_datagram_socket(tmp_path / "nobody")

    run(main)


def test_adopted_sockets_keep_their_kind(run: Run[None]) -> None:
    async def main() -> None:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((LOCAL, 0))
        udp.connect(udp.getsockname())
        async with await ConnectedUDPSocket.from_socket(udp) as connected:
            await connected.send(b"x")
            assert await connected.receive() == b"x"
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        other.close()
        async with await UNIXDatagramSocket.from_socket(one) as unix:
            assert unix.extra(SocketAttribute.family) == socket.AF_UNIX

    run(main)


def test_an_ipv6_address_is_a_pair(run: Run[None]) -> None:
    async def main() -> None:
        try:
            sock: UDPSocket = await anyio.create_udp_socket(socket.AF_INET6, local_host="::1")
        except OSError:
            pytest.skip("no IPv6 here")
        async with sock:
            port = sock.extra(SocketAttribute.local_port)
            await sock.sendto(b"x", "::1", port)
            assert await sock.receive() == (b"x", ("::1", port))

    run(main)


def test_the_scope_of_a_link_local_address_is_in_its_name() -> None:
    class Link:
        def recvfrom(self, size: int, flags: int) -> tuple[bytes, tuple[str, int, int, int]]:
            return b"x", ("fe80::1", 53, 0, 2)

    link = cast(socket.socket, Link())

    assert receive_from_ipv6(link, 10, 0) == (b"x", ("fe80::1%2", 53))
