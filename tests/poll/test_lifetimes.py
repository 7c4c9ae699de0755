"""Sources that close, numbers that come back, duplicates that stay, and forked children."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

import pytest

from anyio_mio.poll import Events, Poll, Selector, Token
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
    poll_once,
)


def test_a_source_may_close_before_the_poll(poll: Poll, unix: Pair) -> None:
    poll.registry.register(unix[0], A, BOTH)

    unix[0].close()

    expect_no_events(poll)


def test_closing_a_source_closes_the_connection(poll: Poll, tcp: Pair) -> None:
    client, server = tcp
    poll.registry.register(client, A, READABLE)
    poll.registry.register(server, B, READABLE)
    poll.registry.deregister(client)
    client.close()

    expect_events(poll, (B, "readable"))

    assert server.recv(1) == b""


def test_a_queued_event_of_a_deregistered_listener_does_not_surface(
    poll: Poll, listener: socket.socket, unix: Pair
) -> None:
    poll.registry.register(listener, A, READABLE)
    poll.registry.register(unix[0], B, WRITABLE)
    with connected_to(listener):
        poll.registry.deregister(listener)
        listener.close()

        assert [event.token for event in poll_once(poll)] == [B]


def test_deregistering_while_events_are_handled_silences_the_rest(poll: Poll, unix: Pair) -> None:
    one, other = unix
    poll.registry.register(one, A, WRITABLE)
    poll.registry.register(other, B, WRITABLE)
    events = Events()
    poll.poll(events, 1)
    assert len(events) == 2

    handled = []
    for event in events:
        handled.append(event.token)
        poll.registry.deregister(other if event.token == A else one)

    assert len(handled) == 1


def test_a_number_that_comes_back_within_a_batch_gets_no_old_event(poll: Poll, unix: Pair) -> None:
    first, peer = socket.socketpair()
    with peer:
        poll.registry.register(first, A, WRITABLE)
        events = Events()
        poll.poll(events, 1)
        poll.registry.deregister(first)
        number = first.detach()
        os.dup2(unix[0].fileno(), number)

        poll.registry.register(number, B, READABLE)

        assert list(events) == []
        expect_no_events(poll)
        poll.registry.deregister(number)
        os.close(number)


def test_a_number_that_comes_back_registers_although_the_old_was_only_closed(
    poll: Poll, unix: Pair
) -> None:
    first, peer = socket.socketpair()
    with peer:
        poll.registry.register(first, A, READABLE)
        number = first.fileno()
        first.close()
        os.dup2(unix[0].fileno(), number)

        poll.registry.register(number, B, WRITABLE)

        assert expect_events(poll, (B, "writable")) == {B: {"writable"}}
        poll.registry.deregister(number)
        os.close(number)


def test_many_sources_come_and_go(poll: Poll) -> None:
    for round_ in range(200):
        one, other = socket.socketpair()
        with one, other:
            poll.registry.register(one, Token(round_), WRITABLE)
            assert [event.token for event in poll_once(poll)] == [round_]
            poll.registry.deregister(one)

    assert "0 sources" in repr(poll.registry)


def test_a_duplicate_is_a_source_of_its_own(poll: Poll, unix: Pair, selector: Selector) -> None:
    one, other = unix
    with one.dup() as duplicate:
        poll.registry.register(one, A, READABLE)
        poll.registry.register(duplicate, B, READABLE)
        other.send(b"x")

        expect_events(poll, (A, "readable"), (B, "readable"))
        poll.registry.deregister(duplicate)


@pytest.mark.skipif(sys.platform != "linux", reason="it is how epoll keeps its book")
def test_a_duplicate_keeps_the_registration_of_a_closed_number_alive(
    poll: Poll, unix: Pair, only_epoll: None
) -> None:
    """Which is why a source is deregistered before it is closed, whoever may have a duplicate."""
    one, other = unix
    with one.dup():
        poll.registry.register(one, A, READABLE)
        one.close()

        other.send(b"x")

        expect_events(poll, (A, "readable"))


def in_a_child(check: Callable[[], bool]) -> bool:
    """Fork, run `check` there, and return what it returned."""
    child = os.fork()
    if child == 0:
        ok = False
        try:
            ok = check()
        finally:
            os._exit(0 if ok else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_makes_its_own_poll(
    poll: Poll, make_selector: Callable[[], Selector], unix: Pair
) -> None:
    one, other = unix
    poll.registry.register(one, A, READABLE)

    def a_fresh_poll_works() -> bool:
        with Poll(make_selector()) as fresh:
            fresh.registry.register(one, B, READABLE)
            other.send(b"x")
            return [event.token for event in poll_once(fresh)] == [B]

    assert in_a_child(a_fresh_poll_works)

    expect_events(poll, (A, "readable"))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_that_polls_the_set_of_its_parent_steals_the_edge(
    poll: Poll, unix: Pair, only_epoll: None
) -> None:
    """This is why the sets of the parent are dead in a forked child."""
    one, other = unix
    poll.registry.register(one, A, READABLE)
    other.send(b"x")

    assert in_a_child(lambda: len(poll_once(poll, 1)) == 1)

    expect_no_events(poll)
