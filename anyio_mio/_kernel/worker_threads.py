"""Worker threads: a cache for the process, most recently used first. Idle threads end."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, final

from anyio_mio._kernel.outcome import Outcome
from anyio_mio._reactor.scheduler import Wait

if TYPE_CHECKING:
    from anyio_mio._kernel.kernel import Kernel
    from anyio_mio._kernel.task import Task

IDLE_SECONDS: Final = 10.0
"""The same as in Trio: threads survive a program's short pauses, but not its long ones."""

T = TypeVar("T")

Work: TypeAlias = "Callable[[WorkerThread], None]"
"""Work that gets its thread as the argument: it may run before `call()` has returned."""


@final
class WorkerThread:
    """A daemon thread that works until it has been idle for `IDLE_SECONDS`."""

    __slots__ = ("_cache", "work")

    def __init__(self, cache: WorkerThreads) -> None:
        self._cache = cache
        self.work: SimpleQueue[Work] = SimpleQueue()
        # In an empty context, because on free-threaded builds a thread inherits the starter's.
        start = threading.Thread(target=self._run, name="anyio_mio worker", daemon=True).start
        Context().run(start)

    def _run(self) -> None:
        while True:
            try:
                work = self.work.get(timeout=IDLE_SECONDS)
            except Empty:
                if self._cache.retire(self):
                    return
                continue
            work(self)
            del work  # it holds the caller's function and result

    def give(self, work: Work) -> None:
        """Make the thread call ``work(self)``, which must not raise."""
        self.work.put(work)


@final
class WorkerThreads:
    """The idle worker threads of the process."""

    __slots__ = ("_idle", "_lock")

    def __init__(self) -> None:
        self._idle: deque[WorkerThread] = deque()
        self._lock = threading.Lock()

    def call(self, work: Work) -> None:
        """Call ``work(thread)`` in a thread. The work returns the thread with `release()`.

        Raises:
            RuntimeError: the system has no thread left.
        """
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None:
            worker = WorkerThread(self)
        worker.give(work)

    def release(self, worker: WorkerThread) -> None:
        """Take back a thread whose work is done; called in that thread."""
        with self._lock:
            self._idle.append(worker)

    def retire(self, worker: WorkerThread) -> bool:
        """Let an idle thread end; False if work is on its way to it."""
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                return True
            return False

    def forget(self) -> None:
        """Forget the threads: a forked child has none of them."""
        self._idle.clear()
        self._lock = threading.Lock()


WORKERS: Final = WorkerThreads()


def is_ours(frame: FrameType) -> bool:
    """Return whether a frame executes a function of this package."""
    return str(frame.f_globals.get("__name__", "")).startswith("anyio_mio.")


@final
class Job(Outcome[T]):
    """One function call in a worker thread, awaited by a task, and its outcome.

    Args:
        kernel: the kernel of the task that waits.
        function: called without arguments in the thread.
        abandon_on_cancel: True to let a cancelled task continue at once. The result is then
            dropped.
        at_end: called in the kernel's thread when the function has ended, even if no task waits.
    """

    __slots__ = (
        "_abandon_on_cancel",
        "_at_end",
        "_function",
        "_kernel",
        "_task",
        "_thread",
    )

    def __init__(
        self,
        kernel: Kernel,
        function: Callable[[], T],
        *,
        abandon_on_cancel: bool = False,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        self.value = self.error = None  # Outcome.__init__() written out, which saves a call
        self._kernel = kernel
        self._function: Callable[[], T] | None = function
        self._abandon_on_cancel = abandon_on_cancel
        self._at_end = at_end
        self._task: Task | None = None
        self._thread = 0  # the identity of the thread, for the task tree

    async def run(self) -> T:
        """Wait for the function's result. Always a checkpoint.

        Raises:
            RuntimeError: the system has no thread left.
        """
        try:
            WORKERS.call(self._work)
        except BaseException:
            function, self._function = self._function, None
            if function is not None and self._at_end is not None:  # no thread has begun with it
                self._at_end()
            raise
        # The entry runs in this thread, so it finds the task here even if the function was quick.
        self._task = self._kernel.current
        await self._kernel.park(self)
        try:
            return self.unwrap()
        finally:
            del self  # a frame of the error's traceback would hold it

    def describe(self, task: object, /) -> Wait:
        """Describe where the worker thread is."""
        frame = sys._current_frames().get(self._thread)
        if frame is None:
            return Wait("a worker thread")
        # A C function has no frame. Then the innermost frame is ours, which calls `func`.
        function = frame.f_locals.get("func") if is_ours(frame) else None
        if function is not None:
            return Wait(f"a worker thread that runs {function!r}")
        code, line = frame.f_code, frame.f_lineno
        return Wait(f"a worker thread in {code.co_qualname} ({code.co_filename}:{line})")

    def abort(self, task: object, /) -> bool:
        """Let a cancelled task continue, if it may abandon the thread."""
        return self._abandon_on_cancel and self.leave(task)

    def leave(self, task: object, /) -> bool:
        """Let a task continue, and abandon the thread."""
        if self._task is not task:
            return False
        self._task = None
        return True

    def _work(self, worker: WorkerThread) -> None:
        function, self._function = self._function, None
        if function is None:  # a signal's handler has raised before the task waited
            WORKERS.release(worker)
            return
        self._thread = threading.get_ident()
        self.capture(function)
        del function
        # Release the thread before the task can resume, so that the task finds an idle thread.
        WORKERS.release(worker)
        # The job itself is the entry: the kernel calls `__call__()`, or `refuse()` if the run ends.
        if not self._kernel.entry.put(self):
            self.refuse()

    def __call__(self) -> None:
        """Resume the task that waits. The kernel calls this in its own thread, as an entry."""
        task, self._task = self._task, None
        if task is not None and task.parked_on is self:
            self._kernel.resume(task)
        else:
            self.drop()
        if self._at_end is not None:
            self._at_end()

    def refuse(self) -> None:
        """Drop the result, because the run ended first."""
        self.drop()

    def fail(self, error: BaseException, /) -> bool:
        """Repeat `__call__()`, which was cut short; the main task gets the error."""
        task, self._task = self._task, None
        if task is not None and task.parked_on is self:
            self._kernel.resume(task)
        if self._at_end is not None:
            with suppress(RuntimeError):  # it had been called before
                self._at_end()
        return False
