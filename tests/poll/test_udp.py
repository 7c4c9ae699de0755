"""Datagrams: one at a time, until it would block."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from anyio_mio.poll import Poll
from tests.poll.conftest import Pair
from tests.poll.harness import (
    BOTH,
    READABLE,
    WRITABLE,
    A,
    B,
    expect_events,
    expect_no_events,
    poll_once,
    until_it_would_block,
)

Receive = Callable[[socket.socket], bytes]

RECEIVES: dict[str, Receive] = {
    "recv": lambda source: source.recv(64),
    "recvfrom": lambda source: source.recvfrom(64)[0],
}


def test_connected_sockets_exchange_datagrams(poll: Poll, udp: Pair) -> None:
    one, other = udp
    poll.registry.register(one, A, BOTH)
    poll.registry.register(other, B, BOTH)
    expect_events(poll, (A, "writable"), (B, "writable"))

    one.send(b"ping")
    expect_events(poll, (B, "readable"))
    assert other.recv(64) == b"ping"
    other.send(b"pong")
    expect_events(poll, (A, "readable"))
    assert one.recv(64) == b"pong"


def test_unconnected_sockets_exchange_datagrams(poll: Poll) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        for end in (one, other):
            end.bind(("127.0.0.1", 0))
            end.setblocking(False)
        poll.registry.register(other, B, READABLE)

        one.sendto(b"ping", other.getsockname())

        expect_events(poll, (B, "readable"))
        assert other.recvfrom(64) == (b"ping", one.getsockname())


def test_an_adopted_socket_works_like_any_other(poll: Poll, udp: Pair) -> None:
    one, other = udp
    with socket.socket(fileno=other.detach()) as adopted:
        poll.registry.register(adopted, B, READABLE)
        one.send(b"x")

        expect_events(poll, (B, "readable"))

        assert adopted.recv(64) == b"x"


def test_an_empty_datagram_is_an_event_and_not_the_end(poll: Poll, udp: Pair) -> None:
    one, other = udp
    poll.registry.register(other, B, READABLE)
    for _ in range(2):
        one.send(b"")

        assert "read_closed" not in expect_events(poll, (B, "readable"))[B]

        assert until_it_would_block(poll, other, lambda: other.recv(64)) == [b""]


@pytest.mark.parametrize("name", RECEIVES)
def test_the_next_datagram_after_would_block_is_a_new_event(
    poll: Poll, udp: Pair, name: str
) -> None:
    one, other = udp
    poll.registry.register(other, B, READABLE)
    for word in (b"first", b"second"):
        one.send(word)
        expect_events(poll, (B, "readable"))
        assert until_it_would_block(poll, other, lambda: RECEIVES[name](other)) == [word]
        expect_no_events(poll)


def test_datagrams_that_came_together_may_be_one_event(poll: Poll, udp: Pair) -> None:
    """A short datagram says nothing about the queue behind it."""
    one, other = udp
    poll.registry.register(other, B, READABLE)
    for word in (b"a", b"b", b"c"):
        one.send(word)
    expect_events(poll, (B, "readable"))

    assert until_it_would_block(poll, other, lambda: other.recv(64)) == [b"a", b"b", b"c"]


def test_peeking_takes_nothing(poll: Poll, udp: Pair) -> None:
    one, other = udp
    poll.registry.register(other, B, READABLE)
    one.send(b"look")
    expect_events(poll, (B, "readable"))

    assert other.recv(64, socket.MSG_PEEK) == b"look"
    assert other.recv(64) == b"look"


def test_a_socket_reconnects_while_registered(poll: Poll, udp: Pair) -> None:
    one, other = udp
    poll.registry.register(other, B, READABLE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as third:
        third.bind(("127.0.0.1", 0))
        other.connect(third.getsockname())

        third.sendto(b"new peer", other.getsockname())

        expect_events(poll, (B, "readable"))
        assert until_it_would_block(poll, other, lambda: other.recv(64)) == [b"new peer"]
        assert one.getpeername() == other.getsockname()


def test_a_refused_datagram_is_told(poll: Poll, udp: Pair) -> None:
    one, other = udp
    poll.registry.register(one, A, READABLE)
    other.close()
    one.send(b"nobody there")

    [event] = poll_once(poll)

    # Linux reports the error alone. So an owner who waits for reading must look at errors as well.
    assert event.is_error or event.is_readable
    with pytest.raises(ConnectionRefusedError):
        one.recv(1)
    assert one.send(b"the socket is as good as before") == 31


def test_sending_without_an_address_needs_a_connection() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lone,
        pytest.raises(OSError, match="estination address required"),
    ):
        lone.send(b"x")


@pytest.mark.parametrize(
    "level, option",
    [
        (socket.SOL_SOCKET, socket.SO_BROADCAST),
        (socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP),
        (socket.IPPROTO_IP, socket.IP_MULTICAST_TTL),
        (socket.IPPROTO_IP, socket.IP_TTL),
    ],
)
def test_options_are_kept_by_a_registered_socket(
    poll: Poll, udp: Pair, level: int, option: int
) -> None:
    poll.registry.register(udp[0], A, READABLE)
    udp[0].setsockopt(level, option, 1)

    assert udp[0].getsockopt(level, option) == 1


def test_reregistering_replaces_interest_and_token(poll: Poll, udp: Pair) -> None:
    one, other = udp
    poll.registry.register(other, A, READABLE)
    one.send(b"x")

    poll.registry.reregister(other, B, WRITABLE)

    assert expect_events(poll, (B, "writable")) == {B: {"writable"}}


def test_there_are_no_events_after_deregistering(poll: Poll, udp: Pair) -> None:
    one, other = udp
    poll.registry.register(other, B, READABLE)
    poll.registry.deregister(other)
    one.send(b"x")

    expect_no_events(poll)

    assert other.recv(1) == b"x"
