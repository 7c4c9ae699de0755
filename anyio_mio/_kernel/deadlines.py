"""Deadlines: a heap with lazy deletion.

An entry is a tuple ``(when, number, owner)``. It is alive while ``owner.alarm == number``. Removing
a deadline is one assignment; the dead entry is deleted when it reaches the top, or when more than
half of the heap is dead. Most timeouts never fire, so this is faster than a sorted container.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf, isnan
from typing import Final, Protocol, final

from anyio_mio._reactor.scheduler import Wait

COMPACT_ABOVE: Final = 64
"""The number of dead entries that is always accepted.

Many more would push other data out of the caches: with 256 of them a query of redis-py took 2 %
more CPU time (measured).
"""


class Owner(Protocol):
    """An object with a deadline: a cancel scope, or a sleeping task."""

    alarm: int
    """The number of its entry; zero if it has none."""

    def expire(self) -> None:
        """Act on the deadline, which has passed; the entry is gone.

        It is called again if a signal handler raises in it.
        """


@final
class Deadlines(list[tuple[float, int, Owner]]):
    """All deadlines of a run, as a heap. Sleeping tasks are parked on it.

    It subclasses list so that ``if self.deadlines:`` costs no method call.
    """

    __slots__ = ("_dead", "_described", "_number", "_times")

    def __init__(self) -> None:
        self._number = 0
        self._dead = 0
        self._described = 0  # the last number that is in `_times`
        self._times: dict[int, float] = {}

    def alive(self) -> int:
        """Return how many owners have a deadline."""
        return len(self) - self._dead

    def add(self, owner: Owner, when: float) -> None:
        """Add a deadline, in seconds on the kernel's clock, for an owner that has none."""
        self._number = number = self._number + 1
        owner.alarm = number
        heappush(self, (when, number, owner))
        if self._dead > COMPACT_ABOVE and self._dead * 2 > len(self):
            self._compact()

    def drop(self, owner: Owner) -> None:
        """Remove an owner's deadline, if it has one."""
        if owner.alarm:
            owner.alarm = 0
            self._dead += 1

    def abort(self, task: Owner) -> bool:
        """Remove a cancelled sleeper; return False if its deadline has passed already."""
        if not task.alarm:
            return False
        self.drop(task)
        return True

    def describe(self, task: Owner) -> Wait:
        """Describe until when a task sleeps."""
        # One walk for all tasks, because a task tree may ask for thousands.
        if self._described != self._number:
            self._described = self._number
            self._times = {number: when for when, number, _ in list(self)}
        return Wait("sleep", until=self._times.get(task.alarm, inf))

    def next(self) -> float:
        """Return when the next deadline is due, in seconds on the kernel's clock; inf for none."""
        while self:
            when, number, owner = self[0]
            if owner.alarm == number:
                return when
            heappop(self)
            self._dead -= 1
        return inf

    def expire(self, now: float) -> bool:
        """Expire in order the deadlines that are due at ``now``; return whether there were any."""
        any_expired = False
        while self and self[0][0] <= now:
            _, number, owner = self[0]
            if owner.alarm != number:
                heappop(self)
                self._dead -= 1
                continue
            owner.alarm = 0
            any_expired = True
            try:
                heappop(self)
                owner.expire()
            except BaseException:  # a signal's handler; the deadline is gone from the heap
                owner.expire()
                raise
        return any_expired

    def close(self) -> None:
        """Drop all owners at the end of the run, including those of dead entries."""
        self.clear()
        self._dead = 0

    def _compact(self) -> None:
        self[:] = [entry for entry in self if entry[2].alarm == entry[1]]
        heapify(self)
        self._dead = 0


def checked_deadline(value: float) -> float:
    """Return ``value`` as a float, if it can be a deadline.

    Raises:
        TypeError: it is not a number.
        ValueError: it is NaN.
    """
    try:
        is_nan = isnan(value)
    except TypeError:
        raise TypeError(
            f"a deadline is a number of seconds on the clock of the run, not {value!r}.\n"
            "  right: CancelScope(deadline=anyio.current_time() + 5)"
        ) from None
    if is_nan:
        raise ValueError("deadline must not be NaN")
    return float(value)
