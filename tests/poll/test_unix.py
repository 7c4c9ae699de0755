"""UNIX sockets: streams, listeners and datagrams, by path, abstract and unnamed."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anyio_mio.poll import Poll
from tests.poll.conftest import Pair
from tests.poll.harness import (
    BOTH,
    READABLE,
    WRITABLE,
    A,
    B,
    connected_to,
    expect_events,
    expect_no_events,
    fill,
    receive_all,
    until_it_would_block,
)


@contextmanager
def listening_at(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
        yield listener


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with listening_at(str(tmp_path / "socket")) as listener:
        yield listener


@contextmanager
def datagram_at(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(path))
        end.setblocking(False)
        yield end


def test_a_connection_makes_its_listener_readable(poll: Poll, listener: socket.socket) -> None:
    poll.registry.register(listener, A, READABLE)
    expect_no_events(poll)
    with connected_to(listener):
        expect_events(poll, (A, "readable"))

        [accepted] = until_it_would_block(poll, listener, lambda: listener.accept()[0])

        assert accepted.getsockname() == listener.getsockname()
        accepted.close()


def test_a_second_connection_makes_a_second_event(poll: Poll, listener: socket.socket) -> None:
    poll.registry.register(listener, A, READABLE)
    for _ in range(2):
        with connected_to(listener):
            expect_events(poll, (A, "readable"))
            for accepted in until_it_would_block(poll, listener, lambda: listener.accept()[0]):
                accepted.close()


def test_an_adopted_listener_works_like_any_other(poll: Poll, listener: socket.socket) -> None:
    with socket.socket(fileno=listener.detach()) as adopted:
        poll.registry.register(adopted, A, READABLE)
        with connected_to(adopted):
            expect_events(poll, (A, "readable"))


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_an_abstract_name_is_as_good_as_a_path(poll: Poll, tmp_path: Path) -> None:
    with listening_at(f"\0{tmp_path}") as listener:
        poll.registry.register(listener, A, READABLE)
        with connected_to(listener) as client:
            expect_events(poll, (A, "readable"))
            assert client.getpeername() == f"\0{tmp_path}".encode()


def test_an_unnamed_peer_has_an_empty_address(listener: socket.socket) -> None:
    with connected_to(listener):
        accepted, address = listener.accept()
        with accepted:
            assert address == accepted.getpeername() == ""


def test_a_pair_talks_both_ways(poll: Poll, unix: Pair) -> None:
    one, other = unix
    poll.registry.register(one, A, BOTH)
    poll.registry.register(other, B, BOTH)
    expect_events(poll, (A, "writable"), (B, "writable"))

    one.send(b"ping")
    expect_events(poll, (B, "readable"))
    assert receive_all(poll, other) == b"ping"
    other.send(b"pong")
    expect_events(poll, (A, "readable"))
    assert receive_all(poll, one) == b"pong"


def test_a_full_stream_becomes_writable_once_it_was_read(poll: Poll, unix: Pair) -> None:
    one, other = unix
    poll.registry.register(one, A, WRITABLE)
    expect_events(poll, (A, "writable"))
    written = fill(poll, one)
    expect_no_events(poll)

    assert len(receive_all(poll, other)) == written

    expect_events(poll, (A, "writable"))


def test_the_end_of_the_peer_is_read_closed(poll: Poll, unix: Pair, tells_closing: None) -> None:
    poll.registry.register(unix[0], A, READABLE)

    unix[1].shutdown(socket.SHUT_WR)

    expect_events(poll, (A, "readable read_closed"))


def test_a_closed_peer_closes_both_ways(poll: Poll, unix: Pair, tells_closing: None) -> None:
    poll.registry.register(unix[0], A, BOTH)

    unix[1].close()

    expect_events(poll, (A, "readable read_closed write_closed"))


def test_shutting_down_the_own_reading_is_read_closed(
    poll: Poll, unix: Pair, tells_closing: None
) -> None:
    poll.registry.register(unix[0], A, READABLE)

    unix[0].shutdown(socket.SHUT_RD)

    expect_events(poll, (A, "readable read_closed"))


def test_shutting_down_both_halves_ends_both(poll: Poll, unix: Pair, tells_closing: None) -> None:
    one, other = unix
    poll.registry.register(one, A, BOTH)

    one.shutdown(socket.SHUT_RDWR)

    expect_events(poll, (A, "read_closed write_closed"))
    assert one.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        one.send(b"x")
    assert other.recv(1) == b""


def test_what_was_written_before_closing_is_read_before_the_end(poll: Poll, unix: Pair) -> None:
    one, other = unix
    poll.registry.register(other, B, READABLE)
    one.send(b"farewell")
    one.close()

    expect_events(poll, (B, "readable"))

    assert receive_all(poll, other) == b"farewell"


def test_datagrams_of_a_pair_arrive_one_by_one(poll: Poll) -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        other.setblocking(False)
        poll.registry.register(other, B, READABLE)
        one.send(b"a")
        one.send(b"b")

        expect_events(poll, (B, "readable"))

        assert until_it_would_block(poll, other, lambda: other.recv(64)) == [b"a", b"b"]


def test_datagrams_between_paths_carry_their_sender(poll: Poll, tmp_path: Path) -> None:
    with datagram_at(tmp_path / "one") as one, datagram_at(tmp_path / "other") as other:
        poll.registry.register(other, B, READABLE)
        one.sendto(b"x", other.getsockname())

        expect_events(poll, (B, "readable"))

        assert other.recvfrom(64) == (b"x", str(tmp_path / "one"))


def test_connected_datagrams_end_with_a_shutdown(poll: Poll) -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        poll.registry.register(one, A, READABLE)

        one.shutdown(socket.SHUT_RD)

        expect_events(poll, (A, "readable"))
        assert one.recv(1) == b""


def test_there_are_no_events_after_deregistering(poll: Poll, unix: Pair) -> None:
    one, other = unix
    poll.registry.register(one, A, BOTH)
    poll.registry.deregister(one)
    other.send(b"x")

    expect_no_events(poll)
