"""Pushing a change down the tree of cancel scopes; `cancel_scope` tells how it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from anyio_mio._kernel.cancel_scope import CancelScope
    from anyio_mio._kernel.task import Task

LEFT_OPEN: Final = (
    "the task {!r} has ended inside a task group that it left open; its children were cancelled.\n"
    "  wrong: await group.__aenter__(), or a yield inside 'async with' that nobody continued\n"
    "  right: async with anyio.create_task_group() as group: ..."
)


def push_down(scope: CancelScope) -> None:
    """Recompute ``scope`` and, as far as that changes anything, all that is inside it."""
    host = scope.host
    if host is None:
        _refresh([scope], None)
    else:
        _refresh(stack_above(host, scope.parent), host)


def push_down_to(task: Task) -> None:
    """Recompute the scopes of a task whose base has changed."""
    _refresh(stack_above(task, task.base), task)


def abandon(task: Task, below: CancelScope, error: BaseException | None) -> BaseException | None:
    """A task has ended without leaving its scopes: nothing may go on in them (K4).

    A mere scope is forgotten; a generator that was dropped half-way may have left it. The children
    of a task group are cancelled, and the run waits for them.

    Returns:
        What the task ends with now.
    """
    kernel, has_children = task.kernel, False
    for scope in reversed(stack_above(task, below)):
        kernel.deadlines.drop(scope)
        if scope.members:
            has_children = True
            kernel.abandoned.append(scope)
            scope.cancel("the task that entered it has ended")
        scope.host = None
    task.scope = below
    if not has_children:
        return error
    left_open = RuntimeError(LEFT_OPEN.format(task.name))
    left_open.__context__ = error
    return left_open


def tasks_inside(scopes: list[CancelScope]) -> list[Task]:
    """The tasks that are in these scopes or below them, parents before their children."""
    found: list[Task] = []
    pending = [*scopes]
    while pending:
        for task in pending.pop().members or ():
            found.append(task)
            pending += stack_above(task, task.base)
    return found


def stack_above(task: Task, below: CancelScope | None) -> list[CancelScope]:
    """A task's own scopes from just above ``below`` to the innermost."""
    return list(own_scopes(task, below))[::-1]


def own_scopes(task: Task, below: CancelScope | None) -> Iterator[CancelScope]:
    scope: CancelScope | None = task.scope
    while scope is not None and scope is not below:
        yield scope
        scope = scope.parent


def _refresh(stack: list[CancelScope], host: Task | None) -> None:
    # An explicit list and no recursion: task groups nest as deeply as the program likes.
    pending: list[tuple[list[CancelScope], Task | None]] = [(stack, host)]
    while pending:
        stack, task = pending.pop()
        if _refresh_stack(stack, pending) and task is not None and task.scope.effective:
            task.interrupt()


def _refresh_stack(
    stack: list[CancelScope], pending: list[tuple[list[CancelScope], Task | None]]
) -> bool:
    """Recompute one task's scopes, outermost first; False if one of them did not change."""
    for scope in stack:
        parent = scope.parent
        outside = parent is not None and parent.effective and not scope._shield
        effective = scope._cancel_called or outside
        if effective == scope.effective:
            return False
        scope.effective = effective
        if scope.members:
            pending += [(stack_above(member, scope), member) for member in scope.members]
    return True
