"""What the watchdog concludes from what it sees, without a thread and without time."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from anyio_mio._kernel.watchdog import Watchdog


@pytest.fixture
def kernel() -> Any:
    return SimpleNamespace(
        current=SimpleNamespace(name="busy"),
        turns=0,
        slow_steps=0,
        thread=threading.get_ident(),
        step_code=None,
    )


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "anyio_mio.watchdog")
    return caplog


def test_one_step_is_reported_once_and_again_at_its_end(
    kernel: Any, log: pytest.LogCaptureFixture
) -> None:
    watchdog = Watchdog(kernel, limit=1.0)
    for now in (10.0, 10.5, 11.0, 11.5, 12.0):
        watchdog._look(now, now)
    kernel.turns += 1
    watchdog._look(12.5, 12.5)

    begin, end = (record.getMessage() for record in log.records)
    assert begin.startswith("task 'busy' has blocked the event loop for 1.00 s")
    assert end == "task 'busy' blocked the event loop for 2.50 s in one step"
    assert kernel.slow_steps == 1


def test_the_same_task_in_many_turns_is_not_slow(
    kernel: Any, log: pytest.LogCaptureFixture
) -> None:
    watchdog = Watchdog(kernel, limit=1.0)
    for now in range(10):
        kernel.turns += 1
        watchdog._look(float(now), float(now))

    assert log.records == []


def test_many_tasks_in_one_turn_are_not_slow(kernel: Any, log: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog(kernel, limit=1.0)
    for now in range(10):
        kernel.current = SimpleNamespace(name=f"task {now}")
        watchdog._look(float(now), float(now))

    assert log.records == []


def test_a_step_counts_from_before_the_watchdog_was_kept_from_looking(
    kernel: Any, log: pytest.LogCaptureFixture
) -> None:
    watchdog = Watchdog(kernel, limit=1.0)
    kernel.turns += 1

    watchdog._look(now=12.0, since=10.0)

    (record,) = log.records
    assert record.getMessage().startswith("task 'busy' has blocked the event loop for 2.00 s")


def test_a_task_that_never_yields_is_reported_again_and_again_ever_more_seldom(
    kernel: Any, log: pytest.LogCaptureFixture
) -> None:
    watchdog = Watchdog(kernel, limit=1.0)
    for now in range(200):
        watchdog._look(float(now), float(now))

    times = [record.getMessage().split(" s;")[0].rpartition(" ")[2] for record in log.records]
    assert times == ["1.00", "10.00", "100.00"]
    assert kernel.slow_steps == 1
