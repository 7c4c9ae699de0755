"""Placing the server and the load on processors of their own, where the system can.

Two busy processes that the scheduler moves about make figures that differ from run to run by more
than the backends differ from each other.
"""

import os
import sys
from contextlib import suppress


def pair() -> tuple[int | None, int | None]:
    """One processor for the server and one for the load; none where there are not two."""
    available = usable()
    return (available[0], available[1]) if len(available) >= 2 else (None, None)


def third() -> int | None:
    """One for a process that measures beside those two; the load's where there are no three."""
    return usable()[1:3][-1] if len(usable()) >= 2 else None


def usable() -> list[int]:
    """The processors that this process may be placed on; none where it cannot be placed."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


def stay_on(processor: int | None) -> None:
    """Keep this process on one processor."""
    if sys.platform == "linux" and processor is not None:
        os.sched_setaffinity(0, {processor})


def go_first() -> None:
    """Run as soon as there is something to do, before ordinary processes, if that is allowed."""
    if sys.platform == "linux":
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
