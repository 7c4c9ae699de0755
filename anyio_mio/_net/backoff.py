"""The delays between attempts to accept while the system has no descriptor or memory left."""

from __future__ import annotations

import errno
import logging
import random
from typing import TYPE_CHECKING, Final, final

import anyio

from anyio_mio._net.logs import LimitedLog, log

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor

FIRST_DELAY: Final = 0.005
LAST_DELAY: Final = 1.0
"""Seconds. Each delay is twice as long as the one before, as in Go's http.Server."""

JITTER: Final = 0.2
"""The random share of a delay, so that several listeners do not try at the same time."""


@final
class BackOff:
    """The back-off of one listener.

    Attributes:
        count: how often the listener had to wait in total.
        paused_until: when the current wait ends at the latest, on the scheduler's clock; 0 if none.
    """

    __slots__ = ("_delay", "_is_announced", "_log", "_reactor", "count", "paused_until")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._delay = 0.0
        self._log = LimitedLog()
        self._is_announced = False
        self.count = 0
        self.paused_until = 0.0

    @property
    def is_due(self) -> bool:
        """Whether the next attempt must wait first."""
        return self.paused_until > 0

    @property
    def is_raised(self) -> bool:
        """Whether the last attempt failed."""
        return self._delay > 0

    def begin(self, error: OSError) -> None:
        """Record a failed attempt; each failure makes the next delay longer."""
        now = self._reactor.scheduler.now()
        self.count += 1
        self._delay = min(max(self._delay * 2, FIRST_DELAY), LAST_DELAY)
        self.paused_until = now + self._delay * random.uniform(1 - JITTER, 1 + JITTER)
        self._announce(error, now)

    def reset(self) -> None:
        """Record a success; the next delay is the shortest again."""
        self._delay = 0.0
        if self._is_announced:  # one such line for each line that reported an error
            self._is_announced = False
            log(logging.INFO, "accepting again")

    async def wait(self) -> None:
        """Wait for the delay, or until a socket of ours is closed. Always a checkpoint."""
        seconds = self.paused_until - self._reactor.scheduler.now()
        room = anyio.Event()
        self._reactor.starving.append(room.set)
        try:
            with anyio.move_on_after(max(0.0, seconds)):
                await room.wait()
        finally:
            self.paused_until = 0.0
            self._reactor.starving.remove(room.set)

    def _announce(self, error: OSError, now: float) -> None:
        name = errno.errorcode.get(error.errno or 0, "?")
        message = "cannot accept: %s (%s); trying again until it works"
        if self._log(now, logging.ERROR, message, error.strerror, name):
            self._is_announced = True
