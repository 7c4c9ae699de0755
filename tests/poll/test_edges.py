"""What a kernel with edges does: the facts that the reactor's shortcuts stand on.

A selector that makes its edges by hand keeps the silent half of them only, so these run on the
native ones.
"""

from __future__ import annotations

import array
import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest

from anyio_mio.poll import Poll, Selector, available_selectors, default_selector
from tests.poll.conftest import Pair
from tests.poll.harness import (
    BOTH,
    PRIORITY,
    QUIET,
    READABLE,
    WRITABLE,
    A,
    B,
    connected_to,
    expect_events,
    expect_no_events,
    fill,
    poll_once,
)

NATIVE = [name for name in available_selectors() if name != "level"]


@pytest.fixture(params=NATIVE)
def make_selector(request: pytest.FixtureRequest) -> Callable[[], Selector]:
    return partial(default_selector, request.param)


@pytest.mark.parametrize("kind", ["tcp", "unix", "udp"])
def test_each_write_is_an_edge_although_nothing_was_read(
    poll: Poll, kind: str, request: pytest.FixtureRequest
) -> None:
    reader, writer = request.getfixturevalue(kind)
    poll.registry.register(reader, A, READABLE)

    for _ in range(3):
        writer.send(b"x")
        assert [event.token for event in poll_once(poll)] == [A]


def test_each_connection_is_an_edge_although_none_was_accepted(
    poll: Poll, listener: socket.socket
) -> None:
    poll.registry.register(listener, A, READABLE)

    with connected_to(listener):
        expect_events(poll, (A, "readable"))
        with connected_to(listener):
            expect_events(poll, (A, "readable"))


def test_a_partial_read_without_new_data_is_silent(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    server.send(b"xyz")
    expect_events(poll, (A, "readable"))

    client.recv(1)

    expect_no_events(poll)


def test_reregistering_after_a_partial_read_looks_again(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    server.send(b"xyz")
    expect_events(poll, (A, "readable"))
    client.recv(1)

    poll.registry.reregister(client, A, READABLE)

    expect_events(poll, (A, "readable"))


def test_reregistering_what_was_drained_is_silent(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    server.send(b"xyz")
    expect_events(poll, (A, "readable"))
    client.recv(3)

    poll.registry.reregister(client, A, READABLE)

    expect_no_events(poll)


def test_a_short_read_means_that_the_next_data_is_an_edge(poll: Poll, tcp: Pair) -> None:
    """So a short read ends a drain, for byte streams, without the read that would block."""
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    for _ in range(3):
        server.send(b"xyz")
        expect_events(poll, (A, "readable"))
        assert client.recv(64) == b"xyz"


def test_a_short_write_means_that_there_will_be_an_edge(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, WRITABLE)
    expect_events(poll, (A, "writable"))
    chunk = b"x" * (1 << 20)
    written = client.send(chunk)
    while (sent := client.send(chunk)) == len(chunk):
        written += sent
    written += sent

    server.setblocking(True)
    while written > 0:
        written -= len(server.recv(1 << 20))

    expect_events(poll, (A, "writable"))


def test_exception_one_the_end_has_no_edge_of_its_own_when_it_came_with_the_data(
    poll: Poll, tcp: Pair
) -> None:
    client, server = tcp
    server.send(b"xyz")
    server.shutdown(socket.SHUT_WR)
    wait_until_the_end_is_queued(client)
    poll.registry.register(client, A, READABLE)
    assert "read_closed" in expect_events(poll, (A, "readable"))[A]

    assert client.recv(64) == b"xyz"

    expect_no_events(poll)
    assert client.recv(64) == b""


def wait_until_the_end_is_queued(stream: socket.socket) -> None:
    with Poll() as probe:
        probe.registry.register(stream, B, READABLE)
        expect_events(probe, (B, "readable read_closed"))


def test_the_end_is_an_edge_when_it_comes_later(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    server.send(b"xyz")
    expect_events(poll, (A, "readable"))
    assert client.recv(64) == b"xyz"

    server.shutdown(socket.SHUT_WR)

    expect_events(poll, (A, "readable read_closed"))


def test_exception_two_a_read_stops_at_the_urgent_mark(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE | PRIORITY)
    server.send(b"before")
    server.send(b"!", socket.MSG_OOB)
    server.send(b"after")
    time.sleep(QUIET)
    expect_events(poll, (A, "readable priority"))

    assert client.recv(64) == b"before"

    expect_no_events(poll)
    assert client.recv(64) == b"after"


@pytest.mark.skipif(sys.platform != "linux", reason="where exactly it stops differs")
@pytest.mark.parametrize("receiver", ["recv", "recvmsg"])
def test_exception_three_a_read_stops_where_descriptors_were_sent(
    poll: Poll, unix: Pair, receiver: str
) -> None:
    """Also the plain `recv`, which never asked for descriptors and drops them."""
    reader, writer = unix
    writer.send(b"before, ")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
    writer.sendmsg([b"with one"], rights)
    writer.send(b"after")
    poll.registry.register(reader, A, READABLE)
    expect_events(poll, (A, "readable"))

    assert receive(reader, receiver) == b"before, with one"

    expect_no_events(poll)
    assert receive(reader, receiver) == b"after"


def receive(stream: socket.socket, receiver: str) -> bytes:
    if receiver == "recv":
        return stream.recv(64)
    data, ancillary, _, _ = stream.recvmsg(64, 64)
    close_descriptors_in(ancillary)
    return data


def close_descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> None:
    for _, _, data in ancillary:
        for fd in array.array("i", data):
            os.close(fd)


def test_exception_four_a_peek_is_never_short(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    server.send(b"xyz")
    expect_events(poll, (A, "readable"))

    assert client.recv(64, socket.MSG_PEEK) == b"xyz"

    expect_no_events(poll)
    assert client.recv(64) == b"xyz"


def test_a_short_datagram_says_nothing_about_the_next(poll: Poll, udp: Pair) -> None:
    one, other = udp
    poll.registry.register(other, B, READABLE)
    one.send(b"a")
    one.send(b"b")
    expect_events(poll, (B, "readable"))

    assert other.recv(64) == b"a"

    expect_no_events(poll)
    assert other.recv(64) == b"b"


def test_reading_makes_no_edge_for_writing_unless_writing_was_blocked(
    poll: Poll, tcp: Pair
) -> None:
    client, server = tcp
    poll.registry.register(client, A, BOTH)
    expect_events(poll, (A, "writable"))
    client.send(b"x")
    server.recv(1)

    expect_no_events(poll)


def test_a_blocked_writer_gets_exactly_one_edge(poll: Poll, unix: Pair) -> None:
    one, other = unix
    poll.registry.register(one, A, WRITABLE)
    expect_events(poll, (A, "writable"))
    left = fill(poll, one)

    edges = 0
    while left:
        left -= len(other.recv(1 << 20))
    edges += len(poll_once(poll))

    assert edges == 1
    expect_no_events(poll)


@pytest.mark.skipif(sys.platform != "linux", reason="kqueue tells this half by itself")
def test_the_own_end_of_writing_is_no_event(poll: Poll, tcp: Pair) -> None:
    client, _ = tcp
    poll.registry.register(client, A, READABLE)

    client.shutdown(socket.SHUT_WR)

    expect_no_events(poll)


@pytest.mark.skipif(sys.platform != "linux", reason="the BSDs lose it before accept")
def test_a_connection_that_was_reset_in_the_queue_is_still_accepted(
    poll: Poll, listener: socket.socket
) -> None:
    poll.registry.register(listener, A, READABLE)
    with connected_to(listener) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    expect_events(poll, (A, "readable"))

    accepted, _ = listener.accept()

    with accepted, pytest.raises(ConnectionResetError):
        accepted.recv(1)
