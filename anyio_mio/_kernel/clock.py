"""Clocks: the system's clock, and the protocol of other clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Final, Protocol, cast, final


class Clock(Protocol):
    """Time in seconds, monotonic; a `MockClock` in tests.

    A clock may also have a method ``quiet(deadline)``. The kernel calls it if nothing happened
    during a wait for `time_to_wait()` seconds, and then expires the deadlines that are due. So a
    clock that is independent of real time can move on exactly when the program only waits for it.
    """

    def now(self) -> float:
        """Return the current time."""

    def time_to_wait(self, deadline: float) -> float | None:
        """Return the real seconds until ``deadline``; None to sleep until something happens."""


@final
class SystemClock:
    """The operating system's monotonic clock."""

    __slots__ = ()
    now = staticmethod(time.monotonic)

    def time_to_wait(self, deadline: float) -> float | None:
        """Return the real seconds until ``deadline``, never negative."""
        return None if deadline == inf else max(0.0, deadline - time.monotonic())


Quiet = Callable[[float], object]


def quiet_hook(clock: Clock) -> Quiet | None:
    """Return the clock's ``quiet()``, if it has one."""
    return cast("Quiet | None", getattr(clock, "quiet", None))


SYSTEM_CLOCK: Final = SystemClock()
