"""Making tasks take turns in a given order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import final

import anyio
import anyio.lowlevel


@final
class Sequencer:
    """Lets blocks of several tasks run one after the other, in the order of their numbers.

        async def one(sequencer):
            async with sequencer(0): ...
            async with sequencer(2): ...

        async def other(sequencer):
            async with sequencer(1): ...

    Works on every backend.
    """

    def __init__(self) -> None:
        self._turn = 0
        self._waiting: dict[int, anyio.Event] = {}
        self._taken: set[int] = set()
        self._is_broken = False

    @asynccontextmanager
    async def __call__(self, position: int) -> AsyncIterator[None]:
        """Wait for ``position``'s turn, and pass the turn on at the end of the block.

        Args:
            position: 0, 1, 2 and so on; each is used once.

        Raises:
            RuntimeError: the position is taken, or a task before was cancelled while it waited.

        Checkpoint: always. Cancellation: the sequence is broken, and waiting tasks get an error.
        """
        if position in self._taken:
            raise RuntimeError(f"position {position} of this sequence is taken already")
        self._taken.add(position)
        await self._wait(position)
        try:
            yield
        finally:
            self._turn = position + 1
            if self._turn in self._waiting:
                self._waiting[self._turn].set()

    async def _wait(self, position: int) -> None:
        if position == self._turn:
            await anyio.lowlevel.checkpoint()
        elif not self._is_broken:
            await self._wait_for_event(position)
        if self._is_broken:
            raise RuntimeError("the sequence is broken: a task was cancelled while it waited")

    async def _wait_for_event(self, position: int) -> None:
        event = self._waiting[position] = anyio.Event()
        try:
            await event.wait()
        except anyio.get_cancelled_exc_class():
            self._is_broken = True
            for waiting in self._waiting.values():
                waiting.set()
            raise
        finally:
            del self._waiting[position]
