"""Which time limits end the waits of asyncio's libraries, found among the loop's timers.

Facts. ``asyncio.timeout()``, ``asyncio.wait_for()``, ``loop.call_later(5, task.cancel)`` and
AnyIO's scopes in asyncio's own tasks set a timer. Its callback, the object that the callback is
a method of, or its arguments hold the task, or the future that the task awaits.

Decision. Nothing is noted on the way. Who asks for the task tree looks through the timers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from math import inf
from typing import Any, Final, final

from anyio_mio._kernel.deadlines import Deadlines
from anyio_mio.asyncio.asyncio_internals import awaited_future
from anyio_mio.asyncio.callbacks import TimerHandle
from anyio_mio.asyncio.task_face import TaskFace

HOLDERS: Final = ("_task", "_host_task")
"""Attributes in which `asyncio.Timeout` and AnyIO's scope keep their task."""


@final
class TimeLimits:
    """The time limits of a run at one moment.

    Args:
        deadlines: the run's, among which the timers are.
    """

    def __init__(self, deadlines: Deadlines) -> None:
        self._ends: dict[int, float] = {}
        for when, number, timer in [*deadlines]:
            if isinstance(timer, TimerHandle) and timer.alarm == number:
                for each in ended_by(timer):
                    self._ends[id(each)] = min(when, self._ends.get(id(each), inf))

    def of(self, task: Any) -> float:
        """Return when a limit ends the wait of a task, of mio or of asyncio; inf if none does."""
        return min(self._ends.get(id(each), inf) for each in names_of(task) if each is not None)


def names_of(task: Any) -> Iterator[Any]:
    """Yield what a timer may hold to end a task's wait."""
    yield task
    if isinstance(task, asyncio.Task):
        yield awaited_future(task)
    elif isinstance(task.face, TaskFace):
        yield task.face
        yield task.face.awaited_future()


def ended_by(timer: Any) -> Iterator[Any]:
    """Yield the tasks and futures that a timer ends, as far as that can be seen."""
    callback = timer._callback
    owner = getattr(callback, "__self__", None)
    yield owner
    yield from timer._args or ()
    for name in HOLDERS:
        yield getattr(owner, name, None)
    yield from tasks_in_scope(owner)


def tasks_in_scope(scope: Any) -> Iterator[Any]:
    """Yield the tasks in a scope of AnyIO's for asyncio, and in the scopes inside it."""
    if not hasattr(scope, "_child_scopes"):
        return
    yield from list(getattr(scope, "_tasks", ()))
    for each in list(scope._child_scopes):
        if not getattr(each, "_shield", False):
            yield from tasks_in_scope(each)
