"""Task groups: children, their errors, and the wait for the last of them (K4)."""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from anyio_mio._kernel.cancel_scope import LEFT_OPEN, OTHER_TASK, CancelScope
from anyio_mio._kernel.cancelled import Cancelled, is_cancellation, uncover
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._kernel.running import running
from anyio_mio._reactor.scheduler import Wait

if TYPE_CHECKING:
    from anyio_mio._kernel.task import Task

ENTERED_TWICE = "TaskGroup cannot be entered more than once"
SHOWN_CHILDREN = 5
NOT_ACTIVE = "This task group is not active; no new tasks can be started."


class TaskGroup:
    """A group of tasks that all end before the ``async with`` block does.

    Attributes:
        cancel_scope: the scope that the children run in.
        host: the task that is in the block; None before and after it.
        starting: how many ``start()`` calls have a child that is not in the group yet.
    """

    __slots__ = (
        "_errors",
        "_host_was_cancelled",
        "_is_waiting",
        "active",
        "cancel_scope",
        "entered",
        "host",
        "starting",
    )
    scope_type: ClassVar[type[CancelScope]] = CancelScope

    def __init__(self) -> None:
        self.cancel_scope = self.scope_type()
        self.host: Task | None = None
        self.active = False
        self.entered = False
        self.starting = 0
        self._errors: list[BaseException] | None = None
        self._is_waiting = False
        self._host_was_cancelled = False

    async def __aenter__(self) -> Self:
        if self.entered:
            raise RuntimeError(ENTERED_TWICE)
        self.entered = True
        self.cancel_scope.__enter__()
        self.host = running_kernel().current
        self.active = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        scope, outcome = self.cancel_scope, None
        try:
            if exc_type is GeneratorExit and self._run_broke_down():
                return False
            self._require_host()
            try:
                if exc is not None:
                    await self._end_children(exc)
                await self._wait_for_children()
                outcome = self._outcome(exc)
            except BaseException as error:
                if self._run_broke_down():
                    raise
                # Our own code does not raise there, so a signal handler has (K4).
                await self._end_children(error)
                await self._wait_for_children()
                outcome = self._outcome(error)
            if scope.__exit__(type(outcome) if outcome else None, outcome, None):
                return True
            if outcome is None or outcome is exc:
                return False
            raise outcome from None
        finally:
            # Each of these would make a reference cycle of the exception and a frame of its
            # traceback.
            del exc, traceback, outcome, scope
            self._errors = None

    def spawn(
        self,
        coro: Coroutine[object, object, object],
        name: str,
        context: Context | None = None,
    ) -> Task:
        """Start a child; the caller has checked that the group is active."""
        host = self.host
        assert host is not None
        base = self.cancel_scope
        child: Task = host.kernel.spawn(coro, name, self, base, host=host, context=context)
        return child

    def take_error(self, error: BaseException, /) -> bool:
        """End the children, and then the block, while the host waits.

        The error is a Ctrl-C, or comes from asyncio's ``cancel()``.
        """
        if self._is_waiting:
            self._add_error(error)
            self.cancel_scope.cancel(f"{type(error).__name__} while its host waited")
        return self._is_waiting

    def task_done(self, task: Task, value: object, error: BaseException | None, /) -> None:
        """Handle the end of a child; an error cancels the other children."""
        if error is not None:
            self._child_failed(error)
            del error
        self.wake_host_if_done()

    def wake_host_if_done(self) -> None:
        """Resume the host if there is no child left to wait for."""
        if self._is_waiting and not self.cancel_scope.members and not self.starting:
            # From here to append() Python runs no signal handler.
            self._is_waiting = False
            host = self.host
            if host is not None and host.parked_on is self:
                host.kernel.run_queue.append(host)

    def describe(self, task: object, /) -> Wait:
        """Describe the children that the parent task waits for."""
        children = list(self.cancel_scope.members or ())
        names = ", ".join(repr(child.name) for child in children[:SHOWN_CHILDREN])
        more = len(children) - SHOWN_CHILDREN
        noun = "child task" if len(children) == 1 else "child tasks"
        words = f"{len(children)} {noun}: {names}" + (f" and {more} more" if more > 0 else "")
        return Wait(words, tasks=tuple(children), needs_a_task=True)

    def abort(self, task: object, /) -> bool:
        """Keep a cancelled host waiting: its children are cancelled, too."""
        if self._is_waiting:  # else its last child has woken it before (K6)
            self._host_was_cancelled = True
        return False

    def _run_broke_down(self) -> bool:
        """Return whether no kernel steps tasks any more, and this coroutine is collected."""
        return self.host is not None and running.kernel is not self.host.kernel

    def _require_host(self) -> None:
        """Raise an error in another task: a wait there would wake the task that entered."""
        host = self.host
        if host is not None and host.kernel.current is not host:
            if host.kernel.is_dead:
                raise host.kernel.no_task()
            self.cancel_scope.cancel("its task group was left in a different task")
            raise RuntimeError(OTHER_TASK)

    async def _end_children(self, error: BaseException) -> None:
        """Cancel the children, because ``error`` ends the block."""
        scope, host = self.cancel_scope, self.host
        is_innermost = host is None or host.scope is scope
        if not is_innermost:  # see CancelScope._leave_those_inside()
            error = error if scope.effective else uncover(error) or error
        if not is_cancellation(error):
            self._add_error(error)
        scope.cancel(f"the body of the task group raised {type(error).__name__}")
        if not is_innermost and host is not None:
            for failure in (await end_those_inside(host, scope)) or ():
                self._add_error(failure)

    async def _wait_for_children(self) -> None:
        kernel = running_kernel()
        if not self.cancel_scope.members and not self.starting:
            # It yields but does not check for cancellation, because the body has its result
            # already. Other tasks may start children in the meantime (K4).
            await kernel.yield_now()
        while self.cancel_scope.members or self.starting:
            self._is_waiting = True
            await kernel.park(self)
        self.active = False
        self.host = None

    def _child_failed(self, error: BaseException) -> None:
        host = self.host
        if host is not None and host.done:  # it has left the group open: no task can get the error
            if not is_cancellation(error):
                host.kernel.crash_with(error)
        elif not (isinstance(error, Cancelled) or is_cancellation(error)):
            self._add_error(error)
            self.cancel_scope.cancel(f"a child task raised {type(error).__name__}")
        elif self.cancel_scope.effective:
            self.cancel_scope.cancel("a child task was cancelled")
        else:
            self.cancel_scope.cancel("a child task ended with a stray cancellation")

    def _add_error(self, error: BaseException) -> None:
        if self._errors is None:
            self._errors = [error]
        elif self._errors[-1] is not error:  # reported twice: see Kernel._repair()
            self._errors.append(error)

    def _outcome(self, exc: BaseException | None) -> BaseException | None:
        """Return the error that the block ends with, before the group's own scope handles it."""
        if self._errors:
            errors = [error for error in self._errors if not is_cancellation(error)]
            if not errors:  # asyncio's cancel() of the host: it leaves the block as it is
                return self._errors[0]
            return BaseExceptionGroup("unhandled errors in a TaskGroup", errors)
        if exc is None and self._host_was_cancelled and self.cancel_scope.effective:
            return Cancelled(self.cancel_scope.cancel_message())
        return exc


async def end_left_open(below: CancelScope) -> None:
    """End the scopes inside ``below`` that a function, called by the current task, has left open.

    It is for a task that continues after foreign code; for a task that ends, the kernel does it.
    The children of a task group are cancelled and awaited. A plain scope is forgotten, because a
    dropped generator may have left it open.

    Args:
        below: the task's innermost scope before it called the function.

    Raises:
        RuntimeError: a task group was left open; its cause is the error of the children.
    """
    task = running_kernel().current
    assert task is not None
    failures = await end_those_inside(task, below)
    if failures is not None:
        cause = BaseExceptionGroup("the children's errors", failures) if failures else None
        raise RuntimeError(LEFT_OPEN.format(task.name)) from cause


async def end_those_inside(task: Task, below: CancelScope) -> list[BaseException] | None:
    """End the scopes inside ``below`` that the current task has not left.

    Returns:
        The errors of the children of task groups; None if there was no task group.
    """
    failures: list[BaseException] | None = None
    while (scope := task.scope) is not below:
        scope.cancel("the function that entered it has ended")
        group = next((child.owner for child in scope.members or ()), None)
        if not isinstance(group, TaskGroup):
            scope.__exit__(None, None, None)
            continue
        failures = failures or []
        try:
            await group.__aexit__(None, None, None)
        except BaseException as error:
            failures.append(error)
    return failures
