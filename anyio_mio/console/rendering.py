"""The task tree as text."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from math import inf
from pathlib import Path

from anyio_mio.lowlevel import ScopeState, StackFrame, TaskState, TaskTree

INDENT = "    "


PACKAGE = str(Path(__file__).resolve().parents[1])


def render_tree(tree: TaskTree, *, stacks: bool = True) -> str:
    """Return the task tree as text, children below their parents.

    Frames of this package at the end of a stack are left out: the first line of a task says what it
    waits for.

    Args:
        tree: what `anyio_mio.lowlevel.task_tree()` returned.
        stacks: whether each task's stack is shown, with its source lines.
    """
    children: dict[int | None, list[TaskState]] = {}
    known = {task.id for task in tree.tasks}
    for task in tree.tasks:
        children.setdefault(task.parent if task.parent in known else None, []).append(task)
    lines = [f"{len(tree.tasks)} tasks"]
    pending = [(task, 0) for task in reversed(children.get(None, []))]
    while pending:
        task, depth = pending.pop()
        lines += (INDENT * depth + line for line in render_task(task, stacks=stacks))
        pending += [(child, depth + 1) for child in reversed(children.get(task.id, []))]
    lines += (f"DEADLOCK: {sentence}" for sentence in tree.deadlocks)
    return "\n".join(lines) + "\n"


def render_task(task: TaskState, *, stacks: bool) -> Iterator[str]:
    """Yield one task: its name and what it waits for, its scopes, its stack."""
    waits = f", waits: {task.waits_for}" if task.waits_for else f", {task.state}"
    cancelled = ", cancelled" if task.is_cancelled else ""
    kind = "" if task.kind == "mio" else f" ({task.kind})"
    yield f"- {task.name!r}{kind}{waits}{cancelled}"
    for scope in task.scopes:
        if notable := render_scope(scope):
            yield f"  scope: {notable}"
    if stacks:
        for frame in without_own_end(task.stack):
            yield from render_frame(frame)


def without_own_end(stack: tuple[StackFrame, ...]) -> tuple[StackFrame, ...]:
    """Return the stack without this package's frames at its end, unless it has no others."""
    end = len(stack)
    while end and stack[end - 1].file.startswith(PACKAGE):
        end -= 1
    return stack[:end] or stack


def render_scope(scope: ScopeState) -> str:
    """Return what is special about a scope; empty if nothing is."""
    parts = []
    if scope.is_cancelled:
        parts.append("cancelled")
    elif scope.deadline != inf:
        parts.append(f"deadline in {scope.deadline:.1f} s")
    if scope.is_shielded:
        parts.append("shielded")
    return ", ".join(parts)


def render_frame(frame: StackFrame) -> Iterator[str]:
    """Yield a line of a stack, and its source."""
    yield f"    {frame.file}:{frame.line} {frame.function}"
    source = linecache.getline(frame.file, frame.line).strip()
    if source:
        yield f"        {source}"
