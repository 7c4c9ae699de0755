"""Log lines of listeners and servers. Logging never raises an error and never floods the log.

A filter or a handler of the program's logging may raise. Then the line is lost, and the server
continues. A problem that repeats is logged at once and then every `LOG_EVERY` seconds, with a
count.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Final, final

LOGGER: Final = logging.getLogger("anyio_mio.serving")

LOG_EVERY: Final = 30.0
"""Seconds between two lines about the same problem."""


def log(level: int, message: str, *arguments: object, **options: Any) -> None:
    """Log a line; the arguments are those of `logging.Logger.log()`. Never raises an Exception."""
    with suppress(Exception):
        LOGGER.log(level, message, *arguments, stacklevel=2, **options)


@final
class LimitedLog:
    """Logs a problem that repeats."""

    __slots__ = ("_logged_at", "_unlogged")

    def __init__(self) -> None:
        self._logged_at = -LOG_EVERY
        self._unlogged = 0

    def __call__(
        self, now: float, level: int, message: str, *arguments: object, **options: Any
    ) -> bool:
        """Log the problem, unless it was logged a short time ago; return whether a line was logged.

        Args:
            now: seconds, on any clock.
            level: as for `log()`.
            message: as for `log()`; " (%d times)" is added.
            *arguments: as for `log()`.
            **options: as for `log()`.
        """
        self._unlogged += 1
        if now - self._logged_at < LOG_EVERY:
            return False
        log(level, message + " (%d times)", *arguments, self._unlogged, **options)
        self._logged_at, self._unlogged = now, 0
        return True
