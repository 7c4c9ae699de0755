"""Registering, reregistering and deregistering, and what is said when it is done wrong."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from anyio_mio.poll import Interest, Poll, Registry, Selector, Token
from anyio_mio.testing import ScriptedSelector
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


def test_deregistering_brings_silence(poll: Poll, unix: Pair) -> None:
    reader, writer = unix
    poll.registry.register(reader, A, READABLE)
    poll.registry.reregister(reader, A, BOTH)
    poll.registry.deregister(reader)

    writer.send(b"x")

    expect_no_events(poll)


def test_a_source_can_be_registered_again_after_it_was_deregistered(poll: Poll, unix: Pair) -> None:
    poll.registry.register(unix[0], A, WRITABLE)
    poll.registry.deregister(unix[0])

    poll.registry.register(unix[0], B, WRITABLE)

    seen = expect_events(poll, (B, "writable"))
    assert A not in seen


def test_reregistering_before_the_poll_suppresses_what_is_not_asked_for(
    poll: Poll, listener: socket.socket
) -> None:
    poll.registry.register(listener, A, READABLE)
    with connected_to(listener):
        poll.registry.reregister(listener, A, WRITABLE)

        expect_no_events(poll)


@pytest.mark.parametrize("token", [A, B])
def test_reregistering_replaces_interest_and_token(poll: Poll, unix: Pair, token: Token) -> None:
    reader, writer = unix
    poll.registry.register(reader, A, BOTH)
    writer.send(b"x")

    poll.registry.reregister(reader, token, READABLE)

    assert expect_events(poll, (token, "readable")) == {token: {"readable"}}


def test_reregistering_with_the_old_interest_tells_readiness_again(poll: Poll, unix: Pair) -> None:
    reader, writer = unix
    poll.registry.register(reader, A, READABLE)
    writer.send(b"x")
    expect_events(poll, (A, "readable"))
    expect_no_events(poll)

    poll.registry.reregister(reader, A, READABLE)

    expect_events(poll, (A, "readable"))


def test_what_was_ready_before_the_registration_is_told(poll: Poll, unix: Pair) -> None:
    reader, writer = unix
    writer.send(b"x")

    poll.registry.register(reader, A, READABLE)

    expect_events(poll, (A, "readable"))


def test_an_idle_source_is_silent(poll: Poll, listener: socket.socket, unix: Pair) -> None:
    poll.registry.register(listener, A, READABLE)
    poll.registry.register(unix[0], B, READABLE)

    expect_no_events(poll)


def test_a_descriptor_is_as_good_as_its_object(poll: Poll, unix: Pair) -> None:
    poll.registry.register(unix[0].fileno(), A, WRITABLE)

    expect_events(poll, (A, "writable"))

    poll.registry.deregister(unix[0])


@pytest.mark.invariant("P1")
def test_registering_twice_is_an_error_that_shows_the_way(
    poll: Poll, unix: Pair, selector: Selector
) -> None:
    if selector.name == "kqueue":
        pytest.skip("kqueue takes it as a change")
    poll.registry.register(unix[0], A, READABLE)

    with pytest.raises(FileExistsError, match=r"(?s)already registered.*right: registry.rereg"):
        poll.registry.register(unix[0], B, WRITABLE)

    unix[1].send(b"x")
    assert expect_events(poll, (A, "readable")) == {A: {"readable"}}


@pytest.mark.parametrize("verb", ["reregister", "deregister"])
def test_an_unknown_source_is_an_error_that_shows_the_way(
    poll: Poll, unix: Pair, verb: str
) -> None:
    actions: dict[str, Callable[[], None]] = {
        "reregister": lambda: poll.registry.reregister(unix[0], A, READABLE),
        "deregister": lambda: poll.registry.deregister(unix[0]),
    }

    with pytest.raises(FileNotFoundError, match=rf"(?s)wrong: registry.{verb}.*right: registry.r"):
        actions[verb]()


def test_deregistering_twice_is_an_error(poll: Poll, unix: Pair) -> None:
    poll.registry.register(unix[0], A, READABLE)
    poll.registry.deregister(unix[0])

    with pytest.raises(FileNotFoundError):
        poll.registry.deregister(unix[0])


def test_a_closed_source_cannot_be_registered(poll: Poll) -> None:
    source = socket.socket()
    source.close()

    with pytest.raises(OSError, match="is closed") as caught:
        poll.registry.register(source, A, READABLE)

    assert caught.value.errno == errno.EBADF


def test_a_closed_descriptor_cannot_be_registered(poll: Poll) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)

    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is the point
        poll.registry.register(reader, A, READABLE)

    assert caught.value.errno == errno.EBADF


def test_a_regular_file_is_refused_with_advice(
    poll: Poll, tmp_path: Path, selector: Selector
) -> None:
    if selector.name == "kqueue":
        pytest.skip("kqueue takes files")
    path = tmp_path / "file"
    path.touch()
    with path.open() as file, pytest.raises(PermissionError, match=r"to_thread\.run_sync"):
        poll.registry.register(file, A, READABLE)


def test_two_polls_may_watch_one_source(
    poll: Poll, make_selector: Callable[[], Selector], unix: Pair
) -> None:
    reader, writer = unix
    with Poll(make_selector()) as other:
        poll.registry.register(reader, A, READABLE)
        other.registry.register(reader, B, READABLE)

        writer.send(b"x")

        expect_events(poll, (A, "readable"))
        expect_events(other, (B, "readable"))
        other.registry.deregister(reader)
        poll.registry.reregister(reader, A, READABLE)
        expect_events(poll, (A, "readable"))


def test_would_block_of_an_unregistered_source_is_ignored(poll: Poll, unix: Pair) -> None:
    poll.registry.would_block(unix[0], READABLE)


def test_would_block_reaches_the_selector() -> None:
    selector = ScriptedSelector()
    registry = Poll(selector).registry

    registry.would_block(5, READABLE)

    assert selector.calls == [("rearm", 5, READABLE.bits, True)]


class Recorder:
    """A source that writes down what it is asked for, and may fail."""

    def __init__(self, error: OSError | None = None) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.error = error

    def register(self, registry: Registry, token: Token, interest: Interest) -> None:
        self._record("register", registry, token, interest)

    def reregister(self, registry: Registry, token: Token, interest: Interest) -> None:
        self._record("reregister", registry, token, interest)

    def deregister(self, registry: Registry) -> None:
        self._record("deregister", registry)

    def _record(self, *call: object) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error


def test_a_custom_source_gets_exactly_the_calls() -> None:
    registry = Poll(ScriptedSelector()).registry
    source = Recorder()

    registry.register(source, A, READABLE)
    registry.reregister(source, B, BOTH)
    registry.deregister(source)

    assert source.calls == [
        ("register", registry, A, READABLE),
        ("reregister", registry, B, BOTH),
        ("deregister", registry),
    ]


def test_the_error_of_a_custom_source_reaches_the_caller() -> None:
    registry = Poll(ScriptedSelector()).registry
    source = Recorder(OSError(errno.ENOSPC, "no room"))

    with pytest.raises(OSError, match="no room"):
        registry.register(source, A, READABLE)


class BothEnds:
    """A source of two descriptors under one token."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def register(self, registry: Registry, token: Token, interest: Interest) -> None:
        for end in self.pair:
            registry.register(end, token, interest)

    def reregister(self, registry: Registry, token: Token, interest: Interest) -> None:
        for end in self.pair:
            registry.reregister(end, token, interest)

    def deregister(self, registry: Registry) -> None:
        for end in self.pair:
            registry.deregister(end)


def test_a_custom_source_may_consist_of_several(poll: Poll, unix: Pair) -> None:
    source = BothEnds(unix)
    poll.registry.register(source, A, WRITABLE)

    assert [event.token for event in poll_once(poll)] == [A, A]

    poll.registry.reregister(source, B, READABLE)
    unix[0].send(b"x")
    assert [event.token for event in poll_once(poll)] == [B]
    poll.registry.deregister(source)
    unix[1].send(b"x")
    expect_no_events(poll)


def test_a_registration_that_the_system_refuses_leaves_no_trace() -> None:
    selector = ScriptedSelector([[(5, 1)]])
    selector.refusals[5] = OSError(errno.ENOSPC, "no room")
    poll = Poll(selector)

    with pytest.raises(OSError, match="no room"):
        poll.registry.register(5, A, READABLE)

    assert poll_once(poll, 1) == []
    assert repr(poll.registry) == "<Registry of 0 sources on scripted>"
