"""A short soak of each kind of stream on each selector; `python -m tests.soak` takes longer."""

from __future__ import annotations

import pytest

from anyio_mio.poll import available_selectors
from tests.shared.leaks import no_thread_left, nothing_left_open
from tests.soak import KINDS, Direction, Message, soak

SECONDS = 1.2


@pytest.mark.slow
@pytest.mark.parametrize("selector", available_selectors())
@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_is_lost_or_repeated_and_nobody_waits_for_ever(kind: str, selector: str) -> None:
    soak(kind, selector, 0, 1)  # what is made once per process

    with no_thread_left(), nothing_left_open():
        assert soak(kind, selector, SECONDS, seed=1) > 0


@pytest.mark.parametrize(
    "received, error",
    [
        (b"\0\0\1\1\1", None),
        (b"\0\0\1\1\1\2", None),
        (b"\0\1\1\1", "message 0: 1 of 2"),
        (b"\0\0\1\1\1\1", "message 1: 4 of 3"),
        (b"\0\0\1\1\1\2\2\2", "message 2 was repeated"),
        (b"\1\1\1\0\0", "message 0: 0 of 2"),
        (b"\0\0\1\1\1\0", "bytes that nobody sent"),
    ],
)
def test_the_soak_would_notice(received: bytes, error: str | None) -> None:
    direction = Direction([Message(2), Message(3), Message(2, was_cancelled=True)])
    direction.received += received

    if error is None:
        direction.check()
    else:
        with pytest.raises(AssertionError, match=error):
            direction.check()
