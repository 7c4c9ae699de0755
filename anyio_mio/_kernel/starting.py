"""``start()``: a child runs under its caller until it calls ``task_status.started()``."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from anyio_mio._kernel.cancel_scope import push_down_to
from anyio_mio._kernel.outcome import Outcome
from anyio_mio._reactor.scheduler import Wait

if TYPE_CHECKING:
    from anyio_mio._kernel.stepper import Stepper
    from anyio_mio._kernel.task import Task
    from anyio_mio._kernel.task_group import TaskGroup

STARTED_TWICE = "called 'started' twice on the same task status"
NEVER_STARTED = "Child exited without calling task_status.started()"


@final
class Starting(Outcome[object]):
    """The outcome of one ``start()``. It owns the child until the group does.

    A cancellation does not end the caller's wait at once: it also cancels the child, which runs in
    the caller's scope, and the caller continues when the child has ended.
    """

    __slots__ = (
        "_caller",
        "_caller_cancelled",
        "_child",
        "_group",
        "_handed_over",
        "_started",
    )

    def __init__(self, group: TaskGroup) -> None:
        self.is_done, self.value, self.error = False, None, None  # Outcome.__init__() written out
        self._group = group
        self._caller: Task | None = None
        self._child: Task | None = None
        self._started = False
        self._handed_over = False
        self._caller_cancelled = False

    def started(self, value: object = None) -> None:
        """Move the child into the group; ``start()`` then returns ``value``.

        While the caller is cancelled, the call does nothing: the child is cancelled, too, and stays
        in the caller's scope.

        Raises:
            RuntimeError: it was called twice.
        """
        if self._handed_over or (self._started and not self._caller_cancelled):
            raise RuntimeError(STARTED_TWICE)
        self._started = True
        self.value = value
        if self._child is not None and not self.is_done:
            self._hand_over_unless_cancelled(self._child)

    async def run(self, child: Task) -> None:
        """Start the child under the current task and wait for ``started()``, or for its end.

        Args:
            child: a new task, owned by this object, in the current task's scope.
        """
        kernel = child.kernel
        self._caller = kernel.current
        self._child = child
        self._group.starting += 1
        try:
            kernel.start(child)
            if self._started:  # by the function that made the coroutine
                self._hand_over_unless_cancelled(child)
                await kernel.yield_now()
            while not self._handed_over and not self.is_done:
                await kernel.park(self)
        except BaseException:  # a signal's handler: the child belongs to the group from now on
            if child in (child.base.members or ()) and child.owner is self:
                self._hand_over(child)
            raise
        finally:
            self._group.starting -= 1
            self._group.wake_host_if_done()
            self._child = self._caller = None
            del child
        if not self._handed_over:
            self._raise_failure(kernel)

    def task_done(self, task: Task, value: object, error: BaseException | None, /) -> None:
        """Handle a child that ended before it was moved into the group."""
        self.is_done = True
        self.error = error
        self._resume_caller()
        del error

    def describe(self, task: object, /) -> Wait:
        """Describe the child that has not called ``started()`` yet."""
        child = self._child
        name = "" if child is None else f" of task {child.name!r}"
        return Wait(f"task_status.started(){name}", tasks=() if child is None else (child,))

    def abort(self, task: object, /) -> bool:
        """Keep a cancelled caller waiting: the child is cancelled, too."""
        if not self.is_done and not self._handed_over:  # else it was woken first (K6)
            self._caller_cancelled = True
        return False

    def take_error(self, error: BaseException, /) -> bool:
        """Pass a Ctrl-C for the caller on to the child, if the child's wait can be ended."""
        child = self._child
        return child is not None and not self.is_done and child.kernel.throw(child, error)

    def _resume_caller(self) -> None:
        caller, self._caller = self._caller, None
        if caller is not None and caller.parked_on is self:
            caller.kernel.run_queue.append(caller)

    def _hand_over_unless_cancelled(self, child: Task) -> None:
        if child.base.effective:
            return
        try:
            self._hand_over(child)
        finally:  # also if a signal's handler raises after the child has moved
            if child.owner is self._group:
                self._handed_over = True
                caller, self._caller = self._caller, None
                if caller is not None and caller.parked_on is self:
                    caller.kernel.run_queue.append(caller)

    def _hand_over(self, child: Task) -> None:
        group, old, new = self._group, child.base, self._group.cancel_scope
        scope = child.scope
        while scope is not old and scope.parent is not old:
            assert scope.parent is not None
            scope = scope.parent
        # No call from here on, so that no handler of a signal comes between.
        if scope is old:
            child.scope = new
        else:
            scope.parent = new
        if new.members is None:
            new.members = {}
        assert old.members is not None
        del old.members[child]
        new.members[child] = None
        child.base = new
        child.owner, child.host, child.info = group, group.host, None
        push_down_to(child)

    def _raise_failure(self, kernel: Stepper) -> None:
        """Raise the error of a child that ended where it began, or else the caller's."""
        error, self.error = self.error, None
        try:
            if error is None and self._caller_cancelled:
                kernel.raise_if_cancelled()
            if error is None and not self._started:
                error = RuntimeError(NEVER_STARTED)
            if error is not None:
                raise error
        finally:
            del error
