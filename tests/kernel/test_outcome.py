import gc
import weakref

import pytest

from anyio_mio._kernel.outcome import Outcome


def fail() -> None:
    raise ValueError("a mistake")


def test_a_value_is_given_out_once() -> None:
    outcome = Outcome[int]()
    outcome.capture(int, "5")

    assert (outcome.is_done, outcome.unwrap(), outcome.value) == (True, 5, None)


def test_an_error_is_raised_once() -> None:
    outcome = Outcome[None]()
    outcome.capture(fail)

    with pytest.raises(ValueError, match="a mistake"):
        outcome.unwrap()
    assert (outcome.error, outcome.unwrap()) == (None, None)


def test_what_is_dropped_is_not_given_out() -> None:
    outcome = Outcome[None]()
    outcome.capture(fail)
    outcome.drop()

    assert (outcome.is_done, outcome.value, outcome.error) == (True, None, None)


def test_an_error_that_was_raised_holds_the_outcome_no_more() -> None:
    class Watched(Outcome[None]):
        __slots__ = ("__weakref__",)

    outcome = Watched()
    alive = weakref.ref(outcome)
    outcome.capture(fail)
    gc.disable()
    try:
        with pytest.raises(ValueError, match="a mistake"):
            outcome.unwrap()
        del outcome
        assert alive() is None
    finally:
        gc.enable()
