"""The private names of asyncio that this package uses. No other module uses any.

asyncio documents its loop as an interface. Its own loops share code in methods whose names begin
with an underscore; `Loop` inherits that code, which keeps this package small. Each name is looked
up when this module is imported. So a Python without one of them fails at the import and not during
a run.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import base_events, events, format_helpers, selector_events, sslproto, tasks
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:

    class StockHandle(events.Handle):
        """A callback that waits to be called."""

        _args: Any
        _callback: Any
        _cancelled: bool
        _context: Context
        _loop: Any
        _repr: str | None
        _source_traceback: Any

        def _run(self) -> None: ...

    class ThreadSafeHandle(StockHandle):
        """A callback from another thread. From Python 3.14 that thread can cancel it safely."""

    class StockTimerHandle(StockHandle, events.TimerHandle):
        """A callback that waits for its time."""

        _scheduled: bool
        _when: float

    class StockLoop(asyncio.SelectorEventLoop):
        """The private attributes and methods of asyncio's own loop."""

        _asyncgens: Any
        _closed: bool
        _coroutine_origin_tracking_enabled: bool
        _current_handle: events.Handle | None
        _debug: bool
        _ready: deque[StockHandle]
        _selector: Any
        _signal_handlers: dict[int, events.Handle]
        _stopping: bool
        _task_factory: Any
        _thread_id: Any

        def _asyncgen_finalizer_hook(self, generator: Any) -> None: ...
        def _asyncgen_firstiter_hook(self, generator: Any) -> None: ...
        def _check_callback(self, callback: Any, method: str) -> None: ...
        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _check_signal(self, sig: int) -> None: ...
        def _check_thread(self) -> None: ...
        def _handle_signal(self, sig: int) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...

    class StockSocketTransport(asyncio.Transport):
        """The transport of a TCP or UNIX connection."""

        _buffer: Any
        _conn_lost: int
        _empty_waiter: Any
        _eof: bool
        _read_ready_cb: Any
        _loop: Any
        _protocol: Any
        _sock: Any
        max_size: int

        def __init__(
            self, loop: Any, sock: Any, protocol: Any, waiter: Any, **options: Any
        ) -> None: ...
        def _fatal_error(self, error: BaseException, message: str) -> None: ...
        def _read_ready__on_eof(self) -> None: ...
        def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    make_tls_protocol: Callable[..., Any]
    format_callback: Callable[[Any, Any], str]
    extract_stack: Callable[[Any], Any]
    format_handle: Callable[[events.Handle], str]
else:
    StockLoop = asyncio.SelectorEventLoop
    StockHandle = events.Handle
    ThreadSafeHandle = getattr(events, "_ThreadSafeHandle", StockHandle)
    StockTimerHandle = events.TimerHandle
    StockSocketTransport = selector_events._SelectorSocketTransport
    make_tls_protocol = sslproto.SSLProtocol
    format_callback = format_helpers._format_callback_source
    extract_stack = format_helpers.extract_stack
    format_handle = base_events._format_handle

LOOP_METHODS: Final = (
    "_asyncgen_finalizer_hook",
    "_asyncgen_firstiter_hook",
    "_check_callback",
    "_check_closed",
    "_check_running",
    "_check_thread",
    "_set_coroutine_origin_tracking",
)


def check() -> None:
    """Raise ImportError if the asyncio of this Python lacks a method that the loop needs."""
    missing = [name for name in LOOP_METHODS if not hasattr(StockLoop, name)]
    if missing:
        raise ImportError(
            f"anyio_mio does not support this Python: its asyncio has no {', '.join(missing)}\n"
            "  right: upgrade anyio-mio, or use a version of Python that its README names"
        )


def current_task_setters(
    loop: events.AbstractEventLoop,
) -> tuple[Callable[[Any], object], Callable[[], object]]:
    """Return a function that sets the current task of ``loop``, and one that clears it.

    asyncio stores the current task of each loop: Python 3.11 and 3.12 in a dict, later versions
    behind a function. (That of 3.12 raises if there is no current task to clear.) The setter is
    called before each step of a task, so both are C functions.
    """
    if sys.version_info >= (3, 13):
        swap: Callable[..., object] = tasks._swap_current_task  # type: ignore[attr-defined]
        return partial(swap, loop), partial(swap, loop, None)
    current: dict[Any, Any] = tasks._current_tasks  # type: ignore[attr-defined]
    return partial(current.__setitem__, loop), partial(current.pop, loop, None)


def teach_task_groups(cancelled: type[BaseException]) -> None:
    """Make ``asyncio.TaskGroup`` treat a subclass of ``CancelledError`` as a cancellation.

    Up to Python 3.12 it compares the class by ``is``, so the error that cancels its parent would be
    raised in an exception group, and ``except CancelledError`` around the group would not catch it.

    Args:
        cancelled: the subclass.
    """
    if sys.version_info >= (3, 13):
        return
    leave: Callable[..., Any] = asyncio.TaskGroup.__aexit__

    @wraps(leave)
    def __aexit__(group: Any, kind: Any, error: Any, traceback: Any) -> Any:
        kind = asyncio.CancelledError if kind is cancelled else kind
        return leave(group, kind, error, traceback)

    asyncio.TaskGroup.__aexit__ = __aexit__  # type: ignore[method-assign, assignment]


def warn(message: str, *args: object) -> None:
    """Log a warning as asyncio does."""
    base_events.logger.warning(message, *args)  # type: ignore[attr-defined]


def awaited_future(task: Any) -> Any:
    """Return the future that an asyncio task awaits; None if it is runnable or running."""
    return getattr(task, "_fut_waiter", None)


def children_of_gather(future: object) -> Any:
    """Return the futures given to ``asyncio.gather()``, if that has returned this one; else ()."""
    return getattr(future, "_children", ())


def callbacks_of(future: object) -> list[Any]:
    """Return the done-callbacks of a future: pairs of a function and its context."""
    return [*(getattr(future, "_callbacks", None) or ())]


def set_running_loop(loop: events.AbstractEventLoop | None) -> None:
    """Make ``asyncio.get_running_loop()`` return a loop in this thread."""
    events._set_running_loop(loop)


def running_loop() -> events.AbstractEventLoop | None:
    """Return the running loop of this thread, or None."""
    return events._get_running_loop()


check()
