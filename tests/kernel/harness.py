"""A kernel without an operating system: scripted events, a clock that a test moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from math import inf
from typing import Any, Self

from anyio_mio._kernel import run as kernel_run
from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.task import Task
from anyio_mio._kernel.task_group import TaskGroup
from anyio_mio._reactor.scheduler import ErrorClasses
from anyio_mio.testing import ScriptedSelector


class Closed(Exception):
    pass


class Broken(Exception):
    pass


class Busy(Exception):
    pass


class EndOfStream(Exception):
    pass


ERRORS = ErrorClasses(closed=Closed, broken=Broken, busy=Busy, end_of_stream=EndOfStream)


class HandClock:
    """Stands still until it is moved; a wait for a deadline moves it there."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def time_to_wait(self, deadline: float) -> float | None:
        return None if deadline == inf else deadline - self.time

    def quiet(self, deadline: float) -> None:
        if deadline != inf:
            self.time = max(self.time, deadline)


def make_kernel(
    selector: ScriptedSelector | None = None,
    *,
    clock: HandClock | None = None,
    strict: bool = False,
    detection: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Kernel:
    return Kernel(
        ERRORS,
        selector=selector or ScriptedSelector(),
        clock=clock or HandClock(),
        strict_checkpoints=strict,
        detection=detection,
    )


def run(
    main: Callable[[Kernel], Coroutine[object, object, Any]], kernel: Kernel | None = None
) -> Any:
    """Run ``main(kernel)``; a wait that nothing ends fails the test (the script is over)."""
    kernel = kernel or make_kernel()
    return kernel_run.run(kernel, main(kernel), "main")


class Group:
    """A task group of the kernel's, with the one method that faces add."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.inner = TaskGroup()

    @property
    def scope(self) -> CancelScope:
        return self.inner.cancel_scope

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> bool:  # noqa: PYI036 - passed on
        return await self.inner.__aexit__(*exc_info)

    def spawn(self, coro: Coroutine[object, object, object], name: str = "child") -> Task:
        return self.inner.spawn(coro, name)


class Box:
    """Something to be parked on: an event that forgets, told who waits."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.waiting: list[Task] = []

    def wait(self) -> Awaitable[None]:
        assert self.kernel.current is not None
        self.waiting.append(self.kernel.current)
        return self.kernel.park(self)

    def wake(self) -> None:
        self.kernel.resume(self.waiting.pop(0))

    def abort(self, task: Task, /) -> bool:
        if task in self.waiting:
            self.waiting.remove(task)
            return True
        return False
