"""The protocol of the kernel, for the modules below it.

Tasks, scopes and waits call the kernel, and the kernel consists of them. To avoid a circle of
imports, these modules know only a `Stepper`, and `kernel` is the only module that knows all of
them. Tasks are opaque here, as in `Scheduler`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

from anyio_mio._reactor.scheduler import Scheduler, TaskRef

if TYPE_CHECKING:
    from anyio_mio._kernel.deadlines import Deadlines


class Stepper(Scheduler, Protocol):
    """The kernel of a run; `Kernel` says what each of these means."""

    interrupted: bool
    """Whether a Ctrl-C waits for the main task's next checkpoint."""
    ending: tuple[TaskRef, object, BaseException | None] | None
    """The task whose end is not settled yet, its value and its error."""

    @property
    def current(self) -> TaskRef:
        """The task that runs now; None between two steps."""

    @property
    def is_dead(self) -> bool:
        """Whether this process is a fork of the one that ran it."""

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines of sleeps and scopes."""

    @property
    def run_queue(self) -> deque[TaskRef]:
        """Tasks that were woken or started."""

    @property
    def hung_up(self) -> deque[TaskRef]:
        """Tasks whose peer has closed its connection, or half of it."""

    @property
    def spent(self) -> deque[TaskRef]:
        """Tasks that yielded."""

    @property
    def abandoned(self) -> dict[Any, None]:
        """Scopes whose task has ended while other tasks still run in them."""

    def spawn(
        self,
        coro: Coroutine[object, object, object],
        name: str,
        owner: Any,
        base: Any,
        *,
        host: TaskRef | None = None,
        context: Context | None = None,
    ) -> TaskRef:
        """Make a task in the scope ``base``, and start it."""

    def start(self, task: TaskRef, /) -> None:
        """Make a new task runnable."""

    def throw(self, task: TaskRef, error: BaseException, /) -> bool:
        """End a task's wait with an error; False if it does not wait, or cannot leave."""

    def runnable_tasks(self) -> list[TaskRef]:
        """Return all tasks that only wait for their next step."""

    async def checkpoint_if_cancelled(self) -> None:
        """Let the other tasks run, then raise the pending cancellation or interrupt, if any."""

    def yield_now(self) -> Awaitable[None]:
        """Let the other tasks run, without a check for cancellation; await the result at once."""

    def raise_if_cancelled(self) -> None:
        """Raise the pending cancellation or interrupt of the current task."""

    def no_task(self) -> RuntimeError:
        """Return the error of an operation that must wait but does not run in a task."""

    def require_own_thread(self) -> None:
        """Raise RuntimeError in other threads."""

    def crash_with(self, error: BaseException, /) -> None:
        """End the run with an error that no task can receive."""
