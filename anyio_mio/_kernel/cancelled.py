"""`Cancelled`, and what the kernel says to programs that use it wrongly."""

from __future__ import annotations

from typing import Final, final


@final
class Cancelled(BaseException):
    """Raised at a checkpoint of a cancelled scope; let it pass, the scope takes it.

    A `BaseException`, so that ``except Exception`` does not swallow it. The message says what
    cancelled the scope: a deadline, or the task that called ``cancel()`` and its reason.
    """


FOREIGN_AWAIT: Final = (
    "a task awaited {!r}, which does not belong to mio: it waits for another event loop.\n"
    "  wrong: await asyncio.sleep(1)\n"
    "  right: await anyio.sleep(1)"
)
NO_TASK: Final = (
    "this operation can only wait inside a task of the run that the object belongs to.\n"
    "  wrong: awaiting a stream of one run in another thread, or after its run is over\n"
    "  right: from another thread, anyio.from_thread.run(stream.receive)"
)

OTHER_THREAD: Final = (
    "this was called from another thread, where the event loop does not hear of it.\n"
    "  wrong: event.set(), scope.cancel() or task_group.start_soon(...) in a worker thread\n"
    "  right: anyio.from_thread.run_sync(event.set)"
)
