"""Which kernel runs in this thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from anyio_mio._kernel.kernel import Kernel


class Running(threading.local):
    """The kernel whose tasks this thread is stepping, else None."""

    kernel: Kernel | None = None


running: Final = Running()


def running_kernel() -> Kernel:
    """The kernel of this thread.

    Raises:
        RuntimeError: nothing runs here.
    """
    kernel = running.kernel
    if kernel is None:
        raise RuntimeError(
            "mio is not running in this thread.\n"
            "  wrong: calling this before or after the run, or from another thread\n"
            "  right: call it inside anyio.run(main, backend='mio'); from another thread use "
            "anyio.from_thread.run_sync(...)"
        )
    return kernel
