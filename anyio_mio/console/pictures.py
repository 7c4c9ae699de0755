"""Answers about a run, asked for from another thread.

Facts. The run's own thread can look at its tasks without a race, but not while it is stuck. A
picture of ten thousand tasks takes a tenth of a second, and a run must not stand still for that.

Decision. A question goes to the run as a call from outside, and a tree is taken in pieces, one in
each turn. If no answer comes within `PATIENCE`, the loop is stuck: then the thread that asks looks
for itself, and the answer says so.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, final

from anyio_mio._kernel.foreign_loop import TimeLimits
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.task_tree import (
    TaskState,
    TaskTree,
    all_tasks,
    finish_picture,
    take_picture,
    task_states,
    time_limits,
)
from anyio_mio._net.socket_names import describe_descriptor

T = TypeVar("T")

PATIENCE: Final = 0.25
"""Seconds that the run has for an answer, or for the next piece of one."""

TASKS_PER_TURN: Final = 200
"""Some 3 ms of work."""

TRIES: Final = 5
"""A look from another thread may meet a change of what it reads, and is repeated."""


@final
@dataclass(slots=True)
class Piecewise:
    """A task tree that the run takes in pieces, one in each turn."""

    kernel: Kernel
    pending: deque[Any]
    states: list[TaskState]
    is_begun: bool
    limits: TimeLimits | None
    progress: threading.Event
    is_done: threading.Event

    @classmethod
    def of(cls, kernel: Kernel) -> Piecewise:
        """Prepare a tree of this run."""
        return cls(kernel, deque(), [], False, None, threading.Event(), threading.Event())

    def __call__(self) -> None:
        """Take the next piece. Called in the run's thread."""
        if not self.is_begun:
            self.is_begun = True
            self.pending.extend(all_tasks(self.kernel))
            self.limits = time_limits(self.kernel)
        piece = [self.pending.popleft() for _ in range(min(TASKS_PER_TURN, len(self.pending)))]
        self.states.extend(task_states(self.kernel, piece, self.limits, describe_descriptor))
        self.progress.set()
        if self.pending:
            self.kernel.entry.put(self)
        else:
            self.is_done.set()

    def wait(self) -> bool:
        """Wait for the last piece; False if the run has stopped answering."""
        while not self.is_done.is_set():
            self.progress.clear()
            if not self.is_done.is_set() and not self.progress.wait(PATIENCE):
                return self.is_done.is_set()
        return True


def ask_for_tree(kernel: Kernel) -> tuple[TaskTree, bool]:
    """Take a picture of all tasks of a run, from another thread.

    Returns:
        The picture, and whether the run was stuck.
    """
    picture = Piecewise.of(kernel)
    if kernel.entry.put(picture) and picture.wait():
        return finish_picture(kernel, tuple(picture.states)), False
    return look_from_outside(lambda: take_picture(kernel, describe_descriptor)), True


def ask(kernel: Kernel, question: Callable[[], T]) -> tuple[T, float]:
    """Call a function in the run's thread, or here if the run is stuck.

    Returns:
        What the function returned, and how long the run took to answer, in seconds: `PATIENCE`
        and more if it did not.
    """
    answers: list[T] = []
    is_there = threading.Event()

    def answer() -> None:
        answers.append(question())
        is_there.set()

    start = time.perf_counter()
    if kernel.entry.put(answer) and is_there.wait(PATIENCE):
        return answers[0], time.perf_counter() - start
    result: Any = look_from_outside(question)
    return result, time.perf_counter() - start


def look_from_outside(look: Callable[[], T]) -> T:
    """Call a function that reads what another thread may change; try again if it does.

    Raises:
        RuntimeError: what it reads changed each time.
    """
    for _ in range(TRIES - 1):
        try:
            return look()
        except (RuntimeError, IndexError, KeyError):  # such as "dictionary changed size"
            continue
    return look()
