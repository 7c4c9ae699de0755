"""AnyIO's capacity limiter."""

from __future__ import annotations

import math
from collections import OrderedDict
from types import TracebackType

import anyio
from anyio import CapacityLimiterStatistics

from anyio_mio._backend.synchronization import give_way
from anyio_mio._backend.task_info import current_task_info
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._kernel.task import Task
from anyio_mio._reactor.scheduler import Wait


class CapacityLimiter(anyio.CapacityLimiter):
    """Tokens, each lent to one borrower; a released token belongs to the first in the queue."""

    __slots__ = ("_borrowers", "_total_tokens", "_waiters")

    def __new__(cls, total_tokens: float) -> CapacityLimiter:
        return object.__new__(cls)

    def __init__(self, total_tokens: float) -> None:
        self._borrowers: dict[object, None] = {}
        self._waiters: OrderedDict[Task, object] = OrderedDict()
        self._total_tokens = checked_total(total_tokens)

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def total_tokens(self) -> float:
        """The number of tokens. If it is raised, waiters get the new tokens."""
        return self._total_tokens

    @total_tokens.setter
    def total_tokens(self, value: float) -> None:
        self._total_tokens = checked_total(value)
        self._serve_waiters()

    @property
    def borrowed_tokens(self) -> int:
        """How many tokens are lent."""
        return len(self._borrowers)

    @property
    def available_tokens(self) -> float:
        """How many tokens are free; negative if more are lent than the total allows."""
        return self._total_tokens - len(self._borrowers)

    def acquire_nowait(self) -> None:
        """Borrow a token for the current task; see `acquire_on_behalf_of_nowait()`."""
        self.acquire_on_behalf_of_nowait(current_task_info(running_kernel()))

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """Borrow a token.

        Raises:
            WouldBlock: none is free.
            RuntimeError: the borrower has one already.
        """
        if borrower in self._borrowers:
            raise held_already()
        if self._waiters or len(self._borrowers) >= self._total_tokens:
            raise anyio.WouldBlock
        self._borrowers[borrower] = None

    async def acquire(self) -> None:
        """Borrow a token for the current task; wait if none is free. Always a checkpoint."""
        await self.acquire_on_behalf_of(current_task_info(running_kernel()))

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Borrow a token, waiting if none is free. Always a checkpoint.

        Raises:
            RuntimeError: the borrower has one already.
        """
        kernel = running_kernel()
        if kernel.budget <= 0:
            await kernel.checkpoint_if_cancelled()
        if borrower in self._borrowers:
            raise held_already()
        task = kernel.current
        assert task is not None
        if not self._waiters and len(self._borrowers) < self._total_tokens:
            self._borrowers[borrower] = None
            try:
                await give_way(kernel)
            except BaseException:  # of a signal's handler
                self.release_on_behalf_of(borrower)
                raise
        else:
            self._waiters[task] = borrower
            try:
                await kernel.park(self)
            except BaseException:
                self._waiters.pop(task, None)  # a signal's handler has raised before the wait
                raise

    def release(self) -> None:
        """Return the current task's token; see `release_on_behalf_of()`."""
        self.release_on_behalf_of(current_task_info(running_kernel()))

    def release_on_behalf_of(self, borrower: object) -> None:
        """Return a token.

        Raises:
            RuntimeError: the borrower has none.
        """
        try:
            del self._borrowers[borrower]
        except KeyError:
            raise RuntimeError(
                "this borrower isn't holding any of this CapacityLimiter's tokens"
            ) from None
        if self._waiters:
            try:
                self._serve_waiters()
            except BaseException:  # of a signal's handler
                self._serve_waiters()
                raise

    def abort(self, task: Task, /) -> bool:
        """Remove a cancelled waiter; return False if it has a token already."""
        if task not in self._waiters:
            return False
        del self._waiters[task]
        return True

    def describe(self, task: Task, /) -> Wait:
        """See `Describes`."""
        return Wait(f"a token of a limiter that has lent all {self._total_tokens:g}")

    def statistics(self) -> CapacityLimiterStatistics:
        """Return tokens, borrowers and number of waiters."""
        return CapacityLimiterStatistics(
            len(self._borrowers), self._total_tokens, tuple(self._borrowers), len(self._waiters)
        )

    def _serve_waiters(self) -> None:
        while self._waiters and len(self._borrowers) < self._total_tokens:
            task, borrower = next(iter(self._waiters.items()))
            self._borrowers[borrower] = None
            del self._waiters[task]  # no call from here on: a signal's handler cannot come between
            task.kernel.run_queue.append(task)


def held_already() -> RuntimeError:
    """Return the error of a borrower that has a token already."""
    return RuntimeError("this borrower is already holding one of this CapacityLimiter's tokens")


def checked_total(value: float) -> float:
    """Return ``value`` if it can be a limiter's total; AnyIO's errors otherwise."""
    if not isinstance(value, int) and not math.isinf(value):
        raise TypeError("total_tokens must be an int or math.inf")
    if value < 0:
        raise ValueError("total_tokens must be >= 0")
    return value
