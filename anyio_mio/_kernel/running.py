"""Which kernel runs in this thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from anyio_mio._reactor.dead_selector import FORKED

if TYPE_CHECKING:
    from anyio_mio._kernel.stepper import Stepper


class Running(threading.local):
    """What this thread runs.

    Attributes:
        kernel: the kernel whose tasks it is stepping, else None.
        was_forked: whether this thread was forked from one that ran a kernel.
    """

    kernel: Stepper | None = None
    was_forked: bool = False


running: Final = Running()


def running_kernel() -> Stepper:
    """Return the kernel of this thread; the one in `kernel` knows its type.

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


def require_no_run() -> None:
    """Raise RuntimeError if mio runs in this thread."""
    if running.kernel is not None and not running.kernel.is_dead:
        raise RuntimeError(
            "mio is running in this thread already.\n"
            "  wrong: anyio.run(...) inside an async function\n"
            "  right: await the function, or run the other loop in a thread of its own"
        )
