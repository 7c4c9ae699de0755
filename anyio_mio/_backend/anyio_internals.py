"""AnyIO's private names: every one that this project uses, each with a check and a second way.

Facts. AnyIO gives each task a handle with a cancel scope and a "finished" event, and a coroutine
``_run_coro()`` that enters the scope, awaits the task's own coroutine and fills the handle in. Run
as it is, that is one more coroutine for each task: a frame more at each step and 300 bytes more for
each idle connection. With a thousand connections it costs 0.5 microseconds of 12 for each echo
(measured), since a frame that is cold is a cache miss. AnyIO's constructor of a handle imports, and
asks twice which backend runs: 2.7 microseconds of the 7 that a task took, instead of 0.6. Its
``claim_worker_thread()`` takes 2.8 of the 9 microseconds of Python of a call into a thread.

Decision. `HandledTask`, `new_handle()` and `call_with_token()` do what that code does. Before the
first use of each copy, a probe runs AnyIO's code and the copy on the same input and compares what
they leave behind. If they differ, one warning is logged, and from then on AnyIO's own code runs:
slower, with the same results.

Cost. The probes take some 100 microseconds for each process, at its first task and its first call
into a thread. A probe covers what it runs. So a copy is also given up if AnyIO's code uses a name
that it did not use when the copy was made.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from types import FunctionType, ModuleType
from typing import Any, Final, Protocol, TypeVar, final

import anyio
import sniffio
from anyio import TaskHandle
from anyio._core import _eventloop
from anyio._core._eventloop import claim_worker_thread, get_async_backend, threadlocals
from anyio.abc import AsyncBackend, _tasks
from anyio.lowlevel import EventLoopToken

from anyio_mio._backend.synchronization import Event
from anyio_mio._kernel import cancel_scope
from anyio_mio._kernel.cancel_scope import abandon
from anyio_mio._kernel.task import Owner, Task

LOGGER: Final = logging.getLogger("anyio_mio.anyio_internals")

T = TypeVar("T")


def is_safe(copied: str, probe: Callable[[], bool]) -> bool:
    """Return whether a probe found that a copy behaves like AnyIO's code; log one line if not."""
    try:
        if probe():
            return True
        reason = "they differ"
    except Exception as error:
        reason = repr(error)
    LOGGER.warning(
        "anyio_mio's copy of %s does not fit the installed AnyIO (%s); AnyIO's own, slower code "
        "is used. Upgrading anyio-mio should help.",
        copied,
        reason,
    )
    return False


def uses(function: object, names: set[str]) -> bool:
    """Return whether a function's code uses exactly these names."""
    return isinstance(function, FunctionType) and set(function.__code__.co_names) == names


def where_mio_runs(function: Callable[..., T], *args: object) -> T:
    """Call a function of AnyIO that asks which backend runs, even if sniffio does not know it."""
    previous, sniffio.thread_local.name = sniffio.thread_local.name, "mio"
    try:
        return function(*args)
    finally:
        sniffio.thread_local.name = previous


# The table of backends.


def put_into_table(name: str, backend: type[AsyncBackend]) -> None:
    """Make AnyIO find a backend by its name, unless it has one of that name already."""
    if is_safe("the entry in its table of backends", partial(probe_table, name, backend)):
        return
    # The module that AnyIO imports for a name that its table does not have.
    module = ModuleType(f"anyio._backends._{name}")
    module.__dict__["backend_class"] = backend
    sys.modules.setdefault(module.__name__, module)


def probe_table(name: str, backend: type[AsyncBackend]) -> bool:
    """Enter a backend into the table; whether AnyIO finds it there."""
    entered = _eventloop.loaded_backends.setdefault(name, backend)
    return get_async_backend(name) is entered


# Names of tasks.

HANDLES_NAME_THEMSELVES: Final = not hasattr(_tasks, "get_coro_name")
"""AnyIO 4.14 names an unnamed task by its handle, and without the module."""

get_callable_name: Final = _tasks.get_callable_name
call_for_coroutine: Final = _tasks.call_for_coroutine


# Task handles.


# AnyIO's class has no slot but __weakref__, so the layouts do fit together.
class CancelScope(cancel_scope.CancelScope, anyio.CancelScope):  # type: ignore[misc]
    """The kernel's cancel scope, known to AnyIO."""

    __slots__ = ()


SLOTS: Final = {"_cancel_scope", "_coro", "_exception", "_finished_event"}
"""The slots that AnyIO sets at the beginning of a task and reads at its end."""

CONSTRUCTOR_NAMES: Final = SLOTS | {
    "CancelScope",
    "Event",
    "__qualname__",
    "_name",
    "_synchronization",
    "iscoroutine",
    "str",
}
RUN_NAMES: Final = SLOTS | {"BaseException", "_return_value", "set"}

handles_are_known: bool | None = None
"""Whether the copies for handles may be used; None before the first task."""


@final
class HandledTask(Task):
    """A task whose handle learns how it ended."""

    __slots__ = ("handle",)
    handle: TaskHandle[Any] | None

    def finish(self, value: object, error: BaseException | None) -> None:
        """Store the result in the handle, leave its scope, notify the owner."""
        handle = self.handle
        if handle is None:  # an interrupt came behind that, see `repair()`
            Task.finish(self, value, error)
            return
        outermost: cancel_scope.CancelScope = handle._cancel_scope  # type: ignore[assignment]
        if self.scope is not outermost:
            error = abandon(self, outermost, error)
            self.kernel.ending = (self, value, error)
        if error is None:
            handle._return_value = value
        else:
            handle._exception = error
        handle._finished_event.set()
        # The handle keeps the error, and the error's frames keep this task: it must not close the
        # circle, or each cancelled task would wait for the garbage collector.
        original = error
        try:
            error = leave(handle._cancel_scope, error)
            self.handle = None
            if error is not original:
                self.kernel.ending = (self, value, error)
            Task.finish(self, value, error)
        finally:
            del error, original, value, handle, self


def leave(scope: Any, error: BaseException | None) -> BaseException | None:
    """Exit a task's outermost scope with the task's error; return the rest of the error."""
    try:
        if scope.__exit__(None if error is None else type(error), error, None):
            return None
    except BaseException as rest:
        return rest
    else:
        return error
    finally:
        del error


def new_handle(coro: Coroutine[Any, Any, T], name: str | None) -> TaskHandle[T]:
    """Return what ``TaskHandle(coro, name)`` makes while mio runs."""
    if not handles_are_known or name is None:
        return new_handle_with_check(coro, name)
    handle: TaskHandle[T] = object.__new__(TaskHandle)
    handle._coro = coro
    handle._cancel_scope = CancelScope()
    handle._finished_event = Event()
    handle._exception = None
    handle._name = name
    return handle


def new_handle_with_check(coro: Coroutine[Any, Any, T], name: str | None) -> TaskHandle[T]:
    """Find out at the first task whether the copy is safe; otherwise use AnyIO's constructor."""
    global handles_are_known
    if handles_are_known is None:
        handles_are_known = True  # the probe calls the copy
        handles_are_known = is_safe("task handles", probe_handles)
        return new_handle(coro, name)
    return where_mio_runs(TaskHandle, coro, name)


def new_task(
    handle: TaskHandle[Any],
    context: Context | None,
    owner: Owner,
    base: cancel_scope.CancelScope,
    host: Task,
) -> Task:
    """Return the task for a handle; it still has to be started."""
    kernel, name, context = host.kernel, handle.name, context or copy_context()
    if not handles_are_known:
        return Task(kernel, handle._run_coro(), name, context, owner, base, host)
    task = HandledTask(kernel, handle.coro, name, context, owner, base, host)
    task.handle = handle
    handle._cancel_scope.enter(kernel, task)  # type: ignore[attr-defined]
    return task


def set_start_value(handle: TaskHandle[Any], value: object) -> None:
    """Give a handle what its task passed to ``task_status.started()``."""
    handle._start_value = value  # type: ignore[assignment]


def probe_handles() -> bool:
    """Compare AnyIO's constructor of handles, and its end of a task, with the copies."""
    if not uses(TaskHandle.__init__, CONSTRUCTOR_NAMES):
        return False
    if not uses(TaskHandle._run_coro, RUN_NAMES):
        return False
    coro = end(None)
    ours = contents(new_handle(coro, "probe"))
    theirs = contents(where_mio_runs(TaskHandle, coro, "probe"))
    coro.close()
    try:
        return ours == theirs and all(
            end_by_anyio(error, takes) == end_by_copy(error, takes)
            for error, takes in ((None, False), (PROBE_ERROR, False), (PROBE_ERROR, True))
        )
    finally:
        # The traceback leads to the frames of the program that started its first task.
        PROBE_ERROR.__traceback__ = None


PROBE_ERROR: Final = ArithmeticError("a probe of AnyIO's task handles")


async def end(error: BaseException | None) -> str:
    """Be a task that ends."""
    if error is not None:
        raise error
    return "value"


def contents(handle: TaskHandle[Any]) -> dict[str, object]:
    """Return the contents of a handle: plain values, and the types of other objects."""
    found: dict[str, object] = {}
    for slot in TaskHandle.__slots__:
        if slot != "__weakref__" and hasattr(handle, slot):
            value = getattr(handle, slot)
            plain = value is None or isinstance(value, (str, BaseException))
            found[slot] = value if plain else type(value)
    return found


class Recorder:
    """A scope, an event and an owner that record the calls they get.

    Args:
        takes: whether the scope takes the error that leaves it.
    """

    def __init__(self, takes: bool) -> None:
        self.record: list[object] = []
        self.takes = takes

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.record.append(("exit", kind, error))
        return self.takes

    def set(self) -> None:
        """Accept the call that AnyIO makes on its event."""
        self.record.append("set")

    def task_done(self, task: object, value: object, error: BaseException | None, /) -> None:
        """Accept the call that a task makes on its owner."""
        self.record.append(("done", error))


def recorded_handle(recorder: Any, error: BaseException | None) -> TaskHandle[Any]:
    """Return a handle of a task that is about to end."""
    handle: TaskHandle[Any] = object.__new__(TaskHandle)
    handle._coro = end(error)
    handle._cancel_scope = handle._finished_event = recorder
    handle._exception = None
    return handle


def end_by_anyio(error: BaseException | None, takes: bool) -> tuple[object, ...]:
    """Return the calls of AnyIO's ``_run_coro()`` at the end of a task."""
    recorder = Recorder(takes)
    handle, rest = recorded_handle(recorder, error), None
    try:
        handle._run_coro().send(None)
    except StopIteration:
        pass
    except ArithmeticError as raised:
        rest = raised
    recorder.task_done(None, None, rest)
    return contents(handle), recorder.record


def end_by_copy(error: BaseException | None, takes: bool) -> tuple[object, ...]:
    """Return the calls of `HandledTask` at the end of a task."""
    recorder: Any = Recorder(takes)
    handle = recorded_handle(recorder, error)
    task = object.__new__(HandledTask)
    task.handle, task.owner, task.scope, task.base = handle, recorder, recorder, recorder
    task.kernel = recorder
    try:
        handle._coro.send(None)
    except StopIteration as stop:
        task.finish(stop.value, None)
    except ArithmeticError as raised:
        task.finish(None, raised)
    return contents(handle), recorder.record


# Worker threads.


class ThreadState(Protocol):
    """What the backend remembers in a worker thread.

    Attributes:
        caller: the task whose call the thread serves; None between two calls.
    """

    caller: Any


class CallInThread(Protocol):
    """Calls a function in a worker thread, so that AnyIO finds the way back to the run."""

    def __call__(
        self,
        state: ThreadState,
        caller: object,
        context: Context,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        /,
    ) -> Any:
        """Return what ``func(*args)`` returns in ``context``.

        Args:
            state: the state of the thread, which names the caller for as long as the call lasts.
            caller: the task that calls.
            context: a context of the call's own.
            func: the program's function.
            args: its arguments.
        """


CLAIM_NAMES: Final = {"EventLoopToken", "current_token", "lowlevel", "threadlocals"}

claims_are_known: bool | None = None
"""Whether `call_with_token()` may be used; None before the first call into a thread."""


def worker_call(backend: type[AsyncBackend], kernel: object) -> CallInThread:
    """Return `call_with_token()` for this kernel, or `call_claimed()` if the copy is not safe."""
    global claims_are_known
    if claims_are_known is None:
        claims_are_known = is_safe("claim_worker_thread", partial(probe_claim, backend, kernel))
    if claims_are_known:
        return partial(call_with_token, EventLoopToken(backend, kernel))
    return partial(call_claimed, backend, kernel)


def call_with_token(
    token: EventLoopToken,
    state: ThreadState,
    caller: object,
    context: Context,
    func: Callable[..., T],
    args: tuple[Any, ...],
) -> T:
    """Call the function in the worker thread, with the token that leads back to its caller."""
    state.caller = caller
    threadlocals.current_token = token
    try:
        return context.run(func, *args)
    except StopIteration as exc:
        raise RuntimeError("coroutine raised StopIteration") from exc
    finally:
        del threadlocals.current_token
        state.caller = None
        del caller, context, func, args


def call_claimed(
    backend: type[AsyncBackend],
    kernel: object,
    state: ThreadState,
    caller: object,
    context: Context,
    func: Callable[..., T],
    args: tuple[Any, ...],
) -> T:
    """Do the same as `call_with_token()`, with AnyIO's own code."""
    state.caller = caller
    try:
        with claim_worker_thread(backend, kernel):
            return context.run(func, *args)
    except StopIteration as exc:
        raise RuntimeError("coroutine raised StopIteration") from exc
    finally:
        state.caller = None
        del caller, context, func, args


def probe_claim(backend: type[AsyncBackend], kernel: object) -> bool:
    """Return whether AnyIO's ``claim_worker_thread()`` still does what the copy does."""
    code = getattr(claim_worker_thread, "__wrapped__", None)
    return uses(code, CLAIM_NAMES) and copy_context().run(claim_is_known, backend, kernel)


def claim_is_known(backend: type[AsyncBackend], kernel: object) -> bool:
    """Claim this thread for a moment, as if it were a new thread, and compare its state."""
    state = vars(threadlocals)
    saved, context = dict(state), dict(copy_context())
    state.clear()
    try:
        with claim_worker_thread(backend, kernel):
            claimed = dict(state)
            same_context = dict(copy_context()) == context
        return (
            claimed == {"current_token": EventLoopToken(backend, kernel)}
            and not state
            and same_context
        )
    finally:
        state.clear()
        state.update(saved)
