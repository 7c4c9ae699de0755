"""A scheduler without tasks: names stand for them, and parking is only noted."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from anyio_mio._reactor.reactor import Reactor
from anyio_mio._reactor.scheduler import TaskRef, Waitable
from anyio_mio.poll import Poll, Selector
from anyio_mio.testing import ScriptedSelector
from tests.kernel.harness import ERRORS


class Scheduler:
    """Says who runs (`current`), and remembers who was parked, woken and failed."""

    errors = ERRORS

    def __init__(self) -> None:
        self.current: TaskRef = "main"
        self.budget = 10
        self.parked: dict[TaskRef, Waitable] = {}
        self.woken: list[TaskRef] = []
        self.failed: dict[TaskRef, BaseException] = {}

    def park(self, waitable: Waitable, /) -> Any:
        assert self.current not in self.parked, "it waits already"
        self.parked[self.current] = waitable
        return None

    def resume(self, task: TaskRef, /) -> None:
        del self.parked[task]  # K5: it was parked, and this is the one wake-up
        self.woken.append(task)

    def fail(self, task: TaskRef, error: BaseException, /) -> None:
        self.resume(task)
        self.failed[task] = error

    def cancel(self, task: TaskRef) -> bool:
        if not self.parked[task].abort(task):
            return False
        del self.parked[task]
        return True

    async def checkpoint(self) -> None:
        raise AssertionError

    def now(self) -> float:
        return 0.0


class Bench:
    """A reactor on a selector, driven by hand."""

    def __init__(self, selector: Selector | None = None) -> None:
        self.scheduler = Scheduler()
        self.selector = selector or ScriptedSelector()
        self.reactor = Reactor(Poll(self.selector), self.scheduler)

    def park(self, task: TaskRef, wait: Any, *arguments: Any) -> Awaitable[None]:
        """Have ``task`` call ``wait(*arguments)``."""
        self.scheduler.current = task
        result: Awaitable[None] = wait(*arguments)
        return result

    def turn(self, timeout: float = 0, capacity: int = 64) -> list[TaskRef]:
        """Poll once; who was woken."""
        before = len(self.scheduler.woken)
        self.reactor.turn(
            self.selector.select(timeout, capacity), self.scheduler.resume, self.scheduler.resume
        )
        return self.scheduler.woken[before:]

    def deliver(self, *pairs: tuple[int, int]) -> list[TaskRef]:
        """Events as if the selector had returned them; who was woken."""
        before = len(self.scheduler.woken)
        self.reactor.turn(list(pairs), self.scheduler.resume, self.scheduler.resume)
        return self.scheduler.woken[before:]

    @property
    def calls(self) -> list[tuple[str, int]]:
        """What the scripted selector was asked for."""
        assert isinstance(self.selector, ScriptedSelector)
        return [(call.verb, call.fd) for call in self.selector.calls]
