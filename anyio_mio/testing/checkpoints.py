"""Assert that a piece of code passes a checkpoint, or that it passes none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from anyio_mio._kernel.kernel import running_kernel


@contextmanager
def assert_checkpoints() -> Iterator[None]:
    """Fail unless the block passes at least one checkpoint.

    On mio an operation that need not wait does not yield while its task has budget left. It is a
    checkpoint all the same: it checks for cancellation and uses budget. So it counts here, and so
    does a wait. ``checkpoint_if_cancelled()`` alone does not count: it lets no other task run.

        with assert_checkpoints():
            await stream.send(b"")

    Raises:
        AssertionError: the block ended without one.
        RuntimeError: mio does not run in this thread.
    """
    meter = _Meter()
    yield
    if not meter.has_moved():
        raise AssertionError(
            "no checkpoint was passed: this cannot be cancelled, and a loop of it starves others.\n"
            "  right: await anyio.lowlevel.checkpoint() on every path"
        )


@contextmanager
def assert_no_checkpoints() -> Iterator[None]:
    """Fail if the block passes a checkpoint; see `assert_checkpoints`.

    Raises:
        AssertionError: it did.
        RuntimeError: mio does not run in this thread.
    """
    meter = _Meter()
    yield
    if meter.has_moved():
        raise AssertionError("a checkpoint was passed where none was expected")


@final
class _Mark(int):
    """A budget with an identity: spending or refilling it makes another object."""

    __slots__ = ()


@final
class _Meter:
    __slots__ = ("_kernel", "_mark")

    def __init__(self) -> None:
        self._kernel = running_kernel()
        self._mark = _Mark(self._kernel.budget)
        self._kernel.budget = self._mark

    def has_moved(self) -> bool:
        return self._kernel.budget is not self._mark
