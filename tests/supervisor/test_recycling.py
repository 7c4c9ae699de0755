"""When a worker is replaced for what it has done."""

from __future__ import annotations

from anyio_mio._supervisor.configuration import Supervision
from anyio_mio._supervisor.recycling import Limits

SUPERVISION = Supervision(recycle={"accepted": 100, "memory": 5000}, recycle_jitter=0.5)


def test_each_worker_draws_its_own_limit_above_the_one_that_was_asked_for() -> None:
    least, most = Limits(SUPERVISION, lambda: 0.0), Limits(SUPERVISION, lambda: 1.0)

    assert least.exceeded_by({"accepted": 99, "memory": 0}, 0) == ""
    assert least.exceeded_by({"accepted": 100, "memory": 0}, 0) == "accepted"
    assert most.exceeded_by({"accepted": 149, "memory": 0}, 0) == ""
    assert most.exceeded_by({"accepted": 0, "memory": 7500}, 0) == "memory"


def test_without_limits_and_for_figures_that_are_not_told_nothing_is_exceeded() -> None:
    assert Limits(Supervision()).exceeded_by({"accepted": 10**9}, 0) == ""
    assert Limits(SUPERVISION).exceeded_by({}, 0) == ""


def test_after_a_failed_replacement_nothing_is_exceeded_for_a_while() -> None:
    limits = Limits(SUPERVISION)
    limits.suspend(10.0)

    assert limits.exceeded_by({"accepted": 10**9}, 9.9) == ""
    assert limits.exceeded_by({"accepted": 10**9}, 10.1) == "accepted"
