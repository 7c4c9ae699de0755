"""Placing the server and the load on processors of their own, where the system can.

Two busy processes that the scheduler moves about make figures that differ from run to run by more
than the backends differ from each other.
"""

import os
import sys


def pair() -> tuple[int | None, int | None]:
    """One processor for the server and one for the load; none where there are not two."""
    if sys.platform != "linux":
        return None, None
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        return None, None
    return available[0], available[1]


def stay_on(processor: int | None) -> None:
    """Keep this process on one processor."""
    if sys.platform == "linux" and processor is not None:
        os.sched_setaffinity(0, {processor})
