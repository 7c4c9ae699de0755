"""The timeout of a wait: valid numbers of seconds, and the limit of the system.

The limits differ: epoll and poll take a C int of milliseconds, select takes a struct. Every
selector uses the smallest, so that a caller does not get an ``OverflowError`` on one platform only.
"""

from __future__ import annotations

from typing import Final

MAX_TIMEOUT: Final = 24 * 86_400.0
"""Seconds. A C int of milliseconds ends after 24.8 days; whole days are easier to reason about."""


def clamped(timeout: float) -> float:
    """Return `timeout` cut to `MAX_TIMEOUT` seconds.

    Raises:
        ValueError: `timeout` is negative or not a number.
    """
    if timeout >= 0:
        return min(timeout, MAX_TIMEOUT)
    # NaN compares false with everything, so it gets here as well.
    raise ValueError(
        f"a wait cannot last {timeout!r} seconds\n"
        f"  wrong: poll.poll(events, {timeout!r})\n"
        "  right: poll.poll(events, None)   # wait for ever\n"
        "  right: poll.poll(events, 0)      # look, never block"
    )
