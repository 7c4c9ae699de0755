"""Which kernel runs in this thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, TypeVar, final

from anyio_mio._reactor.dead_selector import FORKED

if TYPE_CHECKING:
    from anyio_mio._kernel.stepper import Stepper


T = TypeVar("T")

RUNNING_ALREADY: Final = (
    "mio is running in this thread already.\n"
    "  wrong: anyio.run(...) inside an async function\n"
    "  right: await the function, or run the other loop in a thread of its own"
)


class Running(threading.local):
    """What this thread runs.

    Attributes:
        kernel: the kernel whose tasks this thread steps, or None.
        was_forked: whether this thread was forked from one that ran a kernel.
    """

    kernel: Stepper | None = None
    was_forked: bool = False


running: Final = Running()


def running_kernel() -> Stepper:
    """Return the kernel of this thread. `kernel.running_kernel` is the same with the full type.

    Raises:
        RuntimeError: nothing runs here.
    """
    kernel = running.kernel
    if kernel is None:
        if running.was_forked:
            raise RuntimeError(FORKED)
        raise RuntimeError(
            "mio is not running in this thread.\n"
            "  wrong: calling this before or after the run, or from another thread\n"
            "  right: call it inside anyio.run(main, backend='mio'); from another thread use "
            "anyio.from_thread.run_sync(...)"
        )
    return kernel


@final
class Presence:
    """What says in a thread that a kernel runs there, while it takes turns.

    Args:
        parts: what else says so, beside `running`; each can be left twice.
    """

    __slots__ = ("_parts",)

    def __init__(self, *parts: AbstractContextManager[object]) -> None:
        self._parts = parts

    def surround(self, kernel: Stepper, function: Callable[[T], object], argument: T) -> None:
        """Call a function, and say in the meantime that this kernel runs.

        Raises:
            RuntimeError: a kernel runs in this thread already.
        """
        if running.kernel is not None and not running.kernel.is_dead:
            raise RuntimeError(RUNNING_ALREADY)
        running.kernel = kernel
        try:
            for part in self._parts:
                part.__enter__()
            function(argument)
            self.withdraw()
        except BaseException:
            self.withdraw()  # again, if a signal's handler has cut it short
            raise
        finally:
            running.kernel = None

    def withdraw(self) -> None:
        """Say so no more."""
        for part in reversed(self._parts):
            part.__exit__(None, None, None)
