"""Async generators that were not exhausted. The run that started them closes them.

The interpreter calls `first_iteration()` for each async generator's first step and `finalizer()`
when one is dropped half-way, from any thread in which the garbage collector happens to run. A
dropped generator is closed by a system task; those that are left at the end of the run are closed
then. Both happen inside a cancelled scope, so that the cleanup cannot wait, with one exception.
While the run continues, the cleanup of a dropped generator may wait for asyncio's futures, as on
asyncio (`closes_one()` tells asyncio's face). Otherwise a library could not return a connection to
its pool there.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncGenerator, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, final
from weakref import ref

from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.interrupts import door

if TYPE_CHECKING:
    from anyio_mio._kernel.entry import EntryQueue
    from anyio_mio._kernel.foreign_loop import ForeignLoop

LOGGER: Final = logging.getLogger("anyio_mio.async_generators")


class Run(Protocol):
    """The part of the kernel that its async generators need."""

    asyncio: ForeignLoop | None
    entry: EntryQueue

    def spawn_system(self, coro: Coroutine[object, object, object], name: str) -> object:
        """Start a task that belongs to the run."""


@final
class AsyncGenerators:
    """The async generators of one run. Enter it around the code that steps tasks."""

    __slots__ = ("_alive", "_forget", "_kernel", "_previous")

    def __init__(self, kernel: Run) -> None:
        self._kernel = kernel
        # A WeakSet adds and removes with calls in Python: 510 ns for each generator instead of 240.
        self._alive: set[ref[AsyncGenerator[Any, Any]]] = set()
        self._forget = self._alive.discard
        self._previous = sys.get_asyncgen_hooks()

    def __len__(self) -> int:
        return len(self._alive)

    def __enter__(self) -> None:
        self._previous = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self.first_iteration, self.finalizer)

    def __exit__(self, *exc_info: object) -> None:
        sys.set_asyncgen_hooks(*self._previous)

    def first_iteration(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Record a generator; the interpreter calls this before its first step."""
        asyncio = self._kernel.asyncio
        if asyncio is None or not asyncio.first_iteration(generator):
            self._alive.add(ref(generator, self._forget))

    def finalizer(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Close a dropped generator soon; the interpreter calls this in any thread."""
        asyncio = self._kernel.asyncio
        if asyncio is not None and asyncio.finalizer(generator):
            return
        self._kernel.entry.put(partial(self._close_soon, generator))

    async def close_all(self) -> None:
        """Close the remaining generators, and those that are started by closing others."""
        while self._alive:
            batch = [each() for each in list(self._alive)]
            self._alive.clear()
            for generator in batch:
                if generator is not None:
                    await close(generator)

    def _close_soon(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._forget(ref(generator))
        name = getattr(generator, "__qualname__", repr(generator))
        self._kernel.spawn_system(close(generator), f"close {name}")


def closes_one(coro: object) -> bool:
    """Return whether a task closes a generator that was dropped."""
    return getattr(coro, "cr_code", None) is close.__code__


@door
async def close(generator: AsyncGenerator[Any, Any]) -> None:
    """Close one generator inside a cancelled scope; its errors are logged."""
    with CancelScope(shield=True) as scope:
        scope.cancel("an unfinished async generator is closed")
        try:
            await generator.aclose()
        except Exception:
            LOGGER.exception("closing the unfinished async generator %r failed", generator)
