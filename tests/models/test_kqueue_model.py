"""The model keeps the rules of kqueue's manual, where they differ from epoll's."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyio_mio.poll._sys.kqueue import (
    EV_ADD,
    EV_CLEAR,
    EV_DELETE,
    EV_EOF,
    EV_ERROR,
    EV_ONESHOT,
    FILTER_READ,
    FILTER_WRITE,
)
from tests.models.kqueue import Kevent, Kqueue

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def queue() -> Iterator[Kqueue]:
    queue = Kqueue()
    yield queue
    queue.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, peer = socket.socketpair()
    with ours, peer:
        yield ours, peer


def add(queue: Kqueue, fd: int, kind: int, flags: int = 0) -> None:
    assert queue.control([Kevent(fd, kind, EV_ADD | flags)], 0) == []


def told(queue: Kqueue) -> list[tuple[int, int]]:
    """The filters that are told of at once, with EV_EOF where it is set."""
    return [(event.filter, event.flags & EV_EOF) for event in queue.control(None, 8, 0)]


READ, WRITE = [(FILTER_READ, 0)], [(FILTER_WRITE, 0)]
READ_EOF, WRITE_EOF = [(FILTER_READ, EV_EOF)], [(FILTER_WRITE, EV_EOF)]


def test_a_level_is_told_as_long_as_it_lasts(queue: Kqueue, pair: Pair) -> None:
    ours, peer = pair
    add(queue, ours.fileno(), FILTER_READ)
    peer.send(b"x")

    assert told(queue) == told(queue) == READ
    ours.recv(1)
    assert told(queue) == []


def test_clear_tells_each_arrival_once(queue: Kqueue, pair: Pair) -> None:
    ours, peer = pair
    add(queue, ours.fileno(), FILTER_READ, EV_CLEAR)

    for _ in range(2):  # the first bytes are still there when the second arrive
        peer.send(b"x")
        assert told(queue) == READ
        assert told(queue) == []


def test_what_was_consumed_before_the_wait_is_not_told(queue: Kqueue, pair: Pair) -> None:
    ours, peer = pair
    add(queue, ours.fileno(), FILTER_READ, EV_CLEAR)
    peer.send(b"x")
    ours.recv(1)

    assert told(queue) == []


def test_oneshot_is_gone_after_one_event(queue: Kqueue, pair: Pair) -> None:
    ours, peer = pair
    add(queue, ours.fileno(), FILTER_READ, EV_ONESHOT)
    peer.send(b"x")

    assert told(queue) == READ
    assert told(queue) == []
    with pytest.raises(FileNotFoundError):
        queue.control([Kevent(ours.fileno(), FILTER_READ, EV_DELETE)], 0)


def test_adding_again_fires_again_and_keeps_the_flags(queue: Kqueue, pair: Pair) -> None:
    ours, peer = pair
    add(queue, ours.fileno(), FILTER_READ, EV_CLEAR)
    peer.send(b"x")
    assert told(queue) == READ

    add(queue, ours.fileno(), FILTER_READ)

    assert told(queue) == READ
    assert told(queue) == []  # it is still EV_CLEAR


def test_closing_takes_the_knotes_along_though_a_duplicate_lives(queue: Kqueue) -> None:
    ours, peer = socket.socketpair()
    with peer, ours.dup():
        add(queue, ours.fileno(), FILTER_READ, EV_CLEAR)
        ours.close()
        peer.send(b"x")

        assert told(queue) == []


def test_a_number_that_was_reused_begins_anew(queue: Kqueue) -> None:
    reader, writer = os.pipe()
    add(queue, reader, FILTER_READ, EV_CLEAR)
    other, peer = socket.socketpair()
    os.dup2(other.fileno(), reader)

    with pytest.raises(FileNotFoundError):
        queue.control([Kevent(reader, FILTER_READ, EV_DELETE)], 0)

    for fd in (reader, writer):
        os.close(fd)
    other.close()
    peer.close()


def test_each_half_of_a_connection_ends_by_itself(queue: Kqueue, pair: Pair) -> None:
    ours, peer = pair
    add(queue, ours.fileno(), FILTER_READ)
    add(queue, peer.fileno(), FILTER_WRITE)
    assert told(queue) == WRITE

    peer.shutdown(socket.SHUT_WR)

    assert sorted(told(queue)) == sorted(READ_EOF + WRITE_EOF)


def test_a_connection_that_is_gone_ends_both_halves(queue: Kqueue, pair: Pair) -> None:
    ours, peer = pair
    add(queue, ours.fileno(), FILTER_READ)
    add(queue, ours.fileno(), FILTER_WRITE)
    peer.close()

    assert sorted(told(queue)) == sorted(READ_EOF + WRITE_EOF)


def test_a_refused_connection_ends_with_an_error(queue: Kqueue) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(address)
        add(queue, sock.fileno(), FILTER_WRITE, EV_CLEAR)

        [event] = queue.control(None, 8, 2)

    assert event.flags & EV_EOF
    assert event.fflags


def test_a_socket_without_a_connection_is_silent(queue: Kqueue) -> None:
    with socket.socket() as sock:
        add(queue, sock.fileno(), FILTER_READ)
        add(queue, sock.fileno(), FILTER_WRITE)

        assert told(queue) == []


def test_a_pipe_without_a_reader_cannot_be_watched_for_writing(queue: Kqueue) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    with pytest.raises(BrokenPipeError):
        add(queue, writer, FILTER_WRITE)
    os.close(writer)


def test_a_regular_file_can_be_watched(queue: Kqueue, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        add(queue, file.fileno(), FILTER_WRITE, EV_ONESHOT)

        assert told(queue) == WRITE


def test_where_there_is_room_a_change_that_fails_is_an_event(queue: Kqueue) -> None:
    [event] = queue.control([Kevent(9999, FILTER_READ, EV_ADD)], 1, 0)

    assert event.flags & EV_ERROR
    assert event.data == errno.EBADF


def test_its_descriptor_is_readable_when_there_are_events(queue: Kqueue, pair: Pair) -> None:
    ours, _ = pair
    outer = Kqueue()
    add(outer, queue.fileno(), FILTER_READ)
    assert told(outer) == []

    add(queue, ours.fileno(), FILTER_WRITE)

    assert told(outer) == READ
    outer.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_none(queue: Kqueue) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0 if queue.closed else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not queue.closed


def test_a_closed_queue_and_a_negative_time_are_refused(queue: Kqueue) -> None:
    with pytest.raises(ValueError, match="positive"):
        queue.control(None, 1, -1)
    queue.close()
    with pytest.raises(ValueError, match="closed"):
        queue.control(None, 1, 0)
