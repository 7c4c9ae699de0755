"""How ``asyncio.current_task()`` is told which task runs.

asyncio keeps one current task for each loop: Python 3.11 in a dict, later versions behind a
function. Either is called before each step of a task, so both setters are C functions.
"""

from __future__ import annotations

from asyncio import events, tasks
from collections.abc import Callable
from functools import partial
from typing import Any


def setters(loop: events.AbstractEventLoop) -> tuple[Callable[[Any], object], Callable[[], object]]:
    """Return a function that sets the current task of ``loop``, and one that clears it."""
    swap = getattr(tasks, "_swap_current_task", None)
    if swap is not None:
        return partial(swap, loop), partial(swap, loop, None)
    current: dict[Any, Any] = tasks._current_tasks  # type: ignore[attr-defined]
    return partial(current.__setitem__, loop), partial(current.pop, loop, None)
