"""Tasks that keep an AnyIO task handle.

AnyIO gives each task a handle with a cancel scope and a "finished" event, and a coroutine
``_run_coro()`` that enters the scope, awaits the task's own coroutine and fills the handle in. Run
as it is, that is one more coroutine for each task: a frame more at each step and 300 bytes more for
each idle connection. With a thousand connections it costs 0.5 microseconds of 12 for each echo
(measured), since a frame that is cold is a cache miss.

So the kernel steps the task's own coroutine, and `HandledTask` does at its end what ``_run_coro()``
would. That knows four private names of AnyIO; if its ``_run_coro()`` no longer uses exactly the
names below, the real one is run instead.
"""

from __future__ import annotations

from contextvars import Context, copy_context
from typing import Any, Final, final

from anyio import TaskHandle

from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.cancel_tree import abandon
from anyio_mio._kernel.task import Owner, Task

KNOWN_NAMES: Final = {
    "BaseException",
    "_cancel_scope",
    "_coro",
    "_exception",
    "_finished_event",
    "_return_value",
    "set",
}

IS_KNOWN: Final = set(TaskHandle._run_coro.__code__.co_names) == KNOWN_NAMES


@final
class HandledTask(Task):
    """A task whose handle learns how it ended."""

    __slots__ = ("handle",)
    handle: TaskHandle[Any]

    def finish(self, value: object, error: BaseException | None) -> None:
        """Fill the handle in, leave its scope, tell the owner."""
        handle = self.handle
        outermost: CancelScope = handle._cancel_scope  # type: ignore[assignment]
        if self.scope is not outermost:
            error = abandon(self, outermost, error)
        if error is None:
            handle._return_value = value
        else:
            handle._exception = error
        handle._finished_event.set()
        # The handle keeps the error, and the error's frames keep this task: it must not close the
        # circle, or each cancelled task would wait for the garbage collector.
        del self.handle
        try:
            error = leave(handle._cancel_scope, error)
            Task.finish(self, value, error)
        finally:
            del error, value, handle, self


def leave(scope: Any, error: BaseException | None) -> BaseException | None:
    """Exit a task's outermost scope with the task's error; what is left of the error."""
    try:
        if scope.__exit__(None if error is None else type(error), error, None):
            return None
    except BaseException as rest:
        return rest
    else:
        return error
    finally:
        del error


def new_task(
    handle: TaskHandle[Any],
    context: Context | None,
    owner: Owner,
    base: CancelScope,
    host: Task,
) -> Task:
    """The task for a handle; it still has to be started."""
    kernel, name, context = host.kernel, handle.name, context or copy_context()
    if not IS_KNOWN:
        return Task(kernel, handle._run_coro(), name, context, owner, base, host)
    task = HandledTask(kernel, handle.coro, name, context, owner, base, host)
    task.handle = handle
    handle._cancel_scope.enter(kernel, task)  # type: ignore[attr-defined]
    return task
