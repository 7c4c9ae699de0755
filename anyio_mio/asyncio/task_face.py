"""`TaskFace`: how asyncio's libraries see a task of mio. ``asyncio.current_task()`` returns it.

Facts. asyncio cancels by an edge: ``task.cancel()`` throws one ``CancelledError`` into the task's
current wait. ``asyncio.timeout()`` and ``TaskGroup`` use it, and count the calls (``cancelling()``,
``uncancel()``). AnyIO cancels by a level: a cancelled scope cancels every wait inside it.

Decision. A cancelled scope cancels the future that the task awaits. The task resumes when the
future is done: at once if it is a plain future, after the clean-up if it is an asyncio task. Then
the task gets mio's `Cancelled`, which is a ``CancelledError`` too. If the future ends with a value
in spite of that, the task gets the value, and its next wait is cancelled.

Libraries for asyncio wait again when they clean up: psycopg asks the server to end a query, and
waits for the answer. So a cancelled scope does not cancel a wait for asyncio (a future or a bare
yield) while the task handles such a `Cancelled`, in an ``except``, a ``finally`` or an
``__aexit__()``; `clean_up` explains how this is detected. If a library swallows the `Cancelled`,
its next wait is cancelled. If a further scope is cancelled, it cancels the clean-up too. The task
that closes a dropped async generator runs in a cancelled scope from its start; its waits for
asyncio are left alone until the run ends.

``cancel()`` of a face ends the wait with a plain ``CancelledError``, even if the future is done and
the task has not resumed yet. If the task does not wait, or waits for something of mio that cannot
be left, the next wait that can be left gets the error. So no result of mio is lost.

The face is also the callback that the future calls when it is done. The loop's ``call_soon()``
recognizes it and makes the task runnable, without a handle.
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
    "  wrong: loop = asyncio.get_event_loop() before the run, and await loop.create_task(f())\n"
    "  right: await asyncio.get_running_loop().create_task(f()) inside the run; for a loop in\n"
    "         another thread, future = asyncio.run_coroutine_threadsafe(f(), its_loop) and\n"
    "         await asyncio.wrap_future(future)"
)
NO_OUTCOME: Final = (
    "the task has ended, and its result was given to its task group.\n"
    "  right: call add_done_callback() before it ends, or await the handle of group.create_task()"
)


@final
class TaskFace:
    """The methods of an `asyncio.Task` that libraries call on the current task, for a task of mio.

    It is no `asyncio.Task`, and `asyncio.all_tasks()` does not list it.
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
        "_uncancelled_scope",
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
        self._uncancelled_scope: object = None
        self._outcome: asyncio.Future[Any] | None = None

    def __repr__(self) -> str:
        return f"<mio task {self.task.name!r} {self.task.state}>"

    # The kernel's side: a wait for a future of asyncio.

    def wait_for(self, task: Task, future: Any) -> None:
        """Park the task until ``future`` is done; it gets an error if it cannot await that."""
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
        """Cancel a bare yield in a cancelled scope, unless the task is cleaning up."""
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
        """Cancel the future, because the scope of the task was cancelled.

        The task goes on waiting until the future is done, unless the future waits for the task.
        """
        future = self._future
        if future is not None and not self._cancelled_by_scope:
            self._cancelled_by_scope = True
            is_told = cancel(future, task.scope.cancel_message())
            if not is_told and future.done():
                self.wake(future)  # another thread has set it, in a way that did not wake the loop
            else:
                self._leave_circle(future)
        return False

    def leave(self, task: Task, /) -> bool:
        """Take the task out of its wait without cancelling the future."""
        future, self._future = self._future, None
        if future is None:
            return False
        self._error = None
        future.remove_done_callback(self)
        future.add_done_callback(report_error)
        return True

    def take_error(self, error: BaseException, /) -> bool:
        """Cancel the future, and end the wait with an error of the kernel such as a Ctrl-C."""
        future = self._future
        if future is None:
            return False
        self._error = error
        cancel(future, None)
        self._leave_circle(future)
        return True

    def awaited_future(self) -> Any:
        """Return the future that the task awaits, or None."""
        return self._future

    def describe(self, task: Task, /) -> Wait:
        """Describe the future that the task awaits, for the task tree."""
        return describe_future(self._future, frames_of(task.coro))

    def finish(self, value: object, error: BaseException | None, /) -> None:
        """Give the result of the task, which has ended, to the tasks that await the face."""
        self._must_cancel = self._uncancelled_scope = None
        if self._outcome is not None:
            settle(self._outcome, value, error)

    def end_clean_up(self) -> None:
        """Cancel the task if it closes a dropped async generator: the run ends."""
        if self._closes_generator:
            self._closes_generator = False
            self.cancel()

    # asyncio's side.

    def cancel(self, msg: Any | None = None) -> bool:
        """End the current wait of the task, or else its next one, with a ``CancelledError``.

        Returns:
            False if the task has ended.
        """
        if self.task.done:
            return False
        if self._uncancelled_scope is not None and self._uncancelled_scope is self.task.scope:
            self._uncancelled_scope = None  # the scope cancels the next wait
            return True
        self._requests += 1
        self._must_cancel = "" if msg is None else msg
        kernel = self.task.kernel
        if kernel.current is self.task:
            # It does not wait yet. The callback runs after this step, and tries again.
            kernel.budget = 0
            self.task.send = self._send_and_cancel
            self._loop.call_soon(self._deliver)
        else:
            self._deliver()
        return True

    def cancelling(self) -> int:
        """Return the number of calls of `cancel()` minus those of `uncancel()`.

        A cancelled scope around the task counts for one: libraries ask whether a ``CancelledError``
        was meant for their own task.
        """
        scope = self.task.scope
        return self._requests + (scope.effective and scope is not self._uncancelled_scope)

    def uncancel(self) -> int:
        """Undo one `cancel()`; return how many are left."""
        if self._requests > 0:
            self._requests -= 1
            if self._requests == 0 and self._must_cancel is not None:
                self._must_cancel = None
                self.task.send = self.task.coro.send
        elif self.task.scope.effective:
            self._uncancelled_scope = self.task.scope
        return self.cancelling()

    def has_requests(self) -> bool:
        """Return whether there are calls of `cancel()` that were not undone."""
        return self._requests > 0

    def done(self) -> bool:
        """Return whether the task has ended."""
        return self.task.done

    def cancelled(self) -> bool:
        """Return whether the task has ended with a cancellation."""
        return self._outcome is not None and self._outcome.cancelled()

    def result(self) -> Any:
        """Return the result of the task, if it was asked for before the task ended."""
        return self._settled().result()

    def exception(self) -> BaseException | None:
        """Return the exception of the task, if it was asked for before the task ended."""
        return self._settled().exception()

    def add_done_callback(self, callback: DoneCallback, *, context: Context | None = None) -> None:
        """Call ``callback(face)`` soon after the task has ended."""
        callback = DoneCallbackOfFace(self, callback)
        self._settled().add_done_callback(callback, context=context)

    def remove_done_callback(self, callback: DoneCallback) -> int:
        """Remove a callback; return how many times it had been added."""
        return self._settled().remove_done_callback(DoneCallbackOfFace(self, callback))

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
        """Return the outermost frame of the suspended coroutine, as `asyncio.Task` does."""
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
        """Return whether the task handles a cancellation that has ended a wait for asyncio."""
        if self._closes_generator:
            return True
        error = None if self._delivered is None else self._delivered()
        return error is not None and is_on_its_way(error, self.task.coro)

    def _cancellation(self) -> Cancelled:
        """Make the error that ends a wait for asyncio, and remember it."""
        error = Cancelled(self.task.scope.cancel_message())
        self._delivered = ref(error)
        return error

    def _deliver(self) -> None:
        """End the current wait with the requested ``CancelledError``, or try at the next one."""
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
            # The future is done and the task is runnable. asyncio raises now and not at the next
            # wait, and its locks and task groups rely on that. The future keeps its result.
            task.error = task.error or error
            return True
        if task.parked_on is not None and task.parked_on is not YIELDED:
            return task.kernel.throw(task, error)
        if task.error is None:  # it has yielded, or has not begun: it is runnable
            task.error = error
        return True

    def _send_and_cancel(self, value: Any) -> Any:
        """Step the task, then try to cancel its wait; its ``send`` while a cancel is pending."""
        self.task.kernel.budget = 0
        trapped = self.task.coro.send(value)
        if trapped is PAUSED or trapped is None:
            self._deliver()
        return trapped

    def _leave_circle(
        self, future: Any, error: BaseException | None = None, _: object = None
    ) -> None:
        """End the wait if the future waits for this task; look again after its next change.

        Args:
            future: what the task awaits. It was cancelled, unless the task is cleaning up.
            error: what ends the wait; None for the cancellation of the task's scope.
        """
        if self._future is not future or future.done():  # the cancellation has woken the task
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
        """Return the future of the outcome. The first call makes it, before the task has ended.

        Raises:
            InvalidStateError: the task had ended before the outcome was asked for.
        """
        if self._outcome is None:
            if self.task.done:
                raise asyncio.InvalidStateError(NO_OUTCOME)
            self._outcome = self._loop.create_future()
        return self._outcome


@final
class DoneCallbackOfFace:
    """A done-callback that is called with the face instead of its future."""

    __slots__ = ("callback", "face")

    def __init__(self, face: TaskFace, callback: DoneCallback) -> None:
        self.face = face
        self.callback = callback

    def __call__(self, future: object) -> None:
        self.callback(self.face)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DoneCallbackOfFace) and self.callback == other.callback

    def __hash__(self) -> int:
        return hash(self.callback)


def cancel(future: Any, message: str | None) -> bool:
    """Cancel a future; return False if it is done or ignores that.

    If asyncio's tasks wait for each other, asyncio cancels each of them and raises RecursionError.
    """
    try:
        return bool(future.cancel() if message is None else future.cancel(msg=message))
    except RecursionError:
        return True


def report_error(future: Any) -> None:
    """Give the error of a future that its task has stopped awaiting to the exception handler."""
    if ended_by_cancellation(future) or future.exception() is None:
        return
    message = "exception of a future that its task has stopped awaiting"
    context = {"message": message, "exception": future.exception(), "future": future}
    future.get_loop().call_exception_handler(context)


def ended_by_cancellation(future: Any) -> bool:
    """Return whether a future that is done was cancelled.

    The future of ``asyncio.gather()`` is not cancelled, but has a ``CancelledError`` as exception.
    """
    return future.cancelled() or isinstance(future.exception(), asyncio.CancelledError)


def forget_cancellation(future: Any) -> None:
    """Keep a cancelled future from logging that its exception was never retrieved.

    The future of ``asyncio.gather()`` has a ``CancelledError`` as exception. asyncio marks it as
    not retrieved after the callbacks have been called, so it is retrieved in a later callback.
    """
    if not future.cancelled() and ended_by_cancellation(future):
        future.get_loop().call_soon(future.exception)


def settle(future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    """Give a future the outcome of a task; log nothing if the outcome is never retrieved."""
    if future.done():
        return
    if error is None:
        future.set_result(value)
    elif is_cancellation(error):
        future.cancel()
    else:
        future.set_exception(error)
        future.exception()
