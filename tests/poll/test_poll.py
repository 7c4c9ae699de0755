"""Waiting: timeouts, capacity, signals, nesting and closing."""

from __future__ import annotations

import io
import os
import signal
import socket
import time
from collections.abc import Callable

import pytest

from anyio_mio.poll import Events, Poll, Selector, Token
from anyio_mio.testing import ScriptedSelector
from tests.poll.conftest import Pair
from tests.poll.harness import (
    BOTH,
    READABLE,
    WRITABLE,
    A,
    B,
    C,
    connected_to,
    expect_events,
    expect_no_events,
    poll_once,
    receive_all,
    until_it_would_block,
)
from tests.shared.leaks import open_descriptors


def test_a_poll_without_sources_lasts_its_timeout(poll: Poll) -> None:
    start = time.monotonic()

    assert poll_once(poll, 0.02) == []

    assert time.monotonic() - start >= 0.02


@pytest.mark.invariant("P2")
def test_a_timeout_is_rounded_up_never_down(poll: Poll) -> None:
    for timeout in (0.0001, 0.0015, 0.0029):
        start = time.monotonic()
        poll_once(poll, timeout)
        assert time.monotonic() - start >= timeout


@pytest.mark.invariant("P2")
def test_a_zero_timeout_does_not_block_and_still_asks(poll: Poll, unix: Pair) -> None:
    reader, writer = unix
    poll.registry.register(reader, A, READABLE)
    writer.send(b"x")
    start = time.monotonic()

    events = poll_once(poll, 0)

    assert [event.token for event in events] == [A]
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize("timeout", [1e6, 1e12, float("inf")])
def test_a_huge_timeout_is_a_timeout(poll: Poll, unix: Pair, timeout: float) -> None:
    poll.registry.register(unix[0], A, WRITABLE)

    assert [event.token for event in poll_once(poll, timeout)] == [A]


@pytest.mark.parametrize("timeout", [-1, -0.001, float("-inf"), float("nan")])
def test_a_timeout_that_is_no_duration_is_refused(poll: Poll, timeout: float) -> None:
    with pytest.raises(ValueError, match=r"(?s)cannot last .* right: poll.poll\(events, None\)"):
        poll_once(poll, timeout)


def test_a_poll_without_timeout_waits_for_an_event(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    server.send(b"x")

    assert [event.token for event in poll_once(poll, None)] == [A]


def test_what_exceeds_the_capacity_comes_with_the_next_polls(poll: Poll) -> None:
    pairs = [socket.socketpair() for _ in range(5)]
    for number, (reader, writer) in enumerate(pairs):
        poll.registry.register(reader, Token(number), READABLE)
        writer.send(b"x")

    sizes, tokens = [], set()
    for _ in range(3):
        events = poll_once(poll, capacity=2)
        sizes.append(len(events))
        tokens |= {event.token for event in events}

    assert sizes == [2, 2, 1]
    assert tokens == {0, 1, 2, 3, 4}
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_poll_replaces_the_events_of_the_one_before(poll: Poll, unix: Pair) -> None:
    events = Events()
    poll.registry.register(unix[0], A, WRITABLE)
    poll.poll(events, 1)
    assert len(events) == 1

    poll.poll(events, 0)

    assert events.is_empty


def test_readiness_comes_again_after_would_block(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)

    for word in (b"first", b"second", b"third"):
        server.send(word)
        expect_events(poll, (A, "readable"))
        assert receive_all(poll, client) == word
        expect_no_events(poll)


def test_what_was_not_drained_makes_no_second_event(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    server.send(b"two bytes")
    expect_events(poll, (A, "readable"))

    assert client.recv(1) == b"t"

    expect_no_events(poll)


def test_five_connections_may_be_one_event(poll: Poll, listener: socket.socket) -> None:
    poll.registry.register(listener, A, READABLE)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(5)]

    assert len(poll_once(poll)) == 1

    accepted = until_it_would_block(poll, listener, lambda: listener.accept()[0])
    assert len(accepted) == 5
    for connection in [*clients, *accepted]:
        connection.close()


def test_a_signal_does_not_end_the_wait(poll: Poll) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    start = time.monotonic()

    try:
        poll_once(poll, 0.05)
    finally:
        signal.signal(signal.SIGALRM, before)

    assert seen == [signal.SIGALRM]
    assert time.monotonic() - start >= 0.05


def test_an_exception_of_a_signal_handler_ends_the_wait(poll: Poll, unix: Pair) -> None:
    def handler(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        with pytest.raises(KeyboardInterrupt):
            poll_once(poll, 10)
    finally:
        signal.signal(signal.SIGALRM, before)

    poll.registry.register(unix[0], A, WRITABLE)
    expect_events(poll, (A, "writable"))


def test_polls_come_and_go_without_leaking(make_selector: Callable[[], Selector]) -> None:
    before = open_descriptors()

    for _ in range(500):
        with Poll(make_selector()) as poll:
            poll_once(poll, 0)

    assert open_descriptors() == before


def test_the_descriptors_of_a_poll_are_not_inherited(poll: Poll, selector: Selector) -> None:
    waker = poll.registry.waker(A)

    assert not os.get_inheritable(waker.fileno())
    if selector.name != "level":
        assert not os.get_inheritable(poll.fileno())


def test_a_poll_can_be_watched_by_another_poll(poll: Poll, unix: Pair, selector: Selector) -> None:
    if selector.name == "level":
        with pytest.raises(io.UnsupportedOperation, match="no descriptor"):
            poll.fileno()
        return
    reader, writer = unix
    poll.registry.register(reader, A, READABLE)
    with Poll() as outer:
        outer.registry.register(poll, B, READABLE)
        expect_no_events(outer)

        writer.send(b"x")

        expect_events(outer, (B, "readable"))
        expect_events(poll, (A, "readable"))
        expect_no_events(outer)


def test_a_closed_poll_says_so(make_selector: Callable[[], Selector], unix: Pair) -> None:
    poll = Poll(make_selector())
    poll.close()
    poll.close()

    with pytest.raises(ValueError, match="closed"):
        poll_once(poll, 0)
    with pytest.raises(ValueError, match="closed"):
        poll.registry.register(unix[0], A, BOTH)


def test_closing_a_poll_leaves_its_sources_open(
    make_selector: Callable[[], Selector], unix: Pair
) -> None:
    reader, writer = unix
    with Poll(make_selector()) as poll:
        poll.registry.register(reader, A, READABLE)

    writer.send(b"x")

    assert reader.recv(1) == b"x"


def test_the_default_selector_is_used_when_none_is_given(unix: Pair) -> None:
    with Poll() as poll:
        poll.registry.register(unix[0], A, WRITABLE)
        expect_events(poll, (A, "writable"))
        assert "Selector" in repr(poll)


def test_readiness_of_several_sources_comes_together(poll: Poll, listener: socket.socket) -> None:
    poll.registry.register(listener, A, READABLE)
    with connected_to(listener) as first, connected_to(listener) as second:
        poll.registry.register(first, B, WRITABLE)
        poll.registry.register(second, C, WRITABLE)

        expect_events(poll, (A, "readable"), (B, "writable"), (C, "writable"))


def test_a_pair_that_nothing_stands_behind_is_no_event() -> None:
    with Poll(ScriptedSelector([[(5, 1), (6, 1)]])) as poll:
        poll.registry.register(6, A, READABLE)

        assert [event.token for event in poll_once(poll, 1)] == [A]


def test_readiness_that_was_not_asked_for_is_no_event() -> None:
    with Poll(ScriptedSelector([[(6, 0x4)], [(6, 0x10)]])) as poll:
        poll.registry.register(6, A, READABLE)

        assert poll_once(poll, 1) == []
        assert [event.is_read_closed for event in poll_once(poll, 1)] == [True]
