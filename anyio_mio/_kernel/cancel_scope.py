"""Cancel scopes: the tree that decides which tasks are cancelled.

Facts. Every operation checks for cancellation, but a cancellation is rare. The state of a scope
depends on its own ``cancel()``, on its shield and on the scope around it.

Consequences. Each scope stores its effective state (`CancelScope.effective`). A change is pushed
down the tree: ``cancel()``, a deadline, a changed shield, a task that moves to another group. No
checkpoint walks up the tree.

Decision. The tree needs hardly any bookkeeping, because each task's own scopes are a stack:
``task.scope`` is the top, ``scope.parent`` leads down to ``task.base``, the scope it was started
in. The only pointers downwards are `CancelScope.host`, the task that entered a scope, and
`CancelScope.members`, the tasks started in it, which a task group needs anyway. Entering and
leaving a scope takes only a few assignments.

Cost. Pushing a change down walks the stack of each affected task.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from anyio_mio._kernel.cancelled import (
    Cancelled,
    Cancelling,
    is_cancellation,
    is_of_scope,
    scope_errors_of,
    uncover,
)
from anyio_mio._kernel.deadlines import checked_deadline
from anyio_mio._kernel.running import running, running_kernel

if TYPE_CHECKING:
    from anyio_mio._kernel.stepper import Stepper

USED_TWICE = "Each CancelScope may only be used for a single 'with' block"
NOT_ENTERED = "This cancel scope is not active: its 'with' block was not entered, or is over"
OTHER_TASK = "Attempted to exit cancel scope in a different task than it was entered in"
NOT_INNERMOST = (
    "Attempted to exit a cancel scope that isn't the current tasks's current cancel scope"
)


class Member(Protocol):
    """The part of a task that its scopes need."""

    name: str
    scope: CancelScope

    @property
    def base(self) -> CancelScope:
        """The scope it was started in."""

    @property
    def kernel(self) -> Stepper:
        """The kernel that steps it."""

    @property
    def owner(self) -> object:
        """The object that learns of its end."""

    @property
    def face(self) -> Cancelling | None:
        """The task as asyncio sees it."""

    def interrupt(self, message: str, /) -> None:
        """End the wait, because the innermost scope has become cancelled."""


class CancelScope:
    """A unit of work that can be cancelled by itself.

    Attributes:
        effective: True while work inside is cancelled, by this scope or by one around it.
        host: the task that is inside its ``with`` block.
        parent: the scope around it, while it is active.
        members: tasks that were started in it and are not done, in the order of their start. A
            cancellation reaches them in this order. None if no task was ever started in it.
        cancelled_caught: True if the cancellation of this scope ended the ``with`` block.
    """

    __slots__ = (
        "_cancel_called",
        "_deadline",
        "_message",
        "_shield",
        "_used",
        "alarm",
        "cancelled_caught",
        "effective",
        "host",
        "members",
        "parent",
    )
    _cancel_called: bool
    _deadline: float
    _message: str
    _shield: bool
    _used: bool
    alarm: int
    cancelled_caught: bool
    effective: bool
    host: Member | None
    members: dict[Member, None] | None
    parent: CancelScope | None

    # In __new__ and not in __init__: AnyIO's own constructor makes the object through the backend,
    # and Python then calls __init__ a second time with the same arguments.
    def __new__(cls, *, deadline: float = inf, shield: bool = False) -> Self:
        """Make a scope. This needs no kernel.

        Args:
            deadline: the time at which the scope cancels itself, in seconds on the kernel's clock.
            shield: True to protect it from cancellations of the scopes around it.

        Raises:
            TypeError: the deadline is not a number, or ``shield`` is not a bool.
            ValueError: the deadline is NaN.
        """
        self = object.__new__(cls)
        if deadline != inf and (deadline.__class__ is not float or deadline != deadline):
            deadline = checked_deadline(deadline)
        if shield is not False:
            require_bool(shield)
        self._deadline = deadline
        self._shield = shield
        self._cancel_called = False
        self._used = False
        self.cancelled_caught = False
        self.effective = False
        self.alarm = 0
        self.host = None
        self.parent = None
        self.members = None
        return self

    def __enter__(self) -> Self:
        kernel = running_kernel()
        task = kernel.current
        if task is None:
            if kernel.is_dead:
                raise kernel.no_task()
            raise RuntimeError("A cancel scope can only be entered inside a task")
        self.enter(kernel, task)
        return self

    def enter(self, kernel: Stepper, task: Member) -> None:
        """Become the innermost scope of ``task``, which may be a new task that has not run yet.

        Raises:
            RuntimeError: the scope was entered before.
        """
        if self._used:
            raise RuntimeError(USED_TWICE)
        self._used = True
        self.host = task
        self.parent = parent = task.scope
        if self._deadline != inf and not self._cancel_called:
            if self._deadline <= kernel.now():
                self._mark_cancelled("deadline exceeded")
            else:
                kernel.deadlines.add(self, self._deadline)
        task.scope = self  # no call from here on: a signal's handler cannot come between
        if self._cancel_called or (parent.effective and not self._shield):
            self.effective = True
            kernel.budget = 0

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        task, parent = self.host, self.parent
        if task is None or parent is None:
            return self._exit_elsewhere(exc_type)
        kernel = task.kernel
        if kernel.current is not task:
            return self._exit_elsewhere(exc_type)
        if task.scope is not self:
            self._leave_those_inside(task, exc)
        if self.alarm:
            kernel.deadlines.drop(self)
        task.scope = parent
        self.host = self.parent = None
        if parent.effective:
            kernel.budget = 0
        if exc is None:
            return False
        try:
            absorbs = self._cancel_called and (self._shield or not parent.effective)
            return absorbs and self._absorb(exc, task)
        finally:
            del exc, task, parent  # the exception's traceback would hold this frame's locals

    def cancel(self, reason: str | None = None) -> None:
        """Cancel the scope. The code inside gets the cancellation at its next checkpoint.

        Args:
            reason: shown in the exception's message.
        """
        if not self._cancel_called:
            self._require_own_thread()
            kernel = running.kernel
            by = kernel.current.name if kernel is not None and kernel.current is not None else None
            message = f"cancelled by task {by!r}" if by is not None else "cancelled by a callback"
            self._cancel(f"{message}: {reason}" if reason else message)

    def expire(self) -> None:
        """Cancel the scope, because its deadline has passed."""
        self._cancel("deadline exceeded")

    @property
    def cancel_called(self) -> bool:
        """True after ``cancel()``, or after the deadline has passed."""
        if not self._cancel_called and self._deadline != inf and not self._is_over:
            kernel = running.kernel
            if kernel is not None and kernel.now() >= self._deadline:
                if self.alarm:
                    kernel.deadlines.drop(self)
                self.expire()
        return self._cancel_called

    @property
    def deadline(self) -> float:
        """The time at which the scope cancels itself, in seconds on the kernel's clock."""
        return self._deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        value = checked_deadline(value)
        self._require_own_thread()
        self._deadline = value
        task = self.host
        if task is None or self._cancel_called:
            return
        kernel = task.kernel
        kernel.deadlines.drop(self)
        if value <= kernel.now():
            self.expire()
        elif value != inf:
            kernel.deadlines.add(self, value)

    @property
    def shield(self) -> bool:
        """True while the scope is protected from cancellations of the scopes around it."""
        return self._shield

    @shield.setter
    def shield(self, value: bool) -> None:
        require_bool(value)
        self._require_own_thread()
        self._shield = value
        if self.host is not None:
            push_down(self)

    def cancel_message(self) -> str:
        """Return why this scope is cancelled: the message of the outermost cause."""
        message = "cancelled"
        scope: CancelScope | None = self
        while scope is not None and scope.effective:
            if scope._cancel_called:
                message = scope._message
            scope = None if scope._shield else scope.parent
        return message

    def effective_deadline(self) -> float:
        """Return the earliest deadline that applies in this scope; -inf if it is cancelled."""
        if self.effective:
            return -inf
        deadline = inf
        scope: CancelScope | None = self
        while scope is not None:
            deadline = min(deadline, scope._deadline)
            scope = None if scope._shield else scope.parent
        return deadline

    @property
    def _is_over(self) -> bool:
        return self._used and self.host is None

    def _cancel(self, message: str) -> None:
        self._mark_cancelled(message)
        task = self.host
        try:
            if task is not None:
                task.kernel.deadlines.drop(self)
                push_down(self)
            elif self.members is not None:  # a root scope: it has tasks and no host
                push_down(self)
        except BaseException:  # a signal's handler has cut it short, and cancel() acts once
            push_down(self, again=True)
            raise

    def _require_own_thread(self) -> None:
        if self.host is not None and self.host.kernel.current is None:
            self.host.kernel.require_own_thread()

    def _exit_elsewhere(self, exc_type: type[BaseException] | None) -> bool:
        """End the block in another place than the task that entered it."""
        task = self.host
        if exc_type is GeneratorExit:
            if task is not None and running.kernel is task.kernel:
                self._take_out(task)
            return False  # else its task has ended before, or the whole run broke down
        if task is None:
            raise RuntimeError(NOT_ENTERED)
        if task.kernel.is_dead:  # in a forked child: the error that says so is on its way
            return False
        raise RuntimeError(OTHER_TASK)

    def _leave_those_inside(self, task: Member, exc: BaseException | None) -> None:
        """End the scopes inside this one that were not left when ``exc`` was raised.

        A signal handler may raise when the interpreter has just called their ``__exit__()``.
        """
        if exc is None:
            raise RuntimeError(NOT_INNERMOST)
        error = abandon(task, self, exc)
        try:
            if error is not exc and error is not None:
                raise error
        finally:
            del exc, error

    def _take_out(self, task: Member) -> None:
        """Remove the task from the scope: a dropped generator around the block is closed."""
        parent = self.parent
        assert parent is not None
        task.kernel.deadlines.drop(self)
        inside = next((scope for scope in own_scopes(task, self) if scope.parent is self), None)
        if inside is None:
            task.scope = parent
        else:
            inside.parent = parent
            push_down(inside)
        self.host = self.parent = None

    def _mark_cancelled(self, message: str) -> None:
        self._cancel_called = True
        self._message = message

    def _absorb(self, exc: BaseException, task: Member) -> bool:
        """Remove this scope's cancellation from ``exc``; raise the rest of a group."""
        if isinstance(exc, Cancelled) or is_of_scope(exc, task.face):
            self.cancelled_caught = True
            return True
        if not isinstance(exc, BaseExceptionGroup):
            return False
        matched, rest = exc.split(scope_errors_of(task.face))
        if matched is None:
            return False
        self.cancelled_caught = True
        if rest is None:
            return True
        cause, context, suppress = exc.__cause__, exc.__context__, exc.__suppress_context__
        try:
            raise rest
        finally:
            # Raising here has set the context to the group that was split. The rest replaces the
            # group, so it gets the context of the group.
            rest.__cause__, rest.__context__ = cause, context
            rest.__suppress_context__ = suppress
            del exc, matched, rest, cause, context, task


LEFT_OPEN: Final = (
    "the task {!r} has ended inside a task group that it left open; its children were cancelled.\n"
    "  wrong: await group.__aenter__(), or a yield inside 'async with' that was never continued\n"
    "  right: async with anyio.create_task_group() as group: ..."
)


def require_bool(shield: object) -> None:
    """Raise TypeError unless ``shield`` is True or False."""
    if not isinstance(shield, bool):
        raise TypeError(f"shield must be a bool, not {shield!r}")


def push_down(scope: CancelScope, *, again: bool = False) -> None:
    """Recompute ``scope``, and the scopes inside it as far as they change.

    Args:
        scope: the scope that has changed.
        again: True to recompute all scopes inside it in any case.
    """
    host = scope.host
    if host is None:
        _refresh([scope], None, again)
    else:
        _refresh(stack_above(host, scope.parent), host, again)


def push_down_to(task: Member) -> None:
    """Recompute the scopes of a task whose base has changed."""
    _refresh(stack_above(task, task.base), task)


def abandon(task: Member, below: CancelScope, error: BaseException | None) -> BaseException | None:
    """End the scopes that a task had not left when it ended: nothing may continue in them (K4).

    A plain scope is forgotten, because a dropped generator may have left it open. The children of a
    task group are cancelled, and the run waits for them.

    Returns:
        The error that the task ends with. If the task failed, its error gets a note about an open
        task group. Otherwise an error about the group is returned.
    """
    if not below.effective:
        error = uncover(error)
    kernel, has_children = task.kernel, False
    for scope in reversed(stack_above(task, below)):
        kernel.deadlines.drop(scope)
        if scope.members:
            has_children = True
            kernel.abandoned[scope] = None
            scope.cancel("the task that entered it has ended")
        scope.host = None
    task.scope = below
    if not has_children:
        return error
    if error is not None and not is_cancellation(error):
        error.add_note(LEFT_OPEN.format(task.name))
        return error
    left_open = RuntimeError(LEFT_OPEN.format(task.name))
    left_open.__context__ = error
    return left_open


def tasks_inside(scopes: list[CancelScope]) -> list[Any]:
    """Return the tasks in these scopes and in the scopes inside them, parents before children."""
    found: list[Any] = []  # the kernel's class, which this module does not know
    pending = [*scopes]
    while pending:
        for task in pending.pop().members or ():
            found.append(task)
            pending += stack_above(task, task.base)
    return found


def stack_above(task: Member, below: CancelScope | None) -> list[CancelScope]:
    """Return a task's own scopes from just above ``below`` to the innermost."""
    return list(own_scopes(task, below))[::-1]


def own_scopes(task: Member, below: CancelScope | None) -> Iterator[CancelScope]:
    scope: CancelScope | None = task.scope
    while scope is not None and scope is not below:
        yield scope
        scope = scope.parent


def _refresh(stack: list[CancelScope], host: Member | None, again: bool = False) -> None:
    # A list instead of recursion, because a program may nest task groups to any depth.
    pending: list[tuple[list[CancelScope], Member | None]] = [(stack, host)]
    message: str | None = None
    while pending:
        stack, task = pending.pop()
        inside: list[tuple[list[CancelScope], Member | None]] = []
        has_changed = _refresh_stack(stack, inside, again)
        # They are popped from the end, so the first member comes first, and queues are left from
        # the front.
        pending += reversed(inside)
        if task is None or not task.scope.effective:
            continue
        if has_changed or task.face is not None:  # a clean-up of asyncio's may wait in it
            if message is None:  # all scopes that become cancelled now have one cause
                message = task.scope.cancel_message()
            task.interrupt(message)


def _refresh_stack(
    stack: list[CancelScope], inside: list[tuple[list[CancelScope], Member | None]], again: bool
) -> bool:
    """Recompute one task's scopes, outermost first; False if one of them did not change.

    The members of the scopes that changed are added to ``inside``.
    """
    for scope in stack:
        parent = scope.parent
        outside = parent is not None and parent.effective and not scope._shield
        effective = scope._cancel_called or outside
        if effective == scope.effective and not again:
            return False
        scope.effective = effective
        if scope.members:
            inside += [(stack_above(member, scope), member) for member in scope.members]
    return True
