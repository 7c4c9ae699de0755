"""The algebra of interests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyio_mio.poll import Interest
from tests.poll.harness import BOTH, PRIORITY, READABLE, WRITABLE

interests = st.sets(st.sampled_from([READABLE, WRITABLE, PRIORITY]), min_size=1).map(
    lambda parts: Interest(sum(part.bits for part in parts))
)


def test_a_union_has_both_parts() -> None:
    assert READABLE | WRITABLE == READABLE + WRITABLE == READABLE.add(WRITABLE) == BOTH
    assert (BOTH.is_readable, BOTH.is_writable, BOTH.is_priority) == (True, True, False)


def test_single_interests_are_just_that() -> None:
    for one in (READABLE, WRITABLE, PRIORITY):
        flags = (one.is_readable, one.is_writable, one.is_priority)
        assert flags == (one == READABLE, one == WRITABLE, one == PRIORITY)


def test_removing_leaves_the_rest() -> None:
    assert BOTH.remove(WRITABLE) == READABLE
    assert READABLE.remove(WRITABLE) == READABLE


def test_there_is_no_empty_interest() -> None:
    assert READABLE.remove(READABLE) is None
    with pytest.raises(ValueError, match=r"right: Interest.READABLE \| Interest.WRITABLE"):
        Interest(0)


def test_an_interest_in_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="0x10"):
        Interest(0x10)


def test_an_interest_reads_like_its_making() -> None:
    assert repr(READABLE) == "READABLE"
    assert repr(WRITABLE | READABLE) == "READABLE | WRITABLE"
    assert repr(PRIORITY | WRITABLE) == "WRITABLE | PRIORITY"


def test_interests_are_values() -> None:
    assert {BOTH: 1}[WRITABLE | READABLE] == 1
    with pytest.raises(AttributeError):
        READABLE.bits = 4  # type: ignore[misc]


@given(interests, interests)
def test_adding_is_commutative_and_never_loses(one: Interest, other: Interest) -> None:
    union = one | other

    assert union == other | one
    assert union | one == union
    assert union.is_readable == (one.is_readable or other.is_readable)


@given(interests, interests)
def test_removing_undoes_adding(one: Interest, other: Interest) -> None:
    left = (one | other).remove(other)

    assert left == one.remove(other)
