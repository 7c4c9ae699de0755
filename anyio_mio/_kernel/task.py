"""A task: a coroutine with its context, its wait and its owner."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol, final

from anyio_mio._kernel.cancel_scope import abandon
from anyio_mio._kernel.cancelled import WAIT_DROPPED, Cancelled, Cancelling, is_cancellation
from anyio_mio._reactor.scheduler import Leavable, TwoSided

if TYPE_CHECKING:
    from anyio_mio._kernel.cancel_scope import CancelScope
    from anyio_mio._kernel.stepper import Stepper
    from anyio_mio._reactor.scheduler import Waitable


class Owner(Protocol):
    """The object that learns that a task is done: its task group, or other code that started it."""

    def task_done(self, task: Task, value: object, error: BaseException | None, /) -> None:
        """Handle the end of the task, with ``value`` or with ``error``."""


class TaskFace(Cancelling, Protocol):
    """A task as asyncio sees it; see `foreign_loop`."""

    def wait_for(self, task: Task, future: Any, /) -> None:
        """Park the task on a future of asyncio's."""

    def end_yield(self) -> None:
        """End a bare yield of the task in a cancelled scope, unless the task cleans up."""

    def finish(self, value: object, error: BaseException | None, /) -> None:
        """Take the outcome of the task, which is done."""


class Wanted(Protocol):
    """An object that a task holds and that other tasks wait for: a lock."""

    def is_held_by(self, task: Task, /) -> bool:
        """Return whether this task holds it now."""

    def owner_ended(self, owner: Task, /) -> None:
        """Handle the end of an owner that has not released it."""


@final
class Several(dict[Wanted, None]):
    """Several objects that a task holds and that other tasks wait for, in order."""


class Task:
    """One task of the kernel. A subclass may do more at its end.

    Attributes:
        scope: the innermost cancel scope it is in; never None.
        base: the scope it was started in, which it has not entered itself; ``scope`` is ``base`` or
            a scope inside it.
        host: the task whose task group it belongs to; None for the main task.
        parked_on: the object that it waits on, or `YIELDED`. It is set by the operation that
            suspends the task, and cleared at the next step. If it is set while the task runs, other
            code has stepped a coroutine of the task and dropped it (K9).
        error: the error to throw into it when it resumes; None for none.
        alarm: see `Deadlines`; not zero while it sleeps.
        wanted: the objects that the task holds and others wait for: None, one object, or `Several`.
            An object that was released may still be here; see `add_wanted()`.
        info: free for the code that shows tasks to users.
        face: what ``asyncio.current_task()`` returns in it; None until asyncio is used.
    """

    __slots__ = (
        "__weakref__",
        "alarm",
        "base",
        "context",
        "coro",
        "done",
        "error",
        "face",
        "host",
        "info",
        "kernel",
        "name",
        "owner",
        "parked_on",
        "scope",
        "send",
        "wanted",
    )

    def __init__(  # noqa: PLR0913 - all of it differs from task to task
        self,
        kernel: Stepper,
        coro: Coroutine[object, object, object],
        name: str,
        context: Context,
        owner: Owner,
        base: CancelScope,
        host: Task | None,
    ) -> None:
        self.kernel: Stepper = kernel
        self.coro: Coroutine[object, object, object] = coro
        # Bound once, because binding it at each step would cost 34 ns (measured, CPython 3.11).
        self.send: Callable[[None], object] = coro.send
        self.name: str = name
        self.context: Context = context
        self.owner: Owner = owner
        self.base: CancelScope = base
        self.scope: CancelScope = base
        self.host: Task | None = host
        self.parked_on: Waitable | None = None
        self.error: BaseException | None = None
        self.alarm: int = 0
        self.done: bool = False
        self.info: object = None
        self.wanted: Wanted | Several | None = None
        self.face: TaskFace | None = None

    def __repr__(self) -> str:
        return f"<Task {self.name!r} {self.state}>"

    @property
    def state(self) -> str:
        """``running``, ``runnable``, ``parked`` or ``done`` (K1)."""
        if self.done:
            return "done"
        if self.kernel.current is self:
            return "running"
        return "runnable" if self in self.kernel.runnable_tasks() else "parked"

    def end_earlier_wait(self, waitable: Waitable | None) -> None:
        """Undo a wait of this task, which runs, that other code has begun and dropped (K9).

        Such code calls ``coroutine.send()``. ``parked_on`` is set, since the step is not over.

        Args:
            waitable: the object that the task waits on now, and has entered already; None if it
                does not wait.

        Raises:
            RuntimeError: the two waits are for the two directions of one descriptor.
        """
        earlier, self.parked_on = self.parked_on, None
        assert earlier is not None
        if earlier is not waitable:
            earlier.abort(self)
        elif isinstance(earlier, TwoSided) and earlier.reader is earlier.writer:
            earlier.abort(self), earlier.abort(self)
            raise RuntimeError(WAIT_DROPPED)
        self.error = None
        for queue in (self.kernel.run_queue, self.kernel.hung_up, self.kernel.spent):
            while self in queue:  # it was woken, too, or had only yielded
                queue.remove(self)

    def force(self, error: BaseException) -> None:
        """End its wait with ``error``, even if that abandons a thread.

        A task that waits for other tasks continues to wait for them.
        """
        parked_on = self.parked_on
        if parked_on is None or self.error is not None:
            return
        if parked_on.abort(self) or (isinstance(parked_on, Leavable) and parked_on.leave(self)):
            self.error = error
            self.kernel.run_queue.append(self)

    def add_wanted(self, thing: Wanted) -> None:
        """Record that another task waits for an object that this task holds.

        Released objects are removed here, and not when they are released. So if two tasks pass a
        lock to each other again and again, this is called only once.
        """
        wanted = self.wanted
        if not isinstance(wanted, Several):
            wanted = Several() if wanted is None else Several({wanted: None})
        if thing not in wanted:
            held = [each for each in wanted if each.is_held_by(self)]
            self.wanted = Several(dict.fromkeys([*held, thing])) if held else thing

    def end_wanted(self) -> None:
        """Tell the objects that it still holds that it has ended."""
        wanted, self.wanted = self.wanted, None
        for thing in wanted if isinstance(wanted, Several) else (wanted,):
            if thing is not None and thing.is_held_by(self):
                thing.owner_ended(self)

    def finish(self, value: object, error: BaseException | None) -> None:
        """Tell the owner that the coroutine has ended with ``value`` or with ``error``."""
        try:
            if self.scope is not self.base:
                error = abandon(self, self.base, error)
            self.owner.task_done(self, value, error)
        finally:
            del error, value  # the error's traceback holds this frame

    def expire(self) -> None:
        """End its sleep."""
        if self.parked_on is self.kernel.deadlines:  # else a signal's handler has ended the sleep
            self.kernel.run_queue.append(self)

    def interrupt(self, message: str) -> None:
        """End its wait, if possible, because its innermost scope has become cancelled (K6).

        Args:
            message: the text of the exception; see `CancelScope.cancel_message()`.
        """
        kernel = self.kernel
        if kernel.current is self:
            kernel.budget = 0
        parked_on = self.parked_on
        if parked_on is not None and self.error is None:
            # Made first, because Python runs no signal handler between abort()'s return and
            # append().
            error = Cancelled(message)
            if parked_on.abort(self):
                self.error = error
                kernel.run_queue.append(self)


@final
class SystemTasks:
    """Owner of the system tasks."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Stepper) -> None:
        self._kernel = kernel

    def task_done(self, task: Task, value: object, error: BaseException | None, /) -> None:
        """End the run with any error except a cancellation."""
        if error is not None and not is_cancellation(error):
            self._kernel.crash_with(error)
