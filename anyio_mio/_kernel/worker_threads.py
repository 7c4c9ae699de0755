"""Worker threads: cached in the process, most recently used first, gone after ten idle seconds."""

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
"""As Trio's cache: long enough for a program's pauses, short enough not to be seen in one."""

T = TypeVar("T")

Work: TypeAlias = "Callable[[WorkerThread], None]"
"""It is told its thread: the caller's own note of it could come too late."""


@final
class WorkerThread:
    """A daemon thread that works until it has been idle for `IDLE_SECONDS`."""

    __slots__ = ("_cache", "work")

    def __init__(self, cache: WorkerThreads) -> None:
        self._cache = cache
        self.work: SimpleQueue[Work] = SimpleQueue()
        # In an empty context: free-threaded builds would inherit the starter's.
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
        """Have it call ``work(self)``, which must not raise."""
        self.work.put(work)


@final
class WorkerThreads:
    """The idle worker threads of the process."""

    __slots__ = ("_idle", "_lock")

    def __init__(self) -> None:
        self._idle: deque[WorkerThread] = deque()
        self._lock = threading.Lock()

    def call(self, work: Work) -> None:
        """Call ``work(thread)`` in a thread; it gives the thread back with `release()`.

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
        kernel: whose task waits.
        function: called without arguments in the thread.
        abandon_on_cancel: True to let a cancelled task go at once; the result is dropped then.
        at_end: called in the kernel's thread when the thread is through, even if no task waits.
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
        self.value = self.error = None  # Outcome.__init__() written out: a call for each hop
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
        # The thread's report is an entry, so it finds the task here however quick it was.
        self._task = self._kernel.current
        await self._kernel.park(self)
        try:
            return self.unwrap()
        finally:
            del self  # a frame of the error's traceback would hold it

    def describe(self, task: object, /) -> Wait:
        """Say where the worker thread stands."""
        frame = sys._current_frames().get(self._thread)
        if frame is None:
            return Wait("a worker thread")
        # A function in C has no frame: then the innermost one is ours, which calls `func`.
        function = frame.f_locals.get("func") if is_ours(frame) else None
        if function is not None:
            return Wait(f"a worker thread that runs {function!r}")
        code, line = frame.f_code, frame.f_lineno
        return Wait(f"a worker thread in {code.co_qualname} ({code.co_filename}:{line})")

    def abort(self, task: object, /) -> bool:
        """Let a cancelled task go, if it may leave the thread alone."""
        return self._abandon_on_cancel and self.leave(task)

    def leave(self, task: object, /) -> bool:
        """Let a task go, and leave the thread alone."""
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
        # First the result, then the thread: the task that awaits finds an idle thread at once,
        # and a run that is over already drops both.
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
        """Drop the result: the run was over first."""
        self.drop()

    def fail(self, error: BaseException, /) -> bool:
        """Do again what `__call__()` does, which was cut short; the error is for the main task."""
        task, self._task = self._task, None
        if task is not None and task.parked_on is self:
            self._kernel.resume(task)
        if self._at_end is not None:
            with suppress(RuntimeError):  # it had been called before
                self._at_end()
        return False
