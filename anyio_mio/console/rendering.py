"""The task tree as text.

Names of tasks, of sockets and of files come from programs and their clients. A terminal obeys
escape sequences in them, and a line break forges a line, so `printable()` spells such characters.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Final

from anyio_mio.lowlevel import ScopeState, StackFrame, TaskState, TaskTree

INDENT: Final = "    "
DEEPEST: Final = 40
"""Levels that are indented; tasks that are deeper stand at the last of them."""

LONGEST: Final = 1000
"""Characters of a line; a name may have any number."""

MOST_FRAMES: Final = 60
"""Frames of a stack that are shown: of a recursion, those at both ends."""

PACKAGE: Final = str(Path(__file__).resolve().parents[1])


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
        indent = INDENT * min(depth, DEEPEST)
        lines += (indent + printable(line) for line in render_task(task, stacks=stacks))
        pending += [(child, depth + 1) for child in reversed(children.get(task.id, []))]
    lines += (printable(f"DEADLOCK: {sentence}") for sentence in tree.deadlocks)
    return "\n".join(lines) + "\n"


def printable(text: str) -> str:
    r"""Return a text that a terminal only shows, of at most `LONGEST` characters.

    Characters that a terminal would obey are spelled, such as ``\n`` or ``\x1b``.
    """
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}…"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


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
        yield from render_stack(without_own_end(task.stack))


def render_stack(stack: tuple[StackFrame, ...]) -> Iterator[str]:
    """Yield the lines of a stack; of a long one, those of both ends."""
    half = MOST_FRAMES // 2
    for frame in stack if len(stack) <= MOST_FRAMES else stack[:half]:
        yield from render_frame(frame)
    if len(stack) > MOST_FRAMES:
        yield f"    … {len(stack) - 2 * half} frames …"
        for frame in stack[-half:]:
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
