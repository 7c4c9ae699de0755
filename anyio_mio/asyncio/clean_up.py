"""Whether a task cleans up after a cancellation: the error is still on its way.

Facts. While a coroutine is suspended in an ``except``, a ``finally`` or an ``__aexit__()``, it
keeps the error that it handles, outside its variables. No function of Python returns that error,
but the garbage collector sees it. A weak reference to the error does not tell: an error that was
swallowed lives on if the program has stored it, or if it is part of a cycle. asyncio's
``TaskGroup`` makes such a cycle.

Decision. The coroutines of the task are looked through, from the outermost to what the innermost
awaits. The error is on its way if one of them handles it, or an error that was raised while it was
handled.

Cost. Some microseconds, for a wait in a cancelled scope while such an error is alive.
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
"""Code that keeps a cancellation in a variable while it waits, and raises it later."""

SHOWS_HANDLED: Final = sys.implementation.name == "cpython"
"""Whether the garbage collector sees the error that a suspended coroutine handles."""


def is_on_its_way(error: BaseException, coro: object) -> bool:
    """Return whether a suspended task handles an error.

    Args:
        error: what was thrown into the task some time ago.
        coro: the coroutine of the task.
    """
    frame = handling_frame(error)
    if frame is None:
        return True  # it is not raised yet
    if not frame.f_code.co_flags & STEPPED_CODE:
        return True  # a greenlet's function, or compiled code: neither can be looked into
    if not SHOWS_HANDLED:
        return any(found is frame for _, found in awaited_by(coro))
    return any(handles(each, found, error) for each, found in awaited_by(coro))


STEPPED_CODE: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def handling_frame(error: BaseException) -> FrameType | None:
    """Return the outermost frame that an error has reached; None before it was raised."""
    traceback = error.__traceback__
    return None if traceback is None else traceback.tb_frame


def awaited_by(coro: object) -> Iterator[tuple[object, FrameType]]:
    """Yield the coroutines and generators of a suspended task, outermost first, with frames."""
    current: object = coro
    for _ in range(DEEPEST):
        awaitable = current
        frame, current = step_inwards(awaitable)
        if frame is not None:
            yield awaitable, frame
        if current is None:
            return


def handles(awaitable: object, frame: FrameType, error: BaseException) -> bool:
    """Return whether a suspended coroutine handles an error, or one that came of it."""
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
    """Yield the values of a frame's own variables: those that it holds without a cell between."""
    values = frame.f_locals
    for name in frame.f_code.co_varnames:
        if name in values and name not in frame.f_code.co_cellvars:
            yield values[name]


def comes_of(raised: BaseException | None, error: BaseException) -> bool:
    """Return whether an error is the other one, or was raised while that was handled."""
    for _ in range(DEEPEST):
        if raised is None or raised is error:
            break
        raised = raised.__context__
    return raised is error
