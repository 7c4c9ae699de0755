"""What a listener has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListenerStatistics:
    """A snapshot of a listener's counters.

    Attributes:
        accepted: connections that were accepted.
        accepts_per_wakeup: how often a wake-up gave so many connections.
        aborted: connections that failed while they were accepted or set up.
        backed_off: how often the listener had to wait for descriptors or memory.
        shed: connections that were closed because they could not be served.
        open: accepted connections that are not closed.
        paused_until: when the current back-off ends at the latest, on the run's clock; 0 if none.
        last_errno: the last error of ``accept()`` that was not WouldBlock; 0 if none.
    """

    accepted: int
    accepts_per_wakeup: dict[int, int]
    aborted: int
    backed_off: int
    shed: int
    open: int
    paused_until: float
    last_errno: int
