"""Waiting longer and longer while the system has nothing to give."""

from __future__ import annotations

import errno
import logging
import random
from typing import TYPE_CHECKING, Final, final

import anyio

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor

LOGGER: Final = logging.getLogger("anyio_mio.serving")

FIRST_DELAY: Final = 0.005
LAST_DELAY: Final = 1.0
"""Seconds: doubled from the first to the last, as Go's http.Server does."""

JITTER: Final = 0.2
"""Share of the delay by which it varies, so that several listeners do not try in step."""

LOG_EVERY: Final = 30.0
"""Seconds between two lines about the same trouble."""


@final
class BackOff:
    """The back-off of one listener.

    Attributes:
        count: how often it had to wait, in all.
        paused_until: when the current wait ends at the latest, on the scheduler's clock; 0 if none.
    """

    __slots__ = (
        "_delay",
        "_is_announced",
        "_logged_at",
        "_reactor",
        "_unlogged",
        "count",
        "paused_until",
    )

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._delay = 0.0
        self._logged_at = -LOG_EVERY
        self._unlogged = 0
        self._is_announced = False
        self.count = 0
        self.paused_until = 0.0

    @property
    def is_due(self) -> bool:
        """Whether the next attempt has to wait first."""
        return self.paused_until > 0

    @property
    def is_raised(self) -> bool:
        """Whether the last attempt failed."""
        return self._delay > 0

    def begin(self, error: OSError) -> None:
        """An attempt has failed: the next one comes later than the last."""
        now = self._reactor.scheduler.now()
        self.count += 1
        self._delay = min(max(self._delay * 2, FIRST_DELAY), LAST_DELAY)
        self.paused_until = now + self._delay * random.uniform(1 - JITTER, 1 + JITTER)
        self._log(error, now)

    def reset(self) -> None:
        """An attempt has succeeded."""
        self._delay = 0.0
        if self._is_announced:  # once for each line about the trouble, which may come and go
            self._is_announced = False
            LOGGER.info("accepting again")

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

    def _log(self, error: OSError, now: float) -> None:
        self._unlogged += 1
        if now - self._logged_at < LOG_EVERY:
            return
        name = errno.errorcode.get(error.errno or 0, "?")
        LOGGER.error(
            "cannot accept: %s (%s); trying again until it works (%d attempts)",
            error.strerror,
            name,
            self._unlogged,
        )
        self._logged_at, self._unlogged, self._is_announced = now, 0, True
