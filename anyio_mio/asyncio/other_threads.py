"""What another thread may not do to the loop, and what happens if it does.

Facts. asyncio's loop and its futures belong to one thread. Another thread that calls `call_soon()`
while the loop sleeps does not wake it. asyncio notices that in its debug mode alone; otherwise the
callback runs when something else wakes the loop. ``event.set()``, ``queue.put_nowait()`` and
``future.set_result()`` call it, after the future is done.

Decision. A call from another thread raises if the loop would not notice it. There is one exception:
a future that is done has forgotten its callbacks, so the tasks that wait for it would wait forever.
Its callbacks are queued and the loop is woken. The loop's exception handler is told, once in a run.
"""

from __future__ import annotations

import asyncio
import traceback
from types import FrameType
from typing import Any, Final

HOW: Final = (
    "  wrong: loop.call_soon(callback), event.set() or future.set_result(value) in a thread\n"
    "  right: loop.call_soon_threadsafe(event.set)"
)
OTHER_THREAD: Final = (
    "this was called from another thread, and the event loop would not notice it.\n" + HOW
)
SET_ELSEWHERE: Final = (
    "a future was set in another thread, without waking the event loop, which is reported once.\n"
    + HOW
)


class OtherThread(RuntimeError):
    """Another thread has called the loop in a way that would not wake it."""

    def __init__(self) -> None:
        super().__init__(OTHER_THREAD)


def is_of_future(args: tuple[Any, ...]) -> bool:
    """Return whether a callback with these arguments is called for a future that is done."""
    return len(args) == 1 and asyncio.isfuture(args[0]) and args[0].done()


def describe(future: Any, frame: FrameType) -> dict[str, Any]:
    """Return what the loop's exception handler is told of a future that another thread has set."""
    where = "".join(traceback.format_stack(frame, limit=5)).rstrip()
    return {"message": f"{SET_ELSEWHERE}\n{where}", "future": future}
