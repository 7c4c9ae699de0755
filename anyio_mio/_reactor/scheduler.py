"""The protocol of a scheduler: what the reactor and `_net` need to let a task wait.

There are two schedulers: mio's kernel, and the one in `anyio_mio.trio`, which parks Trio's tasks.
An operation that need not wait makes one comparison (`Scheduler.budget`) and no call.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

TaskRef: TypeAlias = Any
"""A task of the scheduler. The reactor only stores it and passes it back.

It is `Any` and not a type variable, because each scheduler has only one class of tasks. Generic
registrations, reactors and sockets would gain nothing.
"""

OPERATION: Final = 2
"""Units of the budget that an operation on a socket costs; a checkpoint costs one.

A unit stands for one or two microseconds: an operation with one system call takes about 4, a
checkpoint that need not yield half a microsecond. So a budget limits time, and not only counts.
"""

FREE_BYTES: Final = 4096
"""Bytes that an operation may move without costing more."""

BYTES_PER_UNIT_SHIFT: Final = 11
"""An operation on more bytes costs one more unit for each 2 KiB (``size >> 11``)."""


class Waitable(Protocol):
    """An object that a task can be parked on. It can undo the wait."""

    def abort(self, task: TaskRef, /) -> bool:
        """Remove ``task`` from the queue in which it waits.

        Returns:
            True if the task still waited; the caller may then resume it with an error. False if it
            has been woken already (the wake-up wins), or if this wait cannot be interrupted.
        """


@dataclass(frozen=True, slots=True)
class Wait:
    """A description, for people, of what a parked task waits for.

    Attributes:
        words: such as ``"the lock that task 'x' holds"``; for a descriptor, the operation.
        fd: the descriptor; -1 if it waits for something else.
        until: the time at which the wait ends by itself, on the scheduler's clock; 0 if it does
            not.
        tasks: the tasks that could end the wait, if they are known.
        needs_a_task: whether only another task of the run can end the wait.
    """

    words: str
    fd: int = -1
    until: float = 0.0
    tasks: tuple[TaskRef, ...] = ()
    needs_a_task: bool = False


class Describes(Protocol):
    """A waitable that can describe what its tasks wait for. This is optional."""

    def describe(self, task: TaskRef, /) -> Wait:
        """Describe the wait of a task that is parked here. May be called in another thread."""


@runtime_checkable
class TakesError(Protocol):
    """A waitable whose wait cannot be undone, but which can handle an error: a task group."""

    def take_error(self, error: BaseException, /) -> bool:
        """Handle ``error`` as if a child had raised it; False if that is not possible now."""


@runtime_checkable
class Leavable(Protocol):
    """A waitable that cancellation cannot undo but a second Ctrl-C can: a call in a thread."""

    def leave(self, task: TaskRef, /) -> bool:
        """Remove ``task`` and drop the result; False if it has been woken already."""


@runtime_checkable
class TwoSided(Protocol):
    """A waitable for one task in each direction: a descriptor."""

    reader: TaskRef | None
    writer: TaskRef | None

    def abort(self, task: TaskRef, /) -> bool:
        """See `Waitable`; if the task waits in both directions, remove it from one."""


@dataclass(frozen=True, slots=True)
class ErrorClasses:
    """The exception classes of the library whose tasks use the sockets."""

    closed: type[Exception]
    broken: type[Exception]
    busy: type[Exception]
    end_of_stream: type[Exception]


class Scheduler(Protocol):
    """Parks tasks, and decides when they yield. `Reactor.turn()` gets a function to wake them."""

    @property
    def errors(self) -> ErrorClasses:
        """The exception classes that the program expects."""

    @property
    def current(self) -> TaskRef | None:
        """The task that runs now."""

    budget: int
    """How much more the running task may do without yielding.

    An operation takes `OPERATION` from it, and more if it moves more than `FREE_BYTES`.
    If the budget is zero or less, an operation first calls `checkpoint()`. A cancelled task has no
    budget, so one comparison is both the cancellation check and the fairness check.
    """

    def park(self, waitable: Waitable, /) -> Awaitable[None]:
        """Suspend the current task on ``waitable`` once the result is awaited."""

    def resume(self, task: TaskRef, /) -> None:
        """Make a parked task runnable."""

    def fail(self, task: TaskRef, error: BaseException, /) -> None:
        """Make a parked task runnable; ``error`` is raised where it waits."""

    async def checkpoint(self) -> None:
        """Raise the pending cancellation, or let the other tasks run."""

    def now(self) -> float:
        """Return the scheduler's clock, in seconds."""
