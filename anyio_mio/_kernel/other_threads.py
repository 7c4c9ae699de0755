"""Letting other threads have the interpreter while tasks never pause.

CPython's lock is given up by a thread that has held it for five milliseconds while another waits.
But who waits starts counting anew whenever the lock is free for a moment, and a kernel whose tasks
never pause frees it at each poll, for the microsecond that a poll without a timeout takes: too
short for the other thread to wake up and take it. Measured with one task in a loop of checkpoints:
a call in a worker thread, 30 µs otherwise, took up to twelve seconds, and takes some 7 ms now.

So while tasks keep running and there are other threads, the kernel sleeps as often as the lock
would have been given up, just long enough to lose it.
"""

from __future__ import annotations

import threading
import time
from typing import Final, final

INTERVAL: Final = 0.005
"""Seconds; `sys.getswitchinterval()` unless somebody has changed it."""

PAUSE: Final = 1e-6
"""Seconds; on Linux such a sleep takes some 55 µs, one percent of the interval."""


@final
class OtherThreads:
    """Gives the other threads of the process their turn, if there are any."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0.0

    def let_run(self) -> None:
        """Called at each turn that polls without a pause."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL
            if threading.active_count() > 1:
                time.sleep(PAUSE)
