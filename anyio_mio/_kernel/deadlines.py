"""Deadlines: a heap with lazy deletion.

An entry is a tuple ``(when, number, owner)``. It is alive while ``owner.alarm == number``; taking
a deadline back is one store, and the dead entry leaves when it reaches the top or when more than
half of the heap is dead. Most timeouts never fire, so this beats a sorted container.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import Final, Protocol, final

COMPACT_ABOVE: Final = 256
"""Dead entries that are tolerated whatever the share: rebuilding a small heap saves nothing."""


class Owner(Protocol):
    """Who has a deadline: a cancel scope, or a sleeping task."""

    alarm: int
    """The number of its entry; zero if it has none."""

    def expire(self) -> None:
        """The deadline has passed; the entry is gone."""


@final
class Deadlines:
    """All deadlines of a run. Also what a sleeping task is parked on."""

    __slots__ = ("_dead", "_heap", "_number")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Owner]] = []
        self._number = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def add(self, owner: Owner, when: float) -> None:
        """Give an owner without a deadline one, in seconds on the kernel's clock."""
        self._number = number = self._number + 1
        owner.alarm = number
        heappush(self._heap, (when, number, owner))

    def remove(self, owner: Owner) -> None:
        """Take an owner's deadline back; without one, nothing happens."""
        if owner.alarm:
            owner.alarm = 0
            self._dead = dead = self._dead + 1
            if dead > COMPACT_ABOVE and dead * 2 > len(self._heap):
                self._compact()

    def abort(self, task: Owner) -> bool:  # type: ignore[override, unused-ignore]
        """A sleeping task is cancelled; False if its time has come already."""
        if not task.alarm:
            return False
        self.remove(task)
        return True

    def next(self) -> float:
        """When the next deadline is due, in seconds on the kernel's clock; inf if there is none."""
        heap = self._heap
        while heap:
            when, number, owner = heap[0]
            if owner.alarm == number:
                return when
            heappop(heap)
            self._dead -= 1
        return inf

    def expire(self, now: float) -> bool:
        """Expire, in order, whatever is due at ``now``; True if anything was."""
        heap, any_expired = self._heap, False
        while heap and heap[0][0] <= now:
            _, number, owner = heappop(heap)
            if owner.alarm == number:
                owner.alarm = 0
                owner.expire()
                any_expired = True
            else:
                self._dead -= 1
        return any_expired

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].alarm == entry[1]]
        heapify(self._heap)
        self._dead = 0
