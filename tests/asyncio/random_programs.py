"""Small programs of asyncio and AnyIO mixed, as data that hypothesis makes and that can be run.

Each operation writes into a trace how it ended, and when. Time is virtual, and each duration is a
sum of different powers of two, so no two operations that do not depend on each other end at the
same moment, and the trace is the same on every event loop that works.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, TypeAlias

import anyio
from hypothesis import strategies as st

from anyio_mio._kernel.kernel import running_kernel
from anyio_mio.lowlevel import Instrument
from anyio_mio.testing import MockClock

SHARED: Final = 3
"""Futures, locks and scopes that the parts of a program share, of each kind."""

MOST: Final = 30
"""Operations of a program at the most: a sum of their durations is exact."""

SPINNING: Final = 200
"""Polls at one moment, after which time goes on: AnyIO on asyncio cancels in a busy loop."""

END: Final = 4096
"""When a program is cancelled that waits for what never comes: seconds of virtual time."""


@dataclass(frozen=True)
class Operation:
    """One operation, with the operations that it surrounds.

    Attributes:
        kind: the name of a function of `Run`.
        number: which of the shared objects it uses.
        bodies: what is inside it: each a sequence of operations.
    """

    kind: str
    number: int = 0
    bodies: tuple[tuple[Operation, ...], ...] = ()


Body: TypeAlias = "tuple[Operation, ...]"

LEAVES: Final = (
    "sleep_of_asyncio",
    "sleep_of_anyio",
    "await_future",
    "set_future",
    "fail_future",
    "cancel_future",
    "put",
    "get",
    "cancel_scope",
    "cancel_task",
    "fail",
)
AROUND: Final = (
    "lock",
    "timeout_of_asyncio",
    "wait_for",
    "move_on_after",
    "fail_after",
    "scope",
    "shielded_scope",
    "shield",
    "task",
    "catch",
    "finish",
)
SEVERAL: Final = ("gather", "group_of_asyncio", "group_of_anyio")
YIELDS: Final = ("bare_yield", "checkpoint")


def operations(leaves: tuple[str, ...]) -> st.SearchStrategy[Operation]:
    """Make operations, one inside the other."""
    number = st.integers(0, SHARED - 1)
    leaf = st.builds(Operation, st.sampled_from(leaves), number)

    def extend(inner: st.SearchStrategy[Operation]) -> st.SearchStrategy[Operation]:
        body = st.lists(inner, max_size=3).map(tuple)
        one = st.tuples(body)
        return st.builds(Operation, st.sampled_from(AROUND), number, one) | st.builds(
            Operation,
            st.sampled_from(SEVERAL),
            number,
            st.lists(body, min_size=1, max_size=3).map(tuple),
        )

    return st.recursive(leaf, extend, max_leaves=10)


def programs(*, with_yields: bool = False) -> st.SearchStrategy[Body]:
    """Make programs: the bodies of tasks that run beside each other."""
    leaves = LEAVES + YIELDS if with_yields else LEAVES
    body = st.lists(operations(leaves), max_size=3).map(tuple)
    made = st.lists(body, min_size=1, max_size=3).map(
        lambda bodies: (Operation("group_of_anyio", 0, tuple(bodies)),)
    )
    return made.filter(lambda program: len(list(paths_in(program, ""))) <= MOST)


def outcome_of(error: BaseException) -> str:
    """The kind of an error; of a group, the kinds in it. A cancellation hides no other error."""
    leaves = set(kinds_in(error))
    return "+".join(sorted(leaves)) if leaves else "cancelled"


def kinds_in(error: BaseException) -> list[str]:
    """The kinds of the errors in a group, without cancellations."""
    if isinstance(error, BaseExceptionGroup):
        return [kind for each in error.exceptions for kind in kinds_in(each)]
    if isinstance(error, asyncio.CancelledError):
        return []
    return [type(error).__name__]


@dataclass
class Run:
    """One run of a program.

    Attributes:
        paths: all operations, in the order of the program.
        trace: what each operation did, in the order of their ends.
    """

    paths: list[str]
    trace: list[tuple[str, float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time
        self.start = loop.time()
        self.futures: list[asyncio.Future[int]] = [loop.create_future() for _ in range(SHARED)]
        self.locks = [asyncio.Lock() for _ in range(SHARED)]
        self.queues: list[asyncio.Queue[int]] = [asyncio.Queue(1) for _ in range(SHARED)]
        self.scopes: dict[int, list[anyio.CancelScope]] = defaultdict(list)
        self.tasks: dict[int, list[asyncio.Task[Any]]] = defaultdict(list)

    def duration(self, path: str) -> float:
        """Return a duration that no other operation has, nor a sum of others."""
        return 1 + 2.0 ** -(self.paths.index(path) + 1)

    async def body(self, operations: Body, path: str) -> None:
        """Run operations one after the other."""
        for number, operation in enumerate(operations):
            await self.operation(operation, f"{path}.{number}")

    async def operation(self, operation: Operation, path: str) -> None:
        """Run an operation, and write down how it ended."""
        path = named(operation, path)
        try:
            await getattr(self, operation.kind)(operation, path)
        except BaseException as error:
            self.write(path, outcome_of(error))
            raise
        self.write(path, "ok")

    def write(self, path: str, outcome: str) -> None:
        """Add to the trace."""
        self.trace.append((path, self.now() - self.start, outcome))

    async def inside(self, operation: Operation, path: str) -> None:
        """Run what is inside an operation."""
        await self.body(operation.bodies[0], path)

    # Operations without others in them. What others can see is done at a moment of its own.

    async def sleep_of_asyncio(self, operation: Operation, path: str) -> None:
        await asyncio.sleep(self.duration(path))

    async def sleep_of_anyio(self, operation: Operation, path: str) -> None:
        await anyio.sleep(self.duration(path))

    async def bare_yield(self, operation: Operation, path: str) -> None:
        await asyncio.sleep(0)

    async def checkpoint(self, operation: Operation, path: str) -> None:
        await anyio.lowlevel.checkpoint()

    async def await_future(self, operation: Operation, path: str) -> None:
        await asyncio.shield(self.futures[operation.number])

    async def set_future(self, operation: Operation, path: str) -> None:
        await asyncio.sleep(self.duration(path))
        if not self.futures[operation.number].done():
            self.futures[operation.number].set_result(1)

    async def fail_future(self, operation: Operation, path: str) -> None:
        await asyncio.sleep(self.duration(path))
        if not self.futures[operation.number].done():
            self.futures[operation.number].set_exception(LookupError())

    async def cancel_future(self, operation: Operation, path: str) -> None:
        await asyncio.sleep(self.duration(path))
        self.futures[operation.number].cancel()

    async def put(self, operation: Operation, path: str) -> None:
        await asyncio.sleep(self.duration(path))
        await self.queues[operation.number].put(1)

    async def get(self, operation: Operation, path: str) -> None:
        await asyncio.sleep(self.duration(path))
        await self.queues[operation.number].get()

    async def cancel_scope(self, operation: Operation, path: str) -> None:
        await asyncio.sleep(self.duration(path))
        for scope in self.scopes[operation.number]:
            scope.cancel()

    async def cancel_task(self, operation: Operation, path: str) -> None:
        await asyncio.sleep(self.duration(path))
        for task in self.tasks[operation.number]:
            task.cancel()

    async def fail(self, operation: Operation, path: str) -> None:
        await asyncio.sleep(self.duration(path))
        raise ValueError

    # Operations around others.

    async def lock(self, operation: Operation, path: str) -> None:
        await asyncio.sleep(self.duration(path))
        async with self.locks[operation.number]:
            await self.inside(operation, path)

    async def timeout_of_asyncio(self, operation: Operation, path: str) -> None:
        async with asyncio.timeout(self.duration(path)):
            await self.inside(operation, path)

    async def wait_for(self, operation: Operation, path: str) -> None:
        await asyncio.wait_for(self.inside(operation, path), self.duration(path))

    async def move_on_after(self, operation: Operation, path: str) -> None:
        with anyio.move_on_after(self.duration(path)):
            await self.inside(operation, path)

    async def fail_after(self, operation: Operation, path: str) -> None:
        with anyio.fail_after(self.duration(path)):
            await self.inside(operation, path)

    async def scope(self, operation: Operation, path: str) -> None:
        with anyio.CancelScope() as scope:
            self.scopes[operation.number].append(scope)
            try:
                await self.inside(operation, path)
            finally:
                self.scopes[operation.number].remove(scope)

    async def shielded_scope(self, operation: Operation, path: str) -> None:
        with anyio.move_on_after(8 * self.duration(path), shield=True):
            await self.inside(operation, path)

    async def shield(self, operation: Operation, path: str) -> None:
        await asyncio.shield(self.inside(operation, path))

    async def task(self, operation: Operation, path: str) -> None:
        task = asyncio.create_task(self.inside(operation, path))
        self.tasks[operation.number].append(task)
        await task

    async def catch(self, operation: Operation, path: str) -> None:
        try:
            await self.inside(operation, path)
        except* (ValueError, LookupError, TimeoutError):
            pass

    async def finish(self, operation: Operation, path: str) -> None:
        try:
            await self.inside(operation, path)
        finally:
            self.write(path, "finally")

    async def gather(self, operation: Operation, path: str) -> None:
        bodies = [self.body(body, f"{path}[{n}]") for n, body in enumerate(operation.bodies)]
        await asyncio.gather(*bodies)

    async def group_of_asyncio(self, operation: Operation, path: str) -> None:
        async with asyncio.TaskGroup() as group:
            for number, body in enumerate(operation.bodies):
                group.create_task(self.body(body, f"{path}[{number}]"))

    async def group_of_anyio(self, operation: Operation, path: str) -> None:
        async with anyio.create_task_group() as group:
            for number, body in enumerate(operation.bodies):
                group.start_soon(self.body, body, f"{path}[{number}]")


def paths_in(body: Body, path: str) -> Iterator[str]:
    """List the paths of all operations in a program."""
    for number, operation in enumerate(body):
        inside = named(operation, f"{path}.{number}")
        yield inside
        for index, each in enumerate(operation.bodies):
            several = operation.kind in SEVERAL
            yield from paths_in(each, f"{inside}[{index}]" if several else inside)


def named(operation: Operation, path: str) -> str:
    """Return the path of an operation."""
    return f"{path} {operation.kind}{operation.number}"


def shielded_tasks() -> set[asyncio.Task[Any]]:
    """Return what `asyncio.shield()` has kept."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def run_program(program: Body) -> list[tuple[str, float, str]]:
    """Run a program to its end, which comes at `END` at the latest; return its trace."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    run = Run(list(paths_in(program, "")))
    with anyio.move_on_after(END):
        try:
            await run.body(program, "")
        except BaseException as error:
            run.write("program", outcome_of(error))
            if isinstance(error, asyncio.CancelledError):
                raise
    with anyio.move_on_after(END):
        while tasks := shielded_tasks():
            await asyncio.wait(tasks)
    trace = run.trace.copy()
    while tasks := shielded_tasks():
        tasks.pop().cancel()
        await asyncio.sleep(0)
    return trace


class VirtualSelector(selectors.SelectSelector):
    """A selector that does not wait: it moves the time of its loop."""

    loop: VirtualLoop
    polls = 0

    def select(self, timeout: float | None = None) -> Any:
        """Poll, and move the time by what asyncio would have waited."""
        events = super().select(0)
        assert events or timeout is not None, "nothing can continue the program"
        self.polls = 0 if timeout else self.polls + 1
        if timeout and not events:
            self.loop.seconds += timeout
        elif self.polls > SPINNING:
            assert self.loop._scheduled, "the program spins"
            self.loop.seconds = max(self.loop.seconds, self.loop._scheduled[0]._when)
            self.polls = 0
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop in virtual time."""

    _scheduled: list[Any]

    def __init__(self) -> None:
        self.seconds = 0.0
        selector = VirtualSelector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-12  # a timer is due before that

    def time(self) -> float:
        """Return the virtual time."""
        return self.seconds


class Spins(Instrument):
    """Moves a clock on while tasks only yield, as time would."""

    def __init__(self, clock: MockClock) -> None:
        self.clock = clock
        self.polls = 0
        self.seen = 0.0

    def after_poll(self, events: int) -> None:
        """Count the polls at one moment."""
        self.polls = self.polls + 1 if self.clock.now() == self.seen else 0
        self.seen = self.clock.now()
        if self.polls > SPINNING:
            next_deadline = running_kernel().deadlines.next()
            self.clock.jump(max(next_deadline - self.seen, 0) if next_deadline < inf else 0)


def virtual_options() -> dict[str, Any]:
    """Make options of a run of mio in virtual time."""
    clock = MockClock(autojump=0)
    return {"clock": clock, "instruments": [Spins(clock)]}
