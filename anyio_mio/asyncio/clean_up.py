"""Find out whether a task is cleaning up: whether it still handles a cancellation.

Facts. While a coroutine is suspended in an ``except``, a ``finally`` or an ``__aexit__()``, it
keeps a reference to the error that it handles, outside its variables. No function of Python returns
that error, but the garbage collector can see it. A weak reference to the error is not enough: after
the error was swallowed, it stays alive if the program has stored it, or if it is part of a
reference cycle. asyncio's ``TaskGroup`` makes such a cycle.

Decision. Look through the coroutines of the task, from the outermost to the innermost. The task is
cleaning up if one of them handles the error, or an error that was raised while it was handled.

Cost. Some microseconds for a wait in a cancelled scope, if such an error is alive.
"""

from __future__ import annotations

import gc
import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

from anyio_mio._kernel.task_tree import DEEPEST, step_inwards

KEEPERS: Final = ("asyncio/taskgroups.py", "asyncio\\taskgroups.py")
"""Files with code that stores a cancellation in a variable, waits, and raises it afterwards."""

SHOWS_HANDLED: Final = sys.implementation.name == "cpython"
"""Whether the garbage collector can see the error that a suspended coroutine handles."""


def is_on_its_way(error: BaseException, coro: object) -> bool:
    """Return whether a suspended task still handles an error.

    Args:
        error: an error that was thrown into the task earlier.
        coro: the coroutine of the task.
    """
    frame = handling_frame(error)
    if frame is None:
        return True  # it has not been raised yet
    if not frame.f_code.co_flags & STEPPED_CODE:
        return True  # code in a greenlet, or compiled code: its frames cannot be inspected
    if not SHOWS_HANDLED:
        return any(found is frame for _, found in awaited_by(coro))
    return any(handles(each, found, error) for each, found in awaited_by(coro))


STEPPED_CODE: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def handling_frame(error: BaseException) -> FrameType | None:
    """Return the outermost frame that an error has reached; None if it was not raised yet."""
    traceback = error.__traceback__
    return None if traceback is None else traceback.tb_frame


def awaited_by(coro: object) -> Iterator[tuple[object, FrameType]]:
    """Yield a suspended task's coroutines and generators with their frames, outermost first."""
    current: object = coro
    for _ in range(DEEPEST):
        awaitable = current
        frame, current = step_inwards(awaitable)
        if frame is not None:
            yield awaitable, frame
        if current is None:
            return


def handles(awaitable: object, frame: FrameType, error: BaseException) -> bool:
    """Return whether a suspended coroutine handles an error, or one raised during its handling."""
    held: Counter[int] = Counter()
    errors: dict[int, BaseException] = {}
    for each in gc.get_referents(awaitable):
        if isinstance(each, BaseException):
            held[id(each)] += 1
            errors[id(each)] = each
    if not errors:
        return False
    if not frame.f_code.co_filename.endswith(KEEPERS):
        held -= Counter(id(each) for each in variables(frame))
    return any(held[number] > 0 and comes_of(each, error) for number, each in errors.items())


def variables(frame: FrameType) -> Iterator[Any]:
    """Yield the values of the local variables that a frame holds directly, not in cells."""
    values = frame.f_locals
    for name in frame.f_code.co_varnames:
        if name in values and name not in frame.f_code.co_cellvars:
            yield values[name]


def comes_of(raised: BaseException | None, error: BaseException) -> bool:
    """Return whether an error is the other one, or was raised while the other was handled."""
    for _ in range(DEEPEST):
        if raised is None or raised is error:
            break
        raised = raised.__context__
    return raised is error
