"""TCP streams: connecting, moving bytes, peeking, and what a closed peer looks like."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from anyio_mio.poll import Poll
from tests.poll.conftest import Pair
from tests.poll.harness import (
    BOTH,
    PRIORITY,
    READABLE,
    WRITABLE,
    A,
    B,
    expect_events,
    expect_no_events,
    fill,
    poll_once,
    receive_all,
    until_it_would_block,
)

MUCH = 16 * 1024 * 1024


@contextmanager
def connecting_to(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.setblocking(False)
        try:
            client.connect(address)
        except BlockingIOError:
            pass
        yield client


def abort(stream: socket.socket) -> None:
    """Close with a reset: the peer sees no orderly end."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stream.close()


def test_a_finished_connect_is_writable(poll: Poll, listener: socket.socket) -> None:
    with connecting_to(listener.getsockname()) as client:
        poll.registry.register(client, A, WRITABLE)

        expect_events(poll, (A, "writable"))

        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert client.getpeername() == listener.getsockname()
        assert client.getsockname()[0] == "127.0.0.1"


def test_a_refused_connect_is_told(poll: Poll) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    with connecting_to(address) as client:
        poll.registry.register(client, A, BOTH)

        expect_events(poll, (A, "writable"))

        error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert error == errno.ECONNREFUSED


def test_a_refused_connect_is_closed_and_an_error(poll: Poll, tells_closing: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    with connecting_to(address) as client:
        poll.registry.register(client, A, BOTH)

        expect_events(poll, (A, "writable write_closed error"))


def test_a_client_that_connects_and_closes_is_accepted_and_read_to_its_end(
    poll: Poll, listener: socket.socket
) -> None:
    poll.registry.register(listener, A, READABLE)
    socket.create_connection(listener.getsockname()).close()
    expect_events(poll, (A, "readable"))
    accepted, _ = listener.accept()
    with accepted:
        poll.registry.register(accepted, B, READABLE)

        expect_events(poll, (B, "readable"))

        assert accepted.recv(1) == b""


def test_much_is_read_in_the_order_it_was_written(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    pattern = bytes(range(256)) * (MUCH // 256)
    poll.registry.register(client, A, WRITABLE)
    poll.registry.register(server, B, READABLE)
    received = bytearray()
    rest = memoryview(pattern)

    while len(received) < MUCH:
        events = poll_once(poll)
        assert events, f"stuck at {len(received)}"
        for event in events:
            if event.token == A:
                rest = send_what_fits(poll, client, rest)
            else:
                received += receive_all(poll, server)

    assert bytes(received) == pattern


def send_what_fits(poll: Poll, stream: socket.socket, rest: memoryview) -> memoryview:
    while rest:
        try:
            rest = rest[stream.send(rest) :]
        except BlockingIOError:
            poll.registry.would_block(stream, WRITABLE)
            break
    return rest


def test_peeking_takes_nothing(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    server.send(b"look")
    expect_events(poll, (A, "readable"))

    assert client.recv(9, socket.MSG_PEEK) == b"look"
    assert client.recv(9) == b"look"


def test_a_peek_that_would_block_arms_the_next_event(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    server.send(b"x")
    expect_events(poll, (A, "readable"))
    assert client.recv(9) == b"x"
    with pytest.raises(BlockingIOError):
        client.recv(9, socket.MSG_PEEK)
    poll.registry.would_block(client, READABLE)

    server.send(b"y")

    expect_events(poll, (A, "readable"))


def test_a_full_stream_becomes_writable_once_it_was_read(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, WRITABLE)
    expect_events(poll, (A, "writable"))
    written = fill(poll, client)
    expect_no_events(poll)

    read = 0
    while read < written:
        server.setblocking(True)
        read += len(server.recv(1 << 20))

    expect_events(poll, (A, "writable"))
    assert fill(poll, client) > 0


def test_an_idle_stream_is_writable_once(poll: Poll, tcp: Pair) -> None:
    poll.registry.register(tcp[0], A, BOTH)

    assert expect_events(poll, (A, "writable")) == {A: {"writable"}}
    expect_no_events(poll)


def test_what_was_written_before_closing_arrives(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, WRITABLE)
    poll.registry.register(server, B, READABLE)
    client.send(b"farewell")
    poll.registry.deregister(client)
    client.close()

    expect_events(poll, (B, "readable"))

    assert receive_all(poll, server) == b"farewell"


def test_what_was_written_before_deregistering_arrives(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, WRITABLE)
    client.send(b"still there")
    poll.registry.deregister(client)
    poll.registry.register(server, B, READABLE)

    expect_events(poll, (B, "readable"))

    assert receive_all(poll, server) == b"still there"


def test_there_are_no_events_after_deregistering(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, BOTH)
    poll.registry.deregister(client)
    server.send(b"x")

    expect_no_events(poll)

    assert client.recv(1) == b"x"


def test_options_are_kept_by_a_registered_stream(poll: Poll, tcp: Pair) -> None:
    client, _ = tcp
    poll.registry.register(client, A, BOTH)
    for level, option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (0, socket.IP_TTL)):
        client.setsockopt(level, option, 1)
        assert client.getsockopt(level, option) == 1


def test_urgent_data_is_a_priority(poll: Poll, tcp: Pair, tells_priority: None) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE | PRIORITY)

    server.send(b"!", socket.MSG_OOB)

    expect_events(poll, (A, "readable priority"))
    assert client.recv(1, socket.MSG_OOB) == b"!"


def test_urgent_data_without_interest_does_not_spin(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)

    server.send(b"!", socket.MSG_OOB)

    assert len(poll_once(poll, 0.05)) <= 1
    expect_no_events(poll)


def test_the_end_of_the_peer_is_readable(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    expect_no_events(poll)

    server.shutdown(socket.SHUT_WR)

    expect_events(poll, (A, "readable"))
    assert client.recv(1) == b""
    assert client.send(b"still open this way") == 19


def test_the_end_of_the_peer_is_read_closed(poll: Poll, tcp: Pair, tells_closing: None) -> None:
    client, server = tcp
    poll.registry.register(client, A, BOTH)
    expect_events(poll, (A, "writable"))

    server.shutdown(socket.SHUT_WR)

    assert "write_closed" not in expect_events(poll, (A, "readable read_closed"))[A]


def test_shutting_down_the_own_reading_is_read_closed(
    poll: Poll, tcp: Pair, tells_closing: None
) -> None:
    poll.registry.register(tcp[0], A, READABLE)

    tcp[0].shutdown(socket.SHUT_RD)

    expect_events(poll, (A, "readable read_closed"))


def test_shutting_down_both_halves_is_closed_both_ways(
    poll: Poll, tcp: Pair, tells_closing: None
) -> None:
    client, server = tcp
    poll.registry.register(client, A, BOTH)
    server.shutdown(socket.SHUT_WR)
    client.shutdown(socket.SHUT_RDWR)

    expect_events(poll, (A, "read_closed write_closed"))


def test_a_reset_by_the_peer_is_readable_and_then_an_error(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)

    abort(server)

    expect_events(poll, (A, "readable"))
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_reset_by_the_peer_is_closed_both_ways(
    poll: Poll, tcp: Pair, tells_closing: None
) -> None:
    client, server = tcp
    poll.registry.register(client, A, BOTH)

    abort(server)

    expect_events(poll, (A, "readable writable read_closed write_closed error"))


def test_writing_to_a_closed_peer_fails_in_the_end(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, BOTH)
    server.close()

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        write_until_it_fails(poll, client)


def write_until_it_fails(poll: Poll, stream: socket.socket) -> None:
    for _ in range(100):
        until_it_would_block(poll, stream, lambda: stream.send(b"x" * 4096))
        poll_once(poll)


def test_a_peer_that_closes_both_ways_closes_the_stream(
    poll: Poll, tcp: Pair, tells_closing: None
) -> None:
    client, server = tcp
    poll.registry.register(server, B, BOTH)
    server.shutdown(socket.SHUT_WR)

    client.close()

    expect_events(poll, (B, "read_closed write_closed"))


def test_a_stream_shut_down_for_writing_still_reads(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, BOTH)
    client.shutdown(socket.SHUT_WR)
    server.send(b"answer")

    expect_events(poll, (A, "readable"))

    assert receive_all(poll, client) == b"answer"
    with pytest.raises(BrokenPipeError):
        client.send(b"x")
