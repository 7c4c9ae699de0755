"""The event buffer, the view of one event, and Mio's mapping of flags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyio_mio.poll import Event, Events, Poll, Token
from anyio_mio.poll._sys import bits as bit
from anyio_mio.testing import ScriptedSelector
from tests.poll.harness import BOTH, FLAGS, READABLE, WRITABLE, A, B, flags_of, poll_once

MAPPING = {
    bit.READABLE: "readable",
    bit.PRIORITY: "readable priority",
    bit.WRITABLE: "writable",
    bit.ERROR: "error write_closed",
    bit.HANGUP: "read_closed write_closed",
    bit.READ_HANGUP: "",
    bit.READABLE | bit.READ_HANGUP: "readable read_closed",
    bit.WRITABLE | bit.ERROR: "writable error write_closed",
    bit.READABLE | bit.ERROR: "readable error",
    bit.WRITABLE | bit.WRITE_HANGUP: "writable write_closed",
    bit.READABLE | bit.HANGUP: "readable read_closed write_closed",
}


@pytest.mark.parametrize("bits, flags", MAPPING.items())
def test_the_flags_follow_the_table(bits: int, flags: str) -> None:
    assert flags_of(Event(A, bits)) == set(flags.split())


def test_an_event_tells_what_it_saw() -> None:
    assert repr(Event(A, bit.READABLE | bit.HANGUP)) == "<Event token=10 READABLE | HANGUP>"
    assert repr(Event(A, 0)) == "<Event token=10 nothing>"


@given(st.integers(0, 0xFFFFFFFF))
def test_no_bits_break_an_event(bits: int) -> None:
    event = Event(A, bits)

    assert flags_of(event) <= set(FLAGS)
    assert repr(event)


def test_a_token_is_the_number_that_was_chosen() -> None:
    connections = ["first", "second"]

    assert connections[Token(1)] == "second"
    assert {Token(5): "five"}[Token(5)] == "five"


def test_a_new_buffer_is_empty() -> None:
    events = Events(16)

    assert events.is_empty
    assert len(events) == 0
    assert list(events) == []
    assert events.capacity == 16
    assert repr(events) == "<Events 0 of 16>"


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_buffer_has_room_for_one_at_least(capacity: int) -> None:
    with pytest.raises(ValueError, match=r"right: Events\(1024\)"):
        Events(capacity)


def filled_with_two() -> tuple[Poll, Events]:
    poll = Poll(ScriptedSelector([[(5, bit.READABLE), (6, bit.WRITABLE)]]))
    poll.registry.register(5, A, BOTH)
    poll.registry.register(6, B, BOTH)
    events = Events()
    poll.poll(events, 1)
    return poll, events


def test_a_filled_buffer_can_be_read_more_than_once() -> None:
    _, events = filled_with_two()

    assert [event.token for event in events] == [A, B]
    assert [event.token for event in events] == [A, B]
    assert len(events) == 2
    assert not events.is_empty


def test_a_cleared_buffer_is_empty() -> None:
    _, events = filled_with_two()

    events.clear()

    assert events.is_empty


def test_deregistering_silences_the_events_at_hand() -> None:
    poll, events = filled_with_two()

    poll.registry.deregister(5)

    assert [event.token for event in events] == [B]
    assert len(events) == 1


def test_deregistering_while_iterating_silences_what_is_left() -> None:
    poll, events = filled_with_two()

    seen = []
    for event in events:
        seen.append(event.token)
        poll.registry.deregister(6)
        break
    seen += [event.token for event in events]

    assert seen == [A, A]


def test_a_reused_number_does_not_inherit_the_events_at_hand() -> None:
    poll, events = filled_with_two()
    poll.registry.deregister(5)

    poll.registry.register(5, Token(99), READABLE)

    assert [event.token for event in events] == [B]


def test_reregistering_silences_the_events_at_hand() -> None:
    poll, events = filled_with_two()

    poll.registry.reregister(5, Token(99), WRITABLE)

    assert [event.token for event in events] == [B]


def test_closing_the_poll_silences_everything() -> None:
    poll, events = filled_with_two()

    poll.close()

    assert events.is_empty


def test_a_lost_event_is_just_not_there() -> None:
    selector = ScriptedSelector([[(5, bit.READABLE), (6, bit.READABLE)]])
    selector.lose(5)
    poll = Poll(selector)
    poll.registry.register(5, A, READABLE)
    poll.registry.register(6, B, READABLE)

    assert [event.token for event in poll_once(poll)] == [B]
