"""A run queue in a random order that a seed repeats: for programs that should not rely on one."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from anyio_mio._kernel.task import Task


@final
class ShuffledQueue(deque["Task"]):
    """Gives out the tasks of one generation in a random order, then those of the next.

    A generation is what is in the queue when the one before is used up, so nobody is passed over
    (K2). The kernel takes any deque; in its loop this one costs nothing while it is not used.

    Args:
        seed: the same seed gives the same order, as long as the program behaves the same.
    """

    __slots__ = ("_left", "_random")

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._left = 0

    def popleft(self) -> Task:
        """Take out a random task of the generation."""
        left = min(self._left, len(self)) or len(self)
        if left == 0:
            return super().popleft()  # raises, as ever
        self._left = left - 1
        place = self._random.randrange(left)
        self.rotate(-place)
        task = super().popleft()
        self.rotate(place)
        return task
