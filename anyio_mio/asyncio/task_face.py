"""A task of mio as asyncio's libraries see it: what ``asyncio.current_task()`` returns.

Facts. asyncio has one way to cancel: ``task.cancel()`` throws a ``CancelledError`` into the task's
wait, once (an edge). ``asyncio.timeout()`` and ``TaskGroup`` are built on it, and on counting these
calls (``cancelling()``, ``uncancel()``). AnyIO has another: a cancelled scope cancels each wait
inside it (a level).

Decision. A cancelled scope cancels the future that the task awaits, and the task goes on when the
future is done: at once for a plain future, after its clean-up for a task of asyncio. Then it gets
mio's `Cancelled`, which is a ``CancelledError`` too. If the future ends with a value all the same,
the task gets the value, and its next wait is cancelled.

Libraries for asyncio clean up with further waits: psycopg asks the server to end a query and waits
for its answer. So a scope does not cancel the waits of asyncio's, futures and bare yields, while
such a `Cancelled` is still on its way, in an ``except``, a ``finally`` or an ``__aexit__()``;
`clean_up` says how that is known. A library that swallows it is cancelled again at its next wait,
and another scope that is cancelled cancels the clean-up too. The task that closes a dropped async
generator is in a cancelled scope from its start, and cleans up like that until the run ends.

``cancel()`` of a face ends the wait with a plain ``CancelledError``, also if the future is done and
the task has not gone on yet. If the task does not wait, or its wait for something of mio's cannot
be left, the error comes at the next wait that can be: a result of mio's is never lost.

The face is also what the future calls when it is done: the loop's ``call_soon()`` knows it and
makes the task runnable without a handle and without a callback.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeAlias, final
from weakref import ref

from anyio_mio._kernel.async_generators import closes_one
from anyio_mio._kernel.cancelled import FOREIGN_AWAIT, Cancelled, is_cancellation
from anyio_mio._kernel.foreign_loop import wait_elsewhere
from anyio_mio._kernel.task_tree import frames_of
from anyio_mio._kernel.traps import PAUSED, YIELDED
from anyio_mio._reactor.scheduler import Wait
from anyio_mio.asyncio.circles import NEVER, SOON, find_end
from anyio_mio.asyncio.clean_up import is_on_its_way
from anyio_mio.asyncio.task_states import describe_future

if TYPE_CHECKING:
    from anyio_mio._kernel.task import Task

DoneCallback: TypeAlias = "Callable[[Any], object]"

OTHER_LOOP: Final = (
    "{!r} belongs to another event loop, which does not run in this thread.\n"
    "  wrong: awaiting a future that was made before the run, or in another thread\n"
    "  right: future = asyncio.get_running_loop().create_future() inside the run; for another\n"
    "         thread's coroutine, asyncio.run_coroutine_threadsafe(coroutine, its_loop) and\n"
    "         asyncio.wrap_future()"
)
NO_OUTCOME: Final = (
    "the task has ended, and its result went to its task group.\n"
    "  right: add_done_callback() before it ends, or group.create_task() and await the handle"
)


@final
class TaskFace:
    """One task of mio, with the methods of an `asyncio.Task` that libraries call on their own task.

    It is not an `asyncio.Task`, and `asyncio.all_tasks()` does not list it.
    """

    __slots__ = (
        "__weakref__",
        "_cancelled_by_scope",
        "_closes_generator",
        "_delivered",
        "_error",
        "_future",
        "_loop",
        "_must_cancel",
        "_outcome",
        "_requests",
        "task",
    )

    def __init__(
        self, loop: events.AbstractEventLoop, task: Task, /, *, is_ending: bool = False
    ) -> None:
        self.task = task
        task.face = self
        self._loop = loop
        self._future: Any = None
        self._cancelled_by_scope = False
        self._closes_generator = task.host is None and not is_ending and closes_one(task.coro)
        self._delivered: ref[Cancelled] | None = None
        self._error: BaseException | None = None
        self._must_cancel: Any = None
        self._requests = 0
        self._outcome: asyncio.Future[Any] | None = None

    def __repr__(self) -> str:
        return f"<mio task {self.task.name!r} {self.task.state}>"

    # The kernel's side: a wait for a future of asyncio.

    def wait_for(self, task: Task, future: Any) -> None:
        """Park the task until ``future`` is done; fail it if it is no future of the loop."""
        if future is None or task.parked_on is not None:
            wait_elsewhere(task, future)
            return
        if not getattr(future, "_asyncio_future_blocking", None):
            task.kernel.fail(task, TypeError(FOREIGN_AWAIT.format(future)))
            return
        future._asyncio_future_blocking = False
        if future.get_loop() is not self._loop:
            task.kernel.fail(task, RuntimeError(OTHER_LOOP.format(future)))
            return
        self._future = future
        self._cancelled_by_scope = False
        task.parked_on = self
        future.add_done_callback(self, context=task.context)
        if task.scope.effective:
            if self._cleans_up():
                self._leave_circle(future)
            else:
                task.interrupt(task.scope.cancel_message())
        if self._must_cancel is not None:
            self._deliver()

    def end_yield(self) -> None:
        """End a bare yield in a cancelled scope, unless the task cleans up."""
        if not self._cleans_up():
            self.task.error = self._cancellation()

    def wake(self, future: Any) -> None:
        """Resume the task: the future is done."""
        if self._future is not future:
            return
        self._future = None
        task, error = self.task, self._error
        self._error = None
        if error is None and self._cancelled_by_scope and ended_by_cancellation(future):
            error = self._cancellation()
        if error is None:
            task.kernel.resume(task)
        else:
            forget_cancellation(future)
            task.kernel.fail(task, error)
        del error

    __call__ = wake
    """For futures that call their callbacks themselves."""

    def abort(self, task: Task, /) -> bool:
        """Cancel the future for a cancelled scope.

        The task waits until it is done, unless it cannot be done before the task has ended.
        """
        future = self._future
        if future is not None and not self._cancelled_by_scope:
            self._cancelled_by_scope = True
            is_told = cancel(future, task.scope.cancel_message())
            if not is_told and future.done():
                self.wake(future)  # it was set in another thread, which the loop refused
            else:
                self._leave_circle(future)
        return False

    def leave(self, task: Task, /) -> bool:
        """Take the task out of its wait, and let the future go on alone."""
        future, self._future = self._future, None
        if future is None:
            return False
        self._error = None
        future.remove_done_callback(self)
        future.add_done_callback(report_error)
        return True

    def take_error(self, error: BaseException, /) -> bool:
        """End the wait with an error of the kernel's, such as Ctrl-C."""
        future = self._future
        if future is None:
            return False
        self._error = error
        cancel(future, None)
        self._leave_circle(future)
        return True

    def awaited_future(self) -> Any:
        """Return the future that the task awaits; None if it awaits none."""
        return self._future

    def describe(self, task: Task, /) -> Wait:
        """Describe the future that the task waits for."""
        return describe_future(self._future, frames_of(task.coro))

    def finish(self, value: object, error: BaseException | None, /) -> None:
        """Wake the tasks that wait for the face: its task has ended."""
        self._must_cancel = None
        if self._outcome is not None:
            settle(self._outcome, value, error)

    def end_clean_up(self) -> None:
        """Cancel the clean-up of an async generator that was dropped: the run ends."""
        if self._closes_generator:
            self._closes_generator = False
            self.cancel()

    # asyncio's side.

    def cancel(self, msg: Any | None = None) -> bool:
        """End the task's wait with a ``CancelledError``, or its next one if it does not wait now.

        Returns:
            False if the task has ended.
        """
        if self.task.done:
            return False
        self._requests += 1
        self._must_cancel = "" if msg is None else msg
        kernel = self.task.kernel
        if kernel.current is self.task:
            # It does not wait yet. The callback comes after this step, and looks again.
            kernel.budget = 0
            self.task.send = self._send_and_cancel
            self._loop.call_soon(self._deliver)
        else:
            self._deliver()
        return True

    def cancelling(self) -> int:
        """Return how many calls of `cancel()` have not been taken back by `uncancel()`."""
        return self._requests

    def uncancel(self) -> int:
        """Take one `cancel()` back; return how many are left."""
        if self._requests > 0:
            self._requests -= 1
            if self._requests == 0 and self._must_cancel is not None:
                self._must_cancel = None
                self.task.send = self.task.coro.send
        return self._requests

    def done(self) -> bool:
        """Return whether the task has ended."""
        return self.task.done

    def cancelled(self) -> bool:
        """Return whether the task has ended by a cancellation."""
        return self._outcome is not None and self._outcome.cancelled()

    def result(self) -> Any:
        """Return what the task returned, if that was asked for before it ended."""
        return self._settled().result()

    def exception(self) -> BaseException | None:
        """Return what the task raised, if that was asked for before it ended."""
        return self._settled().exception()

    def add_done_callback(self, callback: DoneCallback, *, context: Context | None = None) -> None:
        """Have ``callback(face)`` called soon after the task has ended."""
        callback = Told(self, callback)
        self._settled().add_done_callback(callback, context=context)

    def remove_done_callback(self, callback: DoneCallback) -> int:
        """Take a callback back; return how many times it was added."""
        return self._settled().remove_done_callback(Told(self, callback))

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the end of the task, in another task.

        Raises:
            RuntimeError: the task awaits itself, which would never end.
        """
        if self.task.kernel.current is self.task:
            raise RuntimeError(f"Task cannot await on itself: {self!r}")
        return asyncio.shield(self._settled()).__await__()

    def get_loop(self) -> events.AbstractEventLoop:
        """Return the loop of the run."""
        return self._loop

    def get_name(self) -> str:
        """Return the task's name."""
        return self.task.name

    def set_name(self, value: object, /) -> None:
        """Change the task's name."""
        self.task.name = str(value)

    def get_coro(self) -> Coroutine[Any, Any, Any]:
        """Return the task's coroutine."""
        return self.task.coro

    def get_context(self) -> Context:
        """Return the task's context."""
        return self.task.context

    def get_stack(self, *, limit: int | None = None) -> list[Any]:
        """Return the frames of the suspended coroutine: the outermost alone, as for a task."""
        frame = getattr(self.task.coro, "cr_frame", None)
        return [] if frame is None else [frame]

    def print_stack(self, *, limit: int | None = None, file: TextIO | None = None) -> None:
        """Print where the task waits."""
        import sys
        import traceback

        stack = self.get_stack()
        print(repr(self), file=file or sys.stderr)
        for frame in stack:
            traceback.print_stack(frame, limit=1, file=file)

    # Insides.

    def _cleans_up(self) -> bool:
        """Return whether a cancellation that ended a wait of asyncio's is still on its way."""
        if self._closes_generator:
            return True
        error = None if self._delivered is None else self._delivered()
        return error is not None and is_on_its_way(error, self.task.coro)

    def _cancellation(self) -> Cancelled:
        """Make the error that ends a wait of asyncio's, and remember it."""
        error = Cancelled(self.task.scope.cancel_message())
        self._delivered = ref(error)
        return error

    def _deliver(self) -> None:
        """End the wait that the task is in, if it can be left; else its next step tries again."""
        task, msg = self.task, self._must_cancel
        if msg is None or task.done:
            return
        if self._is_ended(msg):
            self._must_cancel = None
            task.send = task.coro.send
        else:
            task.send = self._send_and_cancel

    def _is_ended(self, msg: Any) -> bool:
        task = self.task
        future = self._future
        error = asyncio.CancelledError(msg) if msg else asyncio.CancelledError()
        if future is not None:
            is_told = cancel(future, msg or None)
            if is_told:
                self._leave_circle(future, error)
            return is_told
        if task.parked_on is self:
            # The future is done and the task runnable. asyncio raises here and not at the next
            # wait, and its locks and groups count on it; the future keeps its result.
            task.error = task.error or error
            return True
        if task.parked_on is not None and task.parked_on is not YIELDED:
            return task.kernel.throw(task, error)
        if task.error is None:  # it has yielded, or has not begun: it is runnable
            task.error = error
        return True

    def _send_and_cancel(self, value: Any) -> Any:
        """Step the task, then end the wait that it is in: its ``send`` while a cancel is due."""
        self.task.kernel.budget = 0
        trapped = self.task.coro.send(value)
        if trapped is PAUSED or trapped is None:
            self._deliver()
        return trapped

    def _leave_circle(
        self, future: Any, error: BaseException | None = None, _: object = None
    ) -> None:
        """End the wait for a future that would wait for this task, now or after its next change.

        Args:
            future: what the task awaits. It was told to cancel; if not, the task cleans up.
            error: what ends the wait; if it is None, the cancellation of the task's scope.
        """
        if self._future is not future or future.done():  # cancelling it has come round
            return
        task = self.task
        end = find_end(future, task)
        if end is NEVER:
            error = self._error or error or Cancelled(task.scope.cancel_message())
            self.leave(task)
            task.kernel.fail(task, error)
        elif end is SOON:
            self._loop.call_soon(self._leave_circle, future, error)
        elif end is not future:
            end.add_done_callback(partial(self._leave_circle, future, error))

    def _settled(self) -> asyncio.Future[Any]:
        if self._outcome is None:
            if self.task.done:
                raise asyncio.InvalidStateError(NO_OUTCOME)
            self._outcome = self._loop.create_future()
        return self._outcome


@final
class Told:
    """A done-callback that gets the face and not the future behind it."""

    __slots__ = ("callback", "face")

    def __init__(self, face: TaskFace, callback: DoneCallback) -> None:
        self.face = face
        self.callback = callback

    def __call__(self, future: object) -> None:
        self.callback(self.face)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Told) and self.callback == other.callback

    def __hash__(self) -> int:
        return hash(self.callback)


def cancel(future: Any, message: str | None) -> bool:
    """Cancel a future; False if it is done, or does not listen.

    A circle among asyncio's own tasks answers with a RecursionError: each of them was told.
    """
    try:
        return bool(future.cancel() if message is None else future.cancel(msg=message))
    except RecursionError:
        return True


def report_error(future: Any) -> None:
    """Tell the loop's exception handler how a future ended for which its task waits no more."""
    if ended_by_cancellation(future) or future.exception() is None:
        return
    message = "exception of a future whose wait was broken off"
    context = {"message": message, "exception": future.exception(), "future": future}
    future.get_loop().call_exception_handler(context)


def ended_by_cancellation(future: Any) -> bool:
    """Return whether a future that is done says that it was cancelled.

    ``asyncio.gather()`` sets a ``CancelledError`` as the exception of the future that it returns.
    """
    return future.cancelled() or isinstance(future.exception(), asyncio.CancelledError)


def forget_cancellation(future: Any) -> None:
    """Keep a future that ended by a cancellation from logging that its error was not retrieved.

    That of ``asyncio.gather()`` has an error. It is marked as not retrieved right after the
    callbacks are called, of which the one that wakes the task is one.
    """
    if not future.cancelled() and ended_by_cancellation(future):
        future.get_loop().call_soon(future.exception)


def settle(future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    """Give a future the outcome of a task; nothing is logged if no one asks for it."""
    if future.done():
        return
    if error is None:
        future.set_result(value)
    elif is_cancellation(error):
        future.cancel()
    else:
        future.set_exception(error)
        future.exception()
