"""From tasks into worker threads, and from threads back into the run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, TypeVar, final

import anyio
import sniffio
from anyio.abc import AsyncBackend

from anyio_mio._backend.anyio_internals import CallInThread, get_callable_name, worker_call
from anyio_mio._backend.capacity_limiter import CapacityLimiter
from anyio_mio._kernel.cancelled import Cancelled
from anyio_mio._kernel.interrupts import door
from anyio_mio._kernel.kernel import Kernel, running_kernel
from anyio_mio._kernel.outcome import Outcome
from anyio_mio._kernel.running import running
from anyio_mio._kernel.task import Task
from anyio_mio._kernel.worker_threads import Job

T = TypeVar("T")

WRONG_THREAD = (
    "this would wait for the event loop in the event loop's own thread, for ever.\n"
    "  wrong: anyio.from_thread.run(func) inside an async function\n"
    "  right: await func()"
)


DEFAULT_THREADS: Final = 40
"""As many as AnyIO's other backends let ``to_thread`` use at once."""


@final
class Threads:
    """What all calls of a run into worker threads share, made at the first of them.

    Attributes:
        default_limiter: for calls without a limiter.
        name_limiter: for look-ups of names, which may block for long.
        call_in_thread: calls the program's function in the worker thread.
    """

    __slots__ = ("call_in_thread", "default_limiter", "name_limiter")

    def __init__(self, backend: type[AsyncBackend], kernel: Kernel) -> None:
        self.default_limiter: CapacityLimiter = CapacityLimiter(DEFAULT_THREADS)
        self.name_limiter: CapacityLimiter = CapacityLimiter(DEFAULT_THREADS)
        self.call_in_thread: CallInThread = worker_call(backend, kernel)


def threads_of(backend: type[AsyncBackend], kernel: Kernel) -> Threads:
    """Return the run's side of its worker threads."""
    threads: Threads | None = kernel.threads
    if threads is None:
        threads = kernel.threads = Threads(backend, kernel)
    return threads


class WorkerThreadState(threading.local):
    """In a worker thread: the call that it serves."""

    caller: Caller | None = None


@final
class Caller:
    """The task that called ``to_thread.run_sync()``, as its thread sees it."""

    __slots__ = ("abandonable", "kernel", "scope", "task")

    def __init__(self, kernel: Kernel, task: Task, abandonable: bool) -> None:
        self.kernel = kernel
        self.task = task
        self.scope = task.scope
        self.abandonable = abandonable


worker_thread = WorkerThreadState()


async def run_in_worker_thread(
    backend: type[AsyncBackend],
    func: Callable[..., T],
    args: tuple[Any, ...],
    abandon_on_cancel: bool,
    limiter: anyio.CapacityLimiter | None,
) -> T:
    """Call ``func(*args)`` in a worker thread and wait for it. Always a checkpoint.

    The token of ``limiter`` is held until the thread is through, also when it was abandoned.
    """
    kernel = running_kernel()
    if kernel.budget <= 0:  # the wait for the thread lets the others run
        await kernel.checkpoint_if_cancelled()
    threads = threads_of(backend, kernel)
    limiter = limiter or threads.default_limiter
    borrower = object()
    is_full = False
    try:
        limiter.acquire_on_behalf_of_nowait(borrower)
    except anyio.WouldBlock:
        is_full = True
    if is_full:  # not in the except: a cancellation of the wait would name that error its context
        await limiter.acquire_on_behalf_of(borrower)
    task = kernel.current
    assert task is not None
    context = copy_context()
    # The context may say "mio" (anyio.run() sets it); in a thread nothing runs.
    context.run(sniffio.current_async_library_cvar.set, None)
    caller = Caller(kernel, task, abandon_on_cancel)
    # `CallInThread` names the arguments. As keywords they would cost 0.5 microseconds of the 9 of
    # Python that a call takes (measured).
    call = partial(threads.call_in_thread, worker_thread, caller, context, func, args)
    release = partial(limiter.release_on_behalf_of, borrower)
    job: Job[T] = Job(kernel, call, abandon_on_cancel=abandon_on_cancel, at_end=release)
    # A failed call's traceback would hold them with this frame.
    del task, context, func, args, caller, call
    return await job.run()


def check_cancelled() -> None:
    """Raise, in a worker thread, the cancellation of the task that called it.

    Raises:
        RuntimeError: this is no worker thread of mio.
    """
    caller = worker_thread.caller
    if caller is None:
        raise RuntimeError("This function can only be called from an AnyIO worker thread")
    # Plain reads of what the kernel's thread writes: late by a moment at worst.
    if caller.scope.effective or (caller.scope.host is None and caller.scope._cancel_called):
        raise Cancelled(caller.scope.cancel_message())


@final
class Call(Outcome[T]):
    """A function call from another thread, which waits for its outcome."""

    __slots__ = ("_args", "_arrived", "_context", "_function")

    def __init__(self, context: Context, function: Callable[..., T], *args: Any) -> None:
        self.is_done, self.value, self.error = False, None, None  # Outcome.__init__() written out
        self._context = context
        self._function = function
        self._args = args
        self._arrived = threading.Lock()
        self._arrived.acquire()

    def __call__(self) -> None:
        """Call the function. The kernel calls this in its own thread, as an entry."""
        self.capture(self._context.run, self._function, *self._args)
        self._arrived.release()

    def refuse(self) -> None:
        """End the call with an error: the run ended first."""
        self.error = anyio.RunFinishedError()
        self._arrived.release()

    def fail(self, error: BaseException, /) -> bool:
        """Give the error to the thread that waits, unless it has its result."""
        is_news = not self.is_done
        if is_news:
            self.error, self.is_done = error, True
        if self._arrived.locked():
            self._arrived.release()
        return is_news

    def wait(self, kernel: Kernel) -> T:
        """Block the calling thread until the result is there."""
        if running.kernel is kernel:
            raise RuntimeError(WRONG_THREAD)
        if not kernel.entry.put(self):  # the kernel calls `__call__()`
            raise anyio.RunFinishedError
        self._arrived.acquire()
        try:
            return self.unwrap()
        finally:
            del self


def run_sync_from_thread(func: Callable[..., T], args: tuple[Any, ...], token: object) -> T:
    """Call ``func(*args)`` in the run's thread, in a copy of this thread's context."""
    kernel = kernel_of(token)
    return Call(entered_context(), func, *args).wait(kernel)


def run_sync_soon(func: Callable[..., object], args: tuple[Any, ...], token: object) -> None:
    """Have ``func(*args)`` called in the run's thread; never waits.

    Raises:
        RunFinishedError: the run is over.
    """
    context = entered_context()
    if not kernel_of(token).entry.put(lambda: context.run(func, *args)):
        raise anyio.RunFinishedError


def run_async_from_thread(
    func: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...], token: object
) -> T:
    """Run ``await func(*args)`` as a task and wait for it, blocking this thread.

    Called from a worker thread that cannot be abandoned, the task lives in the caller's cancel
    scope. Otherwise it is independent of it, and ends with the run.
    """
    kernel = kernel_of(token)
    caller = worker_thread.caller if token is None else None
    bound = caller is not None and not caller.abandonable
    context = entered_context()
    result = ThreadResult[T](is_independent=not bound)

    @door
    async def body() -> T:
        return await func(*args)

    def spawn() -> None:
        name = get_callable_name(func)
        base = caller.scope if bound and caller is not None else kernel.system
        host = caller.task if bound and caller is not None else None
        kernel.spawn(body(), name, result, base, host=host, context=context)

    Call(context, spawn).wait(kernel)
    return result.wait()


@final
class ThreadResult(Outcome[T]):
    """The outcome of a task for which a thread waits.

    Args:
        is_independent: whether the task ends with the run, and with nothing else.
    """

    __slots__ = ("_arrived", "_is_independent")

    def __init__(self, *, is_independent: bool) -> None:
        super().__init__()
        self._is_independent = is_independent
        self._arrived = threading.Lock()  # an Event's own lock stays locked if a signal comes
        self._arrived.acquire()

    def task_done(self, task: Task, value: Any, error: BaseException | None, /) -> None:
        """Take over the result of the task."""
        if isinstance(error, Cancelled) and self._is_independent and task.base.effective:
            # The end of the run cancelled it; that is no cancellation in the thread's world.
            error = anyio.RunFinishedError()
        super().task_done(task, value, error)
        if self._arrived.locked():  # else this is called a second time, see `repair()`
            self._arrived.release()
        del error, value

    def wait(self) -> T:
        """Block the calling thread until the task has ended."""
        self._arrived.acquire()
        return self.unwrap()


def kernel_of(token: object) -> Kernel:
    """Return the kernel that a call from a thread means: the token's, or else the caller's."""
    if token is None:
        caller = worker_thread.caller
        if caller is None:
            raise RuntimeError("This function can only be called from an AnyIO worker thread")
        return caller.kernel
    assert isinstance(token, Kernel)
    return token


def entered_context() -> Context:
    """Return a copy of this thread's context, in which nothing contradicts that mio runs."""
    context = copy_context()
    context.run(sniffio.current_async_library_cvar.set, "mio")
    return context
