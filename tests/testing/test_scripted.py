"""The scripted selector keeps its promises, so that the tests on it mean something."""

from __future__ import annotations

import errno
import io

import pytest

from anyio_mio.poll import Selector
from anyio_mio.poll._sys.bits import READABLE, WRITABLE
from anyio_mio.testing import ScriptedSelector


def test_it_is_a_selector() -> None:
    selector: Selector = ScriptedSelector()

    assert selector.name == "scripted"
    assert selector.edge_triggered


def test_each_select_plays_one_batch() -> None:
    selector = ScriptedSelector([[(5, READABLE)], [], [(6, WRITABLE), (7, READABLE)]])

    assert selector.select(None, 9) == [(5, READABLE)]
    assert selector.select(1, 9) == []
    assert not selector.is_over
    assert selector.select(0, 9) == [(6, WRITABLE), (7, READABLE)]
    assert selector.is_over
    assert selector.timeouts == [None, 1, 0]


def test_what_exceeds_the_capacity_comes_next_time() -> None:
    selector = ScriptedSelector([[(5, READABLE), (6, READABLE)], [(7, READABLE)]])

    assert [selector.select(1, 1) for _ in range(3)] == [
        [(5, READABLE)],
        [(6, READABLE)],
        [(7, READABLE)],
    ]


def test_after_the_script_the_time_passes() -> None:
    assert ScriptedSelector().select(3, 9) == []


def test_a_wait_that_would_never_end_fails_with_advice() -> None:
    with pytest.raises(AssertionError, match="would never end"):
        ScriptedSelector().select(None, 9)


def test_events_may_be_played_during_the_wait() -> None:
    selector = ScriptedSelector()
    selector.on_wait = lambda timeout: selector.play([(5, READABLE)])

    assert selector.select(None, 9) == [(5, READABLE)]


def test_a_mock_clock_can_advance_by_the_timeouts() -> None:
    now = 0.0

    def advance(timeout: float | None) -> None:
        nonlocal now
        now += timeout or 0

    selector = ScriptedSelector(on_wait=advance)
    selector.select(1.5, 9)
    selector.select(0, 9)

    assert now == 1.5


def test_a_lost_event_is_left_out_once() -> None:
    selector = ScriptedSelector([[(5, READABLE), (6, READABLE)], [(5, READABLE)]])
    selector.lose(5)

    assert selector.select(1, 9) == [(6, READABLE)]
    assert selector.select(1, 9) == [(5, READABLE)]


def test_changes_are_recorded_and_kept_in_order() -> None:
    selector = ScriptedSelector(edge_triggered=False)
    selector.register(5, READABLE, edge=False)
    selector.reregister(5, WRITABLE)
    selector.rearm(5, WRITABLE)
    assert selector.registered == {5: WRITABLE}
    selector.deregister(5)

    assert selector.registered == {}
    assert selector.calls == [
        ("register", 5, READABLE, False),
        ("reregister", 5, WRITABLE, True),
        ("rearm", 5, WRITABLE, True),
        ("deregister", 5, 0, True),
    ]


def test_wrong_changes_fail_as_those_of_the_system() -> None:
    selector = ScriptedSelector()
    selector.register(5, READABLE)

    with pytest.raises(FileExistsError):
        selector.register(5, READABLE)
    with pytest.raises(FileNotFoundError):
        selector.reregister(6, READABLE)
    with pytest.raises(FileNotFoundError):
        selector.deregister(6)


def test_a_refusal_is_raised_until_it_is_lifted() -> None:
    selector = ScriptedSelector()
    selector.refusals[5] = OSError(errno.ENOSPC, "no room")

    with pytest.raises(OSError, match="no room"):
        selector.register(5, READABLE)

    del selector.refusals[5]
    selector.register(5, READABLE)


def test_a_timeout_that_is_no_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot last"):
        ScriptedSelector().select(-1, 9)


def test_a_closed_one_says_so() -> None:
    with ScriptedSelector([[]]) as selector:
        assert repr(selector) == "<ScriptedSelector with 1 batches left>"
        with pytest.raises(io.UnsupportedOperation):
            selector.fileno()

    assert selector.closed
    with pytest.raises(ValueError, match="closed"):
        selector.select(0, 9)
