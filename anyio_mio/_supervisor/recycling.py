"""Recycling: the limits at which a worker is replaced.

Leaks of memory or descriptors in an application grow with the work of a process. Each worker has
its own random limits, up to a tenth above the configured ones, so that workers that were started
together do not end together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final, final

from anyio_mio._supervisor.configuration import Supervision

RETRY_AFTER: Final = 10.0
"""Seconds before a replacement that failed is tried again."""


@final
class Limits:
    """The limits of one worker.

    Args:
        supervision: the configured limits and their jitter.
        draw: returns a number from 0 to 1.
    """

    def __init__(self, supervision: Supervision, draw: Callable[[], float] = random.random) -> None:
        spread = supervision.recycle_jitter
        self._values = {
            name: value * (1 + spread * draw()) for name, value in supervision.recycle.items()
        }

        self._not_before = -inf

    def suspend(self, until: float) -> None:
        """Exceed no limit until this time, on the run's clock."""
        self._not_before = until

    def exceeded_by(self, figures: Mapping[str, Any], now: float) -> str:
        """Return the name of the first figure that has reached its limit; empty if none has."""
        if now < self._not_before:
            return ""
        for name, limit in self._values.items():
            if figures.get(name, 0) >= limit:
                return name
        return ""
