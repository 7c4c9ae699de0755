"""`run_in_task()`: run a task of mio and wait for it in an asyncio task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import sniffio

from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.cancelled import is_cancellation
from anyio_mio._kernel.interrupts import door
from anyio_mio.asyncio.loop import Loop

if TYPE_CHECKING:
    from anyio_mio._kernel.task import Task

T = TypeVar("T")

NOT_OURS: Final = (
    "run_in_task() needs a loop of mio's, and {!r} runs here.\n"
    "  right: anyio_mio.run(main), or asyncio.Runner(loop_factory=anyio_mio.asyncio.new_event_loop)"
)


async def run_in_task(func: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an async function as a task of mio, and wait for it in a task of asyncio.

    The function can wait for what belongs to mio: streams, task groups, AnyIO's events and locks.
    In a task of mio, this is the same as ``await func(*args)``.

    Args:
        func: an async function.
        *args: the arguments of the function.

    Returns:
        What the function returns. An exception of the function is raised as it is.

    Raises:
        RuntimeError: the running loop is not one of mio's.

    Cancellation: if the asyncio task is cancelled, a scope around the function is cancelled, and
    the wait goes on until the function has ended. If the function returns a value in spite of the
    cancellation, the value is returned. If the function ends before the cancellation reaches it,
    its value is dropped and the cancellation is raised, as asyncio does for its own tasks.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, Loop):
        raise RuntimeError(NOT_OURS.format(loop))
    kernel = loop._kernel
    if kernel.current is not None:
        return await func(*args)
    future: TaskFuture[T] = TaskFuture(loop=loop)
    context = copy_context()
    context.run(sniffio.current_async_library_cvar.set, "mio")
    name = getattr(func, "__qualname__", repr(func))
    body = call(func, args, future)
    future.task = kernel.spawn(body, name, future, kernel.system, context=context)
    return await future


@door
async def call(
    func: Callable[..., Awaitable[T]], args: tuple[Any, ...], future: TaskFuture[T]
) -> tuple[T] | None:
    """Await the function in a scope that the caller can cancel; return None if it was cancelled."""
    with future.scope as scope:
        value = await func(*args)
        if future.was_told or not scope.cancel_called:
            return (value,)
    return None


@final
class TaskFuture(asyncio.Future[T]):
    """The outcome of a task of mio. To cancel it is to cancel the task.

    Attributes:
        was_told: whether the cancellation has reached the task: it has taken a step since.
    """

    task: Task

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.scope = CancelScope()
        self.was_told = False

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the task. The future is cancelled later, when the task has ended."""
        if self.done():
            return False
        self.scope.cancel("the task of asyncio that waits for it was cancelled")
        task = self.task
        self.was_told |= task.error is not None or task.kernel.current is task
        if not self.was_told:
            task.send = self._send_once
        return True

    def _send_once(self, value: Any) -> Any:
        """Step the task; this replaces its ``send`` for one step after the cancellation."""
        self.task.send = self.task.coro.send
        trapped = self.task.coro.send(value)
        self.was_told = True
        return trapped

    def task_of_mio(self) -> Task | None:
        """Return the task that this future belongs to; None before the first step of the task."""
        task: Any = self.scope.host
        return task  # type: ignore[no-any-return]

    def task_done(self, task: Task, value: Any, error: BaseException | None, /) -> None:
        """Take the outcome of the task, which calls this at its end."""
        del self.task  # a cycle
        if self.done():
            return
        if error is None and value is None:
            super().cancel()
        elif error is None:
            self.set_result(value[0])
        elif is_cancellation(error):
            super().cancel()
        else:
            self.set_exception(error)
        del error
