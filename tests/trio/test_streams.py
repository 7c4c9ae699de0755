"""Streams keep Trio's own contract, wherever they wait."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

import anyio_mio.trio as mio_trio
from anyio_mio.trio import streams
from anyio_mio.trio.hub import current_hub
from tests.shared.certificates import client_context, server_context
from tests.trio.conftest import PairMaker
from tests.trio.running import Pair, everything_is_blocked, fill, run, tcp_pair, tcp_streams


def clogged(make_pair: PairMaker) -> PairMaker:
    async def make() -> Pair:
        left, right = await make_pair()
        await fill(left)
        await fill(right)
        return left, right

    return make


@pytest.mark.usefixtures("place")
def test_trios_check_of_half_closeable_streams_passes(make_pair: PairMaker) -> None:
    run(trio.testing.check_half_closeable_stream, make_pair, clogged(make_pair))


@pytest.mark.usefixtures("place")
def test_trios_check_of_two_way_streams_passes_over_tls() -> None:
    for_client, for_server = client_context(), server_context("example.test")

    async def make() -> tuple[trio.SSLStream[mio_trio.SocketStream], ...]:
        client, server = await tcp_pair()
        return (
            trio.SSLStream(client, for_client, server_hostname="example.test"),
            trio.SSLStream(server, for_server, server_side=True),
        )

    run(trio.testing.check_two_way_stream, make, None)


@pytest.mark.usefixtures("place")
def test_a_descriptor_sent_along_does_not_strand_the_bytes_behind_it() -> None:
    async def main() -> list[bytes]:
        ours, theirs = socket.socketpair()
        stream = mio_trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        got: list[bytes] = []

        async def receive() -> None:
            while data := await stream.receive_some():
                got.append(data)

        with theirs:
            async with stream, trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                for _ in range(3):
                    await everything_is_blocked()
                    theirs.send(b"a")
                    socket.send_fds(theirs, [b"b"], [theirs.fileno()])
                    theirs.send(b"c")
                await everything_is_blocked()
                theirs.shutdown(socket.SHUT_WR)
        return got

    assert b"".join(run(main)) == b"abc" * 3


@pytest.mark.usefixtures("place")
def test_data_and_end_that_arrive_together_are_both_received() -> None:
    async def main() -> list[bytes]:
        async with tcp_streams() as (client, server):
            await client.send_all(b"last words")
            await client.aclose()
            await everything_is_blocked()
            return [await server.receive_some(), await server.receive_some()]

    assert run(main) == [b"last words", b""]


@pytest.mark.usefixtures("place")
def test_an_answer_is_sent_in_the_step_in_which_its_request_came() -> None:
    async def main() -> None:
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:

            async def answer() -> None:
                assert await server.receive_some() == b"?"
                nursery.start_soon(nothing_ran_before_the_answer)
                await server.send_all(b"!")
                events.append("answer")

            async def nothing_ran_before_the_answer() -> None:
                events.append("another task")

            events: list[str] = []
            nursery.start_soon(answer)
            await everything_is_blocked()
            await client.send_all(b"?")
            assert await client.receive_some() == b"!"
            await everything_is_blocked()
            assert events == ["answer", "another task"]

    run(main)


def test_a_task_that_only_sends_lets_the_others_run() -> None:
    async def main() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with tcp_streams() as (client, _), trio.open_nursery() as nursery:
            nursery.start_soon(count)
            for _ in range(100):
                await client.send_all(b"x")
            nursery.cancel_scope.cancel()
        return turns

    assert run(main) >= 90


@pytest.mark.invariant("T3")
def test_a_task_that_answers_many_times_lets_the_others_run() -> None:
    async def main() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
            await client.send_all(b"?")
            await server.receive_some()
            nursery.start_soon(count)
            for _ in range(100):
                await server.send_all(b"x")
            nursery.cancel_scope.cancel()
        return turns

    assert run(main) >= 100 - streams.SENDS_PER_RECEIVE - 2


@pytest.mark.invariant("T3")
@pytest.mark.parametrize("operation", ["receive_some", "send_all"])
def test_a_cancelled_operation_does_nothing_though_it_could(operation: str) -> None:
    async def main() -> bytes:
        async with tcp_streams() as (client, server):
            await client.send_all(b"x")
            await everything_is_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await (
                    server.receive_some() if operation == "receive_some" else server.send_all(b"y")
                )
            assert scope.cancelled_caught
            await server.send_eof()
            assert await server.receive_some() == b"x"
            return await client.receive_some()

    assert run(main) == b""


@pytest.mark.invariant("T2")
def test_a_stream_takes_the_trio_socket_over() -> None:
    async def main() -> None:
        left, right = trio.socket.socketpair()
        with right:
            async with trio.open_nursery() as nursery:

                async def wait_with_the_socket() -> None:
                    with pytest.raises(trio.ClosedResourceError):
                        await left.recv(1)

                nursery.start_soon(wait_with_the_socket)
                await everything_is_blocked()
                stream = mio_trio.SocketStream(left)
            assert left.fileno() == -1
            async with stream:
                await right.send(b"x")
                assert await stream.receive_some() == b"x"

    run(main)


@pytest.mark.usefixtures("place")
def test_closing_the_socket_itself_ends_a_receive() -> None:
    async def main() -> None:
        async with tcp_streams() as (_, server), trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await server.receive_some()

            nursery.start_soon(receive)
            await everything_is_blocked()
            server.socket.close()
            await everything_is_blocked()
            with pytest.raises(trio.ClosedResourceError):
                await server.receive_some()
            with pytest.raises(trio.ClosedResourceError):
                await server.send_all(b"x")

    run(main)


@pytest.mark.invariant("T1")
@pytest.mark.usefixtures("place")
def test_waiting_with_the_socket_and_the_stream_at_once_is_trios_busy_error() -> None:
    async def main() -> None:
        async with tcp_streams() as (_, server), trio.open_nursery() as nursery:
            sock = server.socket
            nursery.start_soon(server.receive_some)
            await everything_is_blocked()
            with pytest.raises(trio.BusyResourceError):
                await sock.recv(1)
            nursery.cancel_scope.cancel()

    run(main)


def test_a_stream_is_made_of_a_connected_trio_socket_only() -> None:
    async def main() -> None:
        with socket.socket() as plain, pytest.raises(TypeError, match="Trio socket"):
            mio_trio.SocketStream(plain)  # type: ignore[arg-type]
        with (
            trio.socket.socket(type=socket.SOCK_DGRAM) as datagrams,
            pytest.raises(ValueError, match="SOCK_STREAM"),
        ):
            mio_trio.SocketStream(datagrams)

    run(main)


def test_options_are_those_of_trios_streams() -> None:
    async def main() -> None:
        async with tcp_streams() as pair:
            for stream in pair:
                assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                    low = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
                    assert low == 2**14
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 4) != bytes(4)
            with pytest.raises(TypeError, match="wrong"):
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, None)

    run(main)


def test_a_stream_needs_a_run() -> None:
    left, right = trio.socket.socketpair()
    with left, right, pytest.raises(RuntimeError, match="outside of a run"):
        mio_trio.SocketStream(left)


def test_a_stream_cannot_be_used_outside_a_run() -> None:
    async def main() -> Pair:
        return await tcp_pair()

    client, server = run(main)
    with pytest.raises(RuntimeError, match="must be called from async context"):
        client.send_all(b"x").send(None)
    for stream in (client, server):
        stream._close()


def test_statistics_of_the_hub_are_those_of_its_run() -> None:
    async def main() -> None:
        assert current_hub() is current_hub()
        assert current_hub().snapshot().place == "direct"

    run(main)


def test_a_short_read_is_not_believed_where_the_poller_tells_no_urgent_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("anyio_mio.trio.hub.available_selectors", lambda: ("kqueue", "level"))

    async def main() -> None:
        async with tcp_streams() as (client, server):
            assert not client._registration.trusts_short
            assert not server._registration.trusts_short

    run(main)
