"""The console's protocol, version 1: JSON, one object a line, over a UNIX stream socket.

A client sends a request and gets one line for it, any number of times:

    {"version": 1, "ask": "stats"}
    {"version": 1, "answer": {"pid": 4711, "tasks": 12, ...}}

    {"version": 1, "ask": "tree"}
    {"version": 1, "answer": {"tasks": [...], "deadlocks": [...], "is_stuck": false}}

A request that cannot be answered gets ``{"version": 1, "error": "a sentence"}``. So does a request
of another version; the sentence names the version that is known. New fields may appear in an answer
of the same version. A field never changes its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from math import isfinite
from typing import Any, Final

from anyio_mio.lowlevel import ScopeState, StackFrame, TaskState, TaskTree

VERSION: Final = 1
LEVELS: Final = 2
"""An answer's fields, and the items of those that are lists."""

ITEMS_PER_PIECE: Final = 50
"""Items of a list that are encoded in one call: a fifth less time than one by one."""

to_json_text: Final = json.JSONEncoder(separators=(",", ":")).encode

NOT_WELL_FORMED: Final = (KeyError, TypeError, ValueError, AttributeError)
"""Errors of reading an answer in which something is missing or is of another type."""

NO_STATS: Final = "this answer has not the figures that are expected here"

FIGURES: Final = (
    *("pid", "tasks", "runnable", "registrations", "polls", "events"),
    *("lag", "slow_steps", "worker_threads", "memory"),
)
"""Fields of the answer to ``stats`` that a client counts on."""

LISTENER_FIGURES: Final = ("accepted", "aborted", "backed_off", "shed", "open")

LONGEST_REQUEST: Final = 4096
"""Bytes of one request's line at most."""


class ProtocolError(Exception):
    """What was received is not of this protocol; the text says why, in one line."""


def encode(kind: str, value: object) -> bytes:
    """Make a line: ``kind`` is ``"ask"``, ``"answer"`` or ``"error"``.

    The encoder in C keeps the interpreter's lock to its end, and so does each operation on a text
    of 5 MB: for a tree of 10,000 tasks one call would stop the program for 60 ms. So the text is
    made in pieces, and put together once.
    """
    pieces = [piece.encode() for piece in to_text(value, LEVELS)]
    return b"".join((f'{{"version":{VERSION},"{kind}":'.encode(), *pieces, b"}\n"))


def to_text(value: object, levels: int) -> Iterator[str]:
    """Yield JSON in pieces, down to so many levels. An iterator becomes a list."""
    if levels and isinstance(value, dict):
        start = "{"
        for key, each in value.items():
            yield f"{start}{to_json_text(key)}:"
            yield from to_text(each, levels - 1)
            start = ","
        yield "}" if value else "{}"
    elif levels and isinstance(value, list | Iterator):
        start, items = "[", iter(value)
        while piece := list(islice(items, ITEMS_PER_PIECE)):
            yield f"{start}{to_json_text(piece)[1:-1]}"
            start = ","
        yield "[]" if start == "[" else "]"
    else:
        yield to_json_text(value)


def decode(line: bytes, kind: str) -> Any:
    """Return what a line says.

    Raises:
        ProtocolError: It is no line of this version, or it is an error, whose text is raised.
    """
    try:
        message = json.loads(line)
    except ValueError:
        raise ProtocolError("this is not a console of anyio_mio: it sent no JSON") from None
    if not isinstance(message, dict) or "version" not in message:
        raise ProtocolError("this is not a console of anyio_mio: it named no version")
    if message["version"] != VERSION:
        raise ProtocolError(f"version {message['version']!r} is not known here, only {VERSION}")
    if kind != "ask" and "error" in message:
        raise ProtocolError(str(message["error"]))
    if kind not in message:
        raise ProtocolError(f"a message without {kind!r}")
    return message[kind]


def tree_to_json(tree: TaskTree, *, is_stuck: bool) -> dict[str, Any]:
    """Make what `encode()` takes as a JSON object of a task tree.

    Its tasks are an iterator: to release ten thousand of them at once stops a program for 5 ms.

    Args:
        tree: the picture.
        is_stuck: whether another thread took it, because the loop did not answer.
    """
    return {
        "tasks": map(task_to_json, tree.tasks),
        "deadlocks": list(tree.deadlocks),
        "is_stuck": is_stuck,
    }


def task_to_json(task: TaskState) -> dict[str, Any]:
    """Make a JSON object of one task."""
    return {
        "id": task.id,
        "parent": task.parent,
        "name": task.name,
        "kind": task.kind,
        "state": task.state,
        "waits_for": task.waits_for,
        "waits_for_tasks": list(task.waits_for_tasks),
        "needs_a_task": task.needs_a_task,
        "is_cancelled": task.is_cancelled,
        "time_limit": task.time_limit if isfinite(task.time_limit) else None,
        "scopes": [
            {
                "deadline": scope.deadline if isfinite(scope.deadline) else None,
                "is_shielded": scope.is_shielded,
                "is_cancelled": scope.is_cancelled,
            }
            for scope in task.scopes
        ],
        "stack": [[frame.file, frame.line, frame.function] for frame in task.stack],
    }


def check_stats(answer: Any) -> dict[str, Any]:
    """Return the figures of a run, if all that every version 1 sends are there.

    Raises:
        ProtocolError: one is missing, or is no number where it should be one.
    """
    try:
        figures: dict[str, Any] = {**answer}
        is_complete = all(isinstance(figures[name], int | float) for name in FIGURES)
        for listener in figures["listeners"]:
            is_complete &= all(isinstance(listener[name], int) for name in LISTENER_FIGURES)
            is_complete &= isinstance(listener["address"], str)
            is_complete &= all(map(str.isdigit, listener["accepts_per_wakeup"].keys()))
        is_complete &= isinstance(figures["name"], str)
    except NOT_WELL_FORMED as error:
        raise ProtocolError(NO_STATS) from error
    if not is_complete:
        raise ProtocolError(NO_STATS)
    return figures


def tree_from_json(answer: Mapping[str, Any]) -> TaskTree:
    """Make a task tree of what `tree_to_json()` made.

    Raises:
        ProtocolError: it is no tree.
    """
    try:
        tasks = tuple(task_from_json(task) for task in answer["tasks"])
        return TaskTree(tasks, tuple(map(str, answer["deadlocks"])))
    except NOT_WELL_FORMED as error:
        raise ProtocolError("this answer is no task tree that is understood here") from error


def task_from_json(task: Mapping[str, Any]) -> TaskState:
    """Make a task's state of a JSON object; fields that are not known here are left out."""
    scopes = tuple(
        ScopeState(
            deadline=float("inf") if scope["deadline"] is None else scope["deadline"],
            is_shielded=scope["is_shielded"],
            is_cancelled=scope["is_cancelled"],
        )
        for scope in task["scopes"]
    )
    return TaskState(
        id=task["id"],
        parent=task["parent"],
        name=task["name"],
        kind=task["kind"],
        state=task["state"],
        waits_for=task["waits_for"],
        waits_for_tasks=tuple(task["waits_for_tasks"]),
        needs_a_task=task["needs_a_task"],
        is_cancelled=task["is_cancelled"],
        time_limit=float("inf") if task.get("time_limit") is None else task["time_limit"],
        scopes=scopes,
        stack=tuple(StackFrame(*frame) for frame in task["stack"]),
    )
