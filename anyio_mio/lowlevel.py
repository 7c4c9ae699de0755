"""mio's own functions for library authors and for tools; AnyIO's are in `anyio.lowlevel`."""

from __future__ import annotations

from contextvars import Context
from dataclasses import dataclass
from typing import Protocol

from anyio_mio._backend.registration import TESTED as TESTED_ANYIO
from anyio_mio._kernel.instruments import Instrument
from anyio_mio._kernel.kernel import Kernel, running_kernel
from anyio_mio._kernel.task_tree import ScopeState, StackFrame, TaskState, TaskTree, take_picture
from anyio_mio._net.acceptor import ListenerStatistics
from anyio_mio._net.listeners import open_listeners
from anyio_mio._net.socket_names import describe_descriptor
from anyio_mio._reactor.reactor import ReactorStatistics

__all__ = [
    "TESTED_ANYIO",
    "Instrument",
    "ListenerState",
    "ReactorStatistics",
    "RunStatistics",
    "ScopeState",
    "StackFrame",
    "Task",
    "TaskState",
    "TaskTree",
    "current_task",
    "statistics",
    "task_tree",
]


class Task(Protocol):
    """The part of a task that a program may read. A task can be compared, hashed and kept."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def context(self) -> Context:
        """The context that it runs in."""

    @property
    def done(self) -> bool:
        """Whether it has ended."""

    @property
    def state(self) -> str:
        """``"running"``, ``"runnable"``, ``"parked"`` or ``"done"``."""


@dataclass(frozen=True, slots=True)
class ListenerState:
    """One open listener.

    Attributes:
        address: such as ``"TCP 127.0.0.1:8000"``.
        statistics: its counters.
    """

    address: str
    statistics: ListenerStatistics


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """A snapshot of the run in this thread.

    Attributes:
        tasks: tasks that are not done.
        runnable: tasks that wait for their next step.
        deadlines: cancel scopes and sleeps that wait for the clock.
        next_deadline: seconds until the first of them; inf if there is none.
        reactor: descriptors and events.
        listeners: the listeners of the run that are open.
    """

    tasks: int
    runnable: int
    deadlines: int
    next_deadline: float
    reactor: ReactorStatistics
    listeners: tuple[ListenerState, ...]


def statistics() -> RunStatistics:
    """Return what the run in this thread is doing.

    Raises:
        RuntimeError: mio does not run in this thread.
    """
    return statistics_of(running_kernel())


def statistics_of(kernel: Kernel) -> RunStatistics:
    """Return what a run is doing; for tools that observe it."""
    return RunStatistics(
        tasks=len(kernel.tasks()),
        runnable=len(kernel.runnable_tasks()),
        deadlines=kernel.deadlines.alive(),
        next_deadline=kernel.deadlines.next() - kernel.now(),
        reactor=kernel.reactor.statistics(),
        listeners=tuple(
            ListenerState(listener.address_in_words(), listener.statistics())
            for listener in open_listeners(kernel.reactor)
        ),
    )


def current_task() -> Task:
    """Return the task that runs now.

    Raises:
        RuntimeError: no task runs in this thread.
    """
    task = running_kernel().current
    if task is None:
        raise RuntimeError("There is no task currently running")
    return task


def task_tree() -> TaskTree:
    """Return a picture of all tasks of the run in this thread: names, stacks, what they wait for.

    It holds no task and no frame, so it may be kept. `anyio_mio.console.render_tree()` prints it.

    Cost: 11 to 17 µs for each task; the run stands still in that time.

    Raises:
        RuntimeError: mio does not run in this thread.
    """
    return take_picture(running_kernel(), describe_descriptor)
