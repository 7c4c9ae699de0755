"""The runner behind AnyIO's pytest plugin: one task that runs fixtures and tests in turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from types import CoroutineType, TracebackType
from typing import Any, Generic, TypeVar, final

from anyio.abc import TestRunner as AbstractTestRunner

from anyio_mio._backend import compat
from anyio_mio._backend.detection import forget_name
from anyio_mio._backend.options import make_kernel
from anyio_mio._kernel.interrupts import Interrupts, door
from anyio_mio._kernel.outcome import Outcome
from anyio_mio._kernel.run import living_kernels, run_main, shut_down
from anyio_mio._kernel.running import running
from anyio_mio._kernel.task import Task
from anyio_mio._reactor.scheduler import Wait

T = TypeVar("T")


@final
class Mailbox:
    """Where the runner's task waits for its next item.

    The wait cannot be cancelled. If a background task of a fixture's task group fails while no
    test runs, the group's cancellation does not hit the runner, but the next test's first
    checkpoint, and the error comes out of the fixture.
    """

    __slots__ = ("item",)

    def __init__(self) -> None:
        self.item: Item[Any] | None = None

    def describe(self, task: object, /) -> Wait:
        """See `Describes`."""
        return Wait("the next test")

    def abort(self, task: object, /) -> bool:
        """Refuse to abort: see above."""
        return False


@final
class Item(Generic[T]):
    """One awaitable and how it ended."""

    __slots__ = ("coro", "outcome")

    def __init__(self, coro: Awaitable[T]) -> None:
        self.coro: Awaitable[T] | None = coro
        self.outcome: Outcome[T] = Outcome()

    def close(self) -> None:
        """Close the coroutine, so that it does not warn that it was never awaited."""
        if isinstance(self.coro, CoroutineType):
            self.coro.close()


@final
class TestRunner(AbstractTestRunner):
    """Steps a kernel of its own whenever pytest calls, and stands still in between."""

    __test__ = False

    def __init__(self, options: dict[str, Any]) -> None:
        compat.install()
        self._kernel = make_kernel(options)
        self._mailbox = Mailbox()
        self._end: Outcome[None] = Outcome()
        self._is_broken = False
        self._interrupts = Interrupts(self._kernel)
        living_kernels.add(self._kernel)

    def __enter__(self) -> TestRunner:
        kernel = self._kernel
        forget_name()
        self._interrupts.__enter__()
        kernel.main = kernel.spawn(self._run_items(), "test runner", self._end, kernel.root)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        kernel = self._kernel
        try:
            if not self._is_broken:  # else its task waits for something that may never come
                self._give(None)
                kernel.run_until(self._end.done)
                kernel.main = None
                shut_down(kernel)
        finally:
            living_kernels.discard(kernel)
            self._interrupts.__exit__()
            kernel.close()
        kernel.raise_pending()

    def is_running(self) -> bool:
        """Return whether a fixture or test is being run right now in this thread."""
        return running.kernel is self._kernel

    def run_asyncgen_fixture(
        self, fixture_func: Callable[..., AsyncGenerator[T, Any]], kwargs: dict[str, Any]
    ) -> Iterable[T]:
        """Run an async generator fixture up to its yield, and later to its end."""
        generator = fixture_func(**kwargs)
        yield self._call(generator.asend(None))
        try:
            self._call(generator.asend(None))
        except StopAsyncIteration:
            return
        self._call(generator.aclose())
        raise RuntimeError("Async generator fixture did not stop")

    def run_fixture(
        self, fixture_func: Callable[..., Coroutine[Any, Any, T]], kwargs: dict[str, Any]
    ) -> T:
        """Run a coroutine fixture."""
        return self._call(fixture_func(**kwargs))

    def run_test(
        self, test_func: Callable[..., Coroutine[Any, Any, Any]], kwargs: dict[str, Any]
    ) -> None:
        """Run a test."""
        self._call(test_func(**kwargs))

    def _call(self, coro: Awaitable[T]) -> T:
        item: Item[T] = Item(coro)
        if self._is_broken:
            item.close()
            raise RuntimeError("the test runner was broken off and runs nothing more")
        self._give(item)
        try:
            run_main(self._kernel, item.outcome, is_patient=False)
        except BaseException:
            self._is_broken = not item.outcome.is_done
            raise
        self._kernel.raise_pending()
        return item.outcome.unwrap()

    def _give(self, item: Item[Any] | None) -> None:
        self._mailbox.item = item
        main = self._kernel.main
        assert main is not None
        if main.parked_on is self._mailbox:
            self._kernel.resume(main)

    async def _run_items(self) -> None:
        kernel, mailbox = self._kernel, self._mailbox
        main = kernel.main
        assert main is not None
        while (item := mailbox.item) is not None:
            await run_item(item, main)
            mailbox.item = item = None
            await kernel.park(mailbox)


@door
async def run_item(item: Item[Any], main: Task) -> None:
    """Await one item; its result or exception goes to the caller."""
    coro, item.coro = item.coro, None
    assert coro is not None
    try:
        value = await coro
    except BaseException as exc:
        item.outcome.task_done(main, None, exc)
    else:
        item.outcome.task_done(main, value, None)
    finally:
        del coro, item
