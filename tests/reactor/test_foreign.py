"""Descriptors of somebody else: level semantics, and never at the cost of a stream of ours (R6)."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyio_mio._reactor.registration import READ_WOULD_BLOCK, WAKES_READER
from anyio_mio.poll._sys.bits import HANGUP, ONESHOT, READABLE, WRITABLE
from tests.kernel.harness import Busy, Closed
from tests.models.selectors import SELECTORS
from tests.reactor.harness import Bench
from tests.shared.leaks import open_descriptors

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=SELECTORS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """On each selector of the platform."""
    bench = Bench(SELECTORS[request.param]())
    yield bench
    bench.reactor.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setblocking(False)
        peer.setblocking(False)
        yield ours, peer


@pytest.mark.invariant("R6")
def test_data_that_a_partial_read_left_behind_ends_the_next_wait(bench: Bench, pair: Pair) -> None:
    ours, peer = pair
    peer.send(b"ab")
    foreign = bench.reactor.foreign
    bench.park("first", foreign.wait_readable, ours.fileno())
    assert bench.turn(1) == ["first"]
    assert ours.recv(1) == b"a"

    bench.park("second", foreign.wait_readable, ours.fileno())

    assert bench.turn(1) == ["second"]


def test_reader_and_writer_wait_for_one_descriptor_and_each_is_woken(
    bench: Bench, pair: Pair
) -> None:
    ours, peer = pair
    foreign = bench.reactor.foreign
    bench.park("reader", foreign.wait_readable, ours.fileno())
    bench.park("writer", foreign.wait_writable, ours.fileno())

    assert bench.turn(1) == ["writer"]
    assert bench.turn() == []
    peer.send(b"x")
    assert bench.turn(1) == ["reader"]


@pytest.mark.invariant("R4")
def test_a_second_waiter_of_one_direction_is_refused(bench: Bench, pair: Pair) -> None:
    foreign, fd = bench.reactor.foreign, pair[0].fileno()
    bench.park("first", foreign.wait_readable, fd)

    with pytest.raises(Busy):
        bench.park("second", foreign.wait_readable, fd)

    assert list(bench.scheduler.parked) == ["first"]


def test_a_cancelled_wait_leaves_room_for_another(bench: Bench, pair: Pair) -> None:
    ours, peer = pair
    foreign = bench.reactor.foreign
    bench.park("first", foreign.wait_readable, ours.fileno())
    assert bench.scheduler.cancel("first")

    bench.park("second", foreign.wait_readable, ours.fileno())
    peer.send(b"x")

    assert bench.turn(1) == ["second"]


def test_a_number_that_was_closed_and_reused_in_silence_works(bench: Bench) -> None:
    foreign = bench.reactor.foreign
    first, first_peer = socket.socketpair()
    fd = first.fileno()
    bench.park("first", foreign.wait_writable, fd)
    assert bench.turn(1) == ["first"]
    first.close()
    second, second_peer = socket.socketpair()
    if second.fileno() != fd:
        os.dup2(second.detach(), fd)
        second = socket.socket(fileno=fd)

    bench.park("second", foreign.wait_writable, fd)

    assert bench.turn(1) == ["second"]
    for end in (first_peer, second, second_peer):
        end.close()


def test_closing_wakes_both_directions(bench: Bench, pair: Pair) -> None:
    ours, _ = pair
    while True:
        try:
            ours.send(b"x" * 65536)
        except BlockingIOError:
            break
    foreign = bench.reactor.foreign
    bench.park("reader", foreign.wait_readable, ours.fileno())
    bench.park("writer", foreign.wait_writable, ours.fileno())

    foreign.notify_closing(ours.fileno())

    assert {task: type(error) for task, error in bench.scheduler.failed.items()} == {
        "reader": Closed,
        "writer": Closed,
    }


def test_closing_a_descriptor_that_nobody_waits_for_is_no_error(bench: Bench) -> None:
    bench.reactor.foreign.notify_closing(9999)


@pytest.mark.parametrize("kind", ["a regular file", "a closed descriptor", "a negative number"])
def test_what_cannot_be_polled_raises_and_leaves_nothing(
    bench: Bench, tmp_path: Path, kind: str
) -> None:
    if kind == "a regular file" and bench.selector.name == "kqueue":
        pytest.skip("kqueue takes regular files")
    path = tmp_path / "file"
    path.touch()
    with path.open() as file:
        number = {"a regular file": file.fileno(), "a closed descriptor": 9999}.get(kind, -1)

        with pytest.raises((OSError, ValueError)) as caught:
            bench.park("task", bench.reactor.foreign.wait_readable, number)

    if isinstance(caught.value, OSError):
        expected = errno.EPERM if kind == "a regular file" else errno.EBADF
        assert caught.value.errno == expected
    assert bench.reactor.statistics().registrations == 0
    assert bench.scheduler.parked == {}


def test_an_event_without_a_waiter_costs_nothing_more() -> None:
    bench = Bench()
    bench.park("task", bench.reactor.foreign.wait_readable, 5)
    bench.scheduler.cancel("task")

    assert bench.deliver((5, READABLE)) == []
    assert bench.calls == [("register", 5)]


def test_the_direction_that_did_not_fire_is_armed_again() -> None:
    bench = Bench()
    bench.park("reader", bench.reactor.foreign.wait_readable, 5)
    bench.park("writer", bench.reactor.foreign.wait_writable, 5)

    bench.deliver((5, WRITABLE))

    assert bench.selector.registered[5] & (READABLE | WRITABLE | ONESHOT) == READABLE | ONESHOT  # type: ignore[attr-defined]


def test_a_hangup_wakes_both_directions() -> None:
    bench = Bench()
    bench.park("reader", bench.reactor.foreign.wait_readable, 5)
    bench.park("writer", bench.reactor.foreign.wait_writable, 5)

    assert bench.deliver((5, HANGUP)) == ["reader", "writer"]


class TestRawSocketOfAStream:
    """A foreign wait for a descriptor that a stream of ours has registered."""

    def test_it_is_woken_and_so_is_the_stream(self, bench: Bench, pair: Pair) -> None:
        # The wait took the stream's entry over, and the stream got no more edges.
        ours, peer = pair
        stream = bench.reactor.register(ours.fileno())
        stream.ready &= READ_WOULD_BLOCK
        bench.park("stream", stream.wait_readable)
        bench.park("foreign", bench.reactor.foreign.wait_readable, ours.fileno())

        peer.send(b"x")

        assert sorted([*bench.turn(1), *bench.turn(0)]) == ["foreign", "stream"]
        assert ours.recv(9) == b"x"
        stream.ready &= READ_WOULD_BLOCK
        bench.park("stream", stream.wait_readable)
        peer.send(b"y")
        assert bench.turn(1) == ["stream"]
        stream.close()

    def test_a_stream_that_registers_later_pushes_it_aside(self, bench: Bench, pair: Pair) -> None:
        # The stream took the entry over, and the foreign wait was never woken.
        ours, peer = pair
        stream = bench.reactor.register(ours.fileno())
        bench.park("foreign", bench.reactor.foreign.wait_readable, ours.fileno())
        stream.ready &= READ_WOULD_BLOCK
        bench.park("stream", stream.wait_readable)

        peer.send(b"x")

        assert sorted([*bench.turn(1), *bench.turn(0)]) == ["foreign", "stream"]
        assert ours.recv(9) == b"x"
        for byte in (b"y", b"z"):  # the entry is the stream's now, for all edges to come
            stream.ready &= READ_WOULD_BLOCK
            bench.park("stream", stream.wait_readable)
            peer.send(byte)
            assert bench.turn(1) == ["stream"]
            assert ours.recv(9) == byte
        stream.close()

    def test_a_stream_whose_number_was_waited_for_before_gets_all_its_edges(
        self, bench: Bench
    ) -> None:
        first, first_peer = socket.socketpair()
        number = first.fileno()
        bench.park("foreign", bench.reactor.foreign.wait_writable, number)
        assert bench.turn(1) == ["foreign"]
        first.close()
        ours, peer = socket.socketpair()
        if ours.fileno() != number:
            os.dup2(ours.detach(), number)
            ours = socket.socket(fileno=number)
        ours.setblocking(False)
        stream = bench.reactor.register(number)

        for byte in (b"y", b"z"):
            stream.ready &= READ_WOULD_BLOCK
            bench.park("stream", stream.wait_readable)
            bench.turn(0)
            peer.send(byte)
            if "stream" in bench.scheduler.parked:
                assert bench.turn(1) == ["stream"]
            assert ours.recv(9) == byte
        stream.close()
        for end in (first_peer, ours, peer):
            end.close()

    def test_closing_the_stream_ends_it(self, bench: Bench, pair: Pair) -> None:
        ours, _ = pair
        before = open_descriptors()
        stream = bench.reactor.register(ours.fileno())
        stream.ready &= READ_WOULD_BLOCK
        bench.park("stream", stream.wait_readable)
        bench.park("foreign", bench.reactor.foreign.wait_readable, ours.fileno())

        stream.close()

        assert {type(error) for error in bench.scheduler.failed.values()} == {Closed}
        assert set(bench.scheduler.failed) == {"stream", "foreign"}
        assert open_descriptors() == before

    def test_closing_a_stream_that_never_waited_ends_it_too(self, bench: Bench, pair: Pair) -> None:
        ours, _ = pair
        stream = bench.reactor.register(ours.fileno())
        bench.park("foreign", bench.reactor.foreign.wait_readable, ours.fileno())

        stream.close()

        assert set(bench.scheduler.failed) == {"foreign"}

    @pytest.mark.parametrize("end", ["event", "cancel", "notify", "close"])
    def test_its_duplicate_lives_as_long_as_it_waits(
        self, bench: Bench, pair: Pair, end: str
    ) -> None:
        ours, peer = pair
        stream = bench.reactor.register(ours.fileno())
        stream.ready &= READ_WOULD_BLOCK
        bench.park("stream", stream.wait_readable)
        before = open_descriptors()
        bench.park("foreign", bench.reactor.foreign.wait_readable, ours.fileno())
        assert len(open_descriptors() - before) == 1

        if end == "event":
            peer.send(b"x")
            bench.turn(1)
            bench.turn(0)
        elif end == "cancel":
            bench.scheduler.cancel("foreign")
        elif end == "notify":
            bench.reactor.foreign.notify_closing(ours.fileno())
        else:
            bench.reactor.foreign.close()

        assert "foreign" not in bench.scheduler.parked
        assert open_descriptors() == before
        peer.send(b"y")
        if "stream" in bench.scheduler.parked:
            assert bench.turn(1) == ["stream"]
        assert stream.ready & WAKES_READER
        stream.close()
