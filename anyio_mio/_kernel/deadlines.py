"""Deadlines: a heap with lazy deletion.

An entry is a tuple ``(when, number, owner)``. It is alive while ``owner.alarm == number``; taking
a deadline back is one store, and the dead entry leaves when it reaches the top or when more than
half of the heap is dead. Most timeouts never fire, so this beats a sorted container.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf, isnan
from typing import Final, Protocol, final

from anyio_mio._reactor.scheduler import Wait

COMPACT_ABOVE: Final = 64
"""Dead entries that are always tolerated.

Many more would push other data out of the caches: with 256 of them a query of redis-py took 2 %
more CPU time (measured).
"""


class Owner(Protocol):
    """What has a deadline: a cancel scope, or a sleeping task."""

    alarm: int
    """The number of its entry; zero if it has none."""

    def expire(self) -> None:
        """Act on the deadline, which has passed; the entry is gone.

        It is called again if a signal's handler has raised in it.
        """


@final
class Deadlines(list[tuple[float, int, Owner]]):
    """All deadlines of a run, as a heap. Also what a sleeping task is parked on.

    A list itself, so that a turn without deadlines tests for them without a call.
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
        """Give an owner without a deadline one, in seconds on the kernel's clock."""
        self._number = number = self._number + 1
        owner.alarm = number
        heappush(self, (when, number, owner))
        if self._dead > COMPACT_ABOVE and self._dead * 2 > len(self):
            self._compact()

    def drop(self, owner: Owner) -> None:
        """Take an owner's deadline back; without one, nothing happens."""
        if owner.alarm:
            owner.alarm = 0
            self._dead += 1

    def abort(self, task: Owner) -> bool:
        """Take a cancelled sleeper out; False if its time has come already."""
        if not task.alarm:
            return False
        self.drop(task)
        return True

    def describe(self, task: Owner) -> Wait:
        """Say until when a task sleeps."""
        if self._described != self._number:  # a tree asks for thousands: one walk for all of them
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
        """Expire in order what is due at ``now``; True if anything was."""
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
        """Let go of all owners at the end of the run, also of those with dead entries."""
        self.clear()
        self._dead = 0

    def _compact(self) -> None:
        self[:] = [entry for entry in self if entry[2].alarm == entry[1]]
        heapify(self)
        self._dead = 0


def checked_deadline(value: float) -> float:
    """Return ``value`` as a float, if it can be a deadline.

    Raises:
        TypeError: it is no number.
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
