"""From a task of asyncio into a task of mio."""

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
    """Run an async function as a task of mio and wait for its end; for tasks of asyncio.

    The function may use what waits in mio: streams, task groups, AnyIO's events and locks. Called
    in a task of mio, it awaits the function there.

    Args:
        func: an async function.
        *args: what it is called with.

    Returns:
        What the function returned; its exception passes through as it is.

    Raises:
        RuntimeError: the running loop is not one of mio's.

    Cancellation: if the task of asyncio is cancelled, a scope around the function is, and the wait
    goes on until the function has ended. What a function returns in spite of that is delivered. If
    it ends before it could be told, its value is dropped and the cancellation raised, as for a task
    of asyncio that is cancelled right before it ends.
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
    """Await the function in a scope that its caller can cancel; None if it was cancelled."""
    with future.scope as scope:
        value = await func(*args)
        if future.was_told or not scope.cancel_called:
            return (value,)
    return None


@final
class TaskFuture(asyncio.Future[T]):
    """The outcome of a task of mio. Cancelling it cancels the task, and waits for its end.

    Attributes:
        was_told: whether the task has seen the cancellation: it has taken a step and waited again.
    """

    task: Task

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.scope = CancelScope()
        self.was_told = False

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the task; the future is cancelled when the task has ended."""
        if self.done():
            return False
        self.scope.cancel("the task of asyncio that waits for it was cancelled")
        task = self.task
        self.was_told |= task.error is not None or task.kernel.current is task
        if not self.was_told:
            task.send = self._send_once
        return True

    def _send_once(self, value: Any) -> Any:
        """Step the task: its ``send`` for the step after the cancellation."""
        self.task.send = self.task.coro.send
        trapped = self.task.coro.send(value)
        self.was_told = True
        return trapped

    def task_of_mio(self) -> Task | None:
        """Return the task whose end this future waits for; None before its first step."""
        task: Any = self.scope.host
        return task  # type: ignore[no-any-return]

    def task_done(self, task: Task, value: Any, error: BaseException | None, /) -> None:
        """Take the outcome: the owner's side."""
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
