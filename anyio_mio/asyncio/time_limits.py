"""Find the time limits of tasks among the loop's timers, for the task tree.

Facts. ``asyncio.timeout()``, ``asyncio.wait_for()``, ``loop.call_later(5, task.cancel)`` and
AnyIO's scopes in asyncio's own tasks set a timer. The timer refers to the task, or to the future
that the task awaits: by its callback, by the object whose method that is, or by its arguments.

Decision. Record nothing while the program runs. Look through the timers when the tree is asked for.
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
"""Names of the attributes in which `asyncio.Timeout` and AnyIO's scope store their task."""


@final
class TimeLimits:
    """The time limits of the tasks of a run, as they are now.

    Args:
        deadlines: the deadlines of the run; the timers are among them.
    """

    def __init__(self, deadlines: Deadlines) -> None:
        self._ends: dict[int, float] = {}
        for when, number, timer in [*deadlines]:
            if isinstance(timer, TimerHandle) and timer.alarm == number:
                for each in ended_by(timer):
                    self._ends[id(each)] = min(when, self._ends.get(id(each), inf))

    def of(self, task: Any) -> float:
        """Return the time at which a limit ends the wait of a task; inf if there is no limit."""
        return min(self._ends.get(id(each), inf) for each in names_of(task) if each is not None)


def names_of(task: Any) -> Iterator[Any]:
    """Yield the objects that a timer may refer to in order to end a task's wait."""
    yield task
    if isinstance(task, asyncio.Task):
        yield awaited_future(task)
    elif isinstance(task.face, TaskFace):
        yield task.face
        yield task.face.awaited_future()


def ended_by(timer: Any) -> Iterator[Any]:
    """Yield the tasks and futures that a timer ends, as far as they can be found."""
    callback = timer._callback
    owner = getattr(callback, "__self__", None)
    yield owner
    yield from timer._args or ()
    for name in HOLDERS:
        yield getattr(owner, name, None)
    yield from tasks_in_scope(owner)


def tasks_in_scope(scope: Any) -> Iterator[Any]:
    """Yield the tasks in a scope of AnyIO's asyncio backend, and in the scopes inside it."""
    if not hasattr(scope, "_child_scopes"):
        return
    yield from list(getattr(scope, "_tasks", ()))
    for each in list(scope._child_scopes):
        if not getattr(each, "_shield", False):
            yield from tasks_in_scope(each)
