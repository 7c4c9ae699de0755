"""`Loop`: asyncio's event loop as a face of a kernel (A1).

It inherits from asyncio's own loop all that needs only ``call_soon()``, timers and
``add_reader()``: connections, servers, datagrams, TLS, pipes, subprocesses, executors, ``sock_*()``
and ``sendfile()``. It replaces:

* the ready queue by `Callbacks`, a task of the kernel;
* the heap of timers by the deadlines of the kernel, on its clock, so a `MockClock` moves them;
* the selector by `Descriptors`, on the reactor of the kernel;
* the pipe that wakes the loop by the kernel's entry queue, for other threads and signals;
* the transport of sockets by `SocketTransport`.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import sys
import threading
from asyncio import coroutines, tasks
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVarTuple

import sniffio

from anyio_mio._kernel.cancelled import IN_ASYNCIO
from anyio_mio._reactor.dead_selector import FORKED
from anyio_mio.asyncio import asyncio_internals, other_threads
from anyio_mio.asyncio.asyncio_internals import (
    StockHandle,
    StockLoop,
    ThreadSafeHandle,
    make_tls_protocol,
)
from anyio_mio.asyncio.callbacks import Callbacks, Handle, TimerHandle, make_handle, make_timer
from anyio_mio.asyncio.descriptors import Descriptors
from anyio_mio.asyncio.other_threads import OtherThread
from anyio_mio.asyncio.task_face import TaskFace
from anyio_mio.asyncio.task_states import TaskOrder, describe_task
from anyio_mio.asyncio.time_limits import TimeLimits
from anyio_mio.asyncio.transports import SocketTransport

if TYPE_CHECKING:
    from types import FrameType

    from anyio_mio._kernel import task
    from anyio_mio._kernel.kernel import Kernel
    from anyio_mio._kernel.task import Task
    from anyio_mio._kernel.task_tree import TaskState

Ts = TypeVarTuple("Ts")

CLOSED: Final = (
    "Event loop is closed: the run of mio that it belongs to is over.\n"
    "  wrong: keeping the loop, a transport or a client for a later run\n"
    "  right: make them anew inside anyio.run(main, backend='mio')"
)


class Loop(StockLoop):
    """The base of `RunLoop` and `EventLoop`."""

    # If the loop had more than thirty attributes outside the slots, each call of one of its methods
    # would take 16 ns more (measured on CPython 3.11).
    __slots__ = (
        "_callbacks",
        "_is_in_child",
        "_kernel",
        "_now",
        "_order",
        "_previous_handlers",
        "_was_set_elsewhere",
        "enter",
        "leave",
        "make_face",
    )

    _closed = True  # for __del__(), if the constructor raises

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._order = TaskOrder()
        self._now = kernel.now
        self._is_in_child = False
        self._was_set_elsewhere = False
        self.enter, self.leave = asyncio_internals.current_task_setters(self)
        self.make_face: Callable[[Task], task.TaskFace] = partial(TaskFace, self)
        self._callbacks = Callbacks(kernel, self.leave)
        super().__init__(Descriptors(kernel.reactor, self._callbacks))
        self._ready: deque[StockHandle] = self._callbacks.ready
        # Libraries make a future for each wait, and the future calls get_debug(). Neither is a
        # Python function, which makes a query of asyncpg cheaper by 1 % (counted in instructions).
        self.create_future = partial(asyncio.Future, loop=self)  # type: ignore[method-assign]
        self._previous_handlers: dict[int, Any] = {}

    # Callbacks and timers.

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Handle:
        """Queue a callback. A task of mio whose future is done goes to the kernel's queue."""
        callbacks = self._callbacks
        try:
            if type(callback) is TaskFace:
                if not callbacks.is_running:
                    callbacks.require_own_thread()
                if self._ready:  # the callbacks that were queued before run before the task
                    callbacks.due = len(self._ready)
                if (
                    callback._future is args[0]  # type: ignore[misc] # a future passes itself
                    and callback._error is None
                    and not callback._cancelled_by_scope
                ):
                    callback._future = None  # wake(), written out for each wait of a library
                    self._kernel.run_queue.append(callback.task)
                else:
                    callback.wake(*args)
                return None  # type: ignore[return-value] # futures do not look at it
            if self._debug or self._closed:
                return self._call_soon_in_debug_mode(callback, args, context)
            handle = make_handle(callback, args, self, context)
            if not callbacks.is_queued:
                callbacks.schedule()
        except OtherThread:
            return self._call_of_future(callback, args, context)
        self._ready.append(handle)
        return handle

    def _call_of_future(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> Handle:
        """Queue the callback of a future that another thread has set; raise for any other call."""
        if not other_threads.is_of_future(args):
            raise OtherThread from None
        if not self._was_set_elsewhere:
            self._was_set_elsewhere = True
            report = other_threads.describe(args[0], sys._getframe(2))
            self.call_soon_threadsafe(self.call_exception_handler, report)
        handle: Any = self.call_soon_threadsafe(callback, *args, context=context)
        return handle  # type: ignore[no-any-return]

    def _call_soon_in_debug_mode(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> Handle:
        handle: Any = super().call_soon(callback, *args, context=context)
        if handle._source_traceback:  # leave out our own frames
            del handle._source_traceback[-2:]
        return handle  # type: ignore[no-any-return]

    def _call_soon(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> StockHandle:
        handle: StockHandle = StockHandle(callback, args, self, context)
        if handle._source_traceback:
            del handle._source_traceback[-1]
        self._callbacks.add(handle)
        return handle

    def _add_callback(self, handle: StockHandle) -> None:
        if not handle._cancelled:
            self._callbacks.add(handle)

    _add_callback_signalsafe = _add_callback

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> StockHandle:
        """Queue a callback from any thread, or from a signal handler."""
        self._check_closed()
        if self._debug:
            self._check_callback(callback, "call_soon_threadsafe")
        handle: StockHandle = ThreadSafeHandle(callback, args, self, context)
        has_lock = ThreadSafeHandle is not StockHandle
        if handle._source_traceback:  # leave out our own frames
            del handle._source_traceback[-2 if has_lock else -1 :]
        if self._debug or not has_lock:
            self._ready.append(handle)
        else:  # Callbacks do not call Handle._run(), and this one's _run() takes a lock
            self._ready.append(make_handle(handle._run, (), self, Context()))
        if not self._kernel.entry.put(self._callbacks.wake):
            raise RuntimeError(CLOSED)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> TimerHandle:
        """Queue a callback at the time ``when`` of the kernel's clock."""
        if when is None:
            raise TypeError("when cannot be None")
        return self._add_timer(when, callback, args, context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> TimerHandle:
        """Queue a callback after ``delay`` seconds of the kernel's clock."""
        if delay is None:
            raise TypeError("delay must not be None")
        return self._add_timer(self._now() + delay, callback, args, context)

    def _add_timer(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> TimerHandle:
        if self._closed:
            self._check_closed()
        if self._debug:
            self._check_thread()
            self._check_callback(callback, "call_at")
        callbacks = self._callbacks
        if not callbacks.is_running and self._kernel.current is None:
            callbacks.require_own_thread()
        if when != when:  # NaN cannot be ordered; asyncio calls back soon
            when = self._now()
        timer = make_timer(when, callback, args, self, context, callbacks)
        if self._debug:
            timer._source_traceback = asyncio_internals.extract_stack(sys._getframe(2))
        return timer

    def time(self) -> float:
        """Return the time of the kernel's clock."""
        return self._now()

    # Descriptors.

    def _add_reader(
        self, fd: Any, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        self._check_closed()
        handle = make_handle(callback, args, self, context)
        previous = self._selector.set_reader(fd, handle)
        if previous is not None:
            previous.cancel()
        return handle

    def _add_writer(
        self, fd: Any, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        self._check_closed()
        handle = make_handle(callback, args, self, context)
        previous = self._selector.set_writer(fd, handle)
        if previous is not None:
            previous.cancel()
        return handle

    def _remove_reader(self, fd: Any) -> bool:
        return self._drop(None if self._closed else self._selector.drop_reader(fd))

    def _remove_writer(self, fd: Any) -> bool:
        return self._drop(None if self._closed else self._selector.drop_writer(fd))

    def _drop(self, handle: StockHandle | None) -> bool:
        if handle is None:
            return False
        handle.cancel()
        return True

    def _make_self_pipe(self) -> None:
        """Do nothing: the kernel has a waker."""

    def _close_self_pipe(self) -> None:
        """Do nothing: there is no pipe."""

    def _write_to_self(self) -> None:
        """Do nothing: `call_soon_threadsafe()` uses the kernel's entry queue."""

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, **options: Any
    ) -> SocketTransport:
        return SocketTransport(self._callbacks, self, sock, protocol, waiter, **options)

    def _make_ssl_transport(  # noqa: PLR0913 - asyncio calls it so
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        **limits: Any,
    ) -> Any:
        """Make asyncio's transport for TLS, on a transport of ours."""
        tls = make_tls_protocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, **limits
        )
        self._make_socket_transport(rawsock, tls, extra=extra, server=server)
        return tls._app_transport

    # Signals.

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Queue a callback whenever a signal arrives. Only the main thread can call this.

        asyncio's wake-up descriptor is not set, because the kernel's own wakes the loop.

        Raises:
            TypeError: the callback is a coroutine or an async function.
            ValueError: there is no such signal.
            RuntimeError: the signal cannot be caught, or this is not the main thread.
        """
        if coroutines.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        handle = make_handle(callback, args, self)
        try:
            previous = signal.signal(sig, self._signal_arrived)
            if sys.platform != "win32":
                signal.siginterrupt(sig, False)
        except (ValueError, OSError) as error:
            raise RuntimeError(f"sig {sig} cannot be caught: {error}") from None
        self._previous_handlers.setdefault(sig, previous)
        self._signal_handlers[sig] = handle

    def remove_signal_handler(self, sig: int) -> bool:
        """Restore the previous handler of a signal; return False if the loop had none for it."""
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        previous = self._previous_handlers.pop(sig)
        signal.signal(sig, signal.SIG_DFL if previous is None else previous)
        return True

    def _signal_arrived(self, number: int, frame: FrameType | None) -> None:
        self._kernel.entry.put(partial(self._handle_signal, number))

    # Tasks and futures.

    def create_task(self, coro: Any, **options: Any) -> Any:
        """Make a task of asyncio. What an eager task runs at once does not run in a task of mio."""
        if self._task_factory is None and not options.get("eager_start"):
            if self._debug or self._closed:
                return super().create_task(coro, **options)
            return tasks.Task(coro, loop=self, **options)
        kernel, name = self._kernel, sniffio.thread_local.name
        current, budget = kernel.current, kernel.budget
        kernel.current, kernel.budget, sniffio.thread_local.name = None, 0, "asyncio"
        try:
            return super().create_task(coro, **options)
        finally:
            kernel.current, kernel.budget, sniffio.thread_local.name = current, budget, name

    # Methods that the kernel calls; see `anyio_mio._kernel.foreign_loop`.

    def begin(self) -> None:
        """Make this the running loop of the thread."""
        self._thread_id = threading.get_ident()
        self._callbacks.names = sniffio.thread_local.__dict__
        self._set_coroutine_origin_tracking(self._debug)
        asyncio_internals.set_running_loop(self)

    def end(self) -> None:
        """Leave the thread without a running loop."""
        with suppress(RuntimeError):  # from Python 3.14 in a forked child: it has no running loop
            self.leave()
        self._thread_id = None
        asyncio_internals.set_running_loop(None)
        self._set_coroutine_origin_tracking(False)

    def no_task(self) -> str | None:
        """Return the error message for an asyncio task that would wait for something of mio."""
        return IN_ASYNCIO if asyncio.current_task(self) is not None else None

    def first_iteration(self, generator: AsyncGenerator[Any, Any], /) -> bool:
        """Take over an async generator that starts in an asyncio task or callback."""
        if self._kernel.current is not None:
            return False
        self._asyncgen_firstiter_hook(generator)
        return True

    def finalizer(self, generator: AsyncGenerator[Any, Any], /) -> bool:
        """Close a generator that was taken over, in an asyncio task."""
        if generator not in self._asyncgens:
            return False
        self._asyncgen_finalizer_hook(generator)
        return True

    def tasks(self) -> list[Any]:
        """Return the asyncio tasks that are not done, for the task tree."""
        return self._order.sort(asyncio.all_tasks(self))

    def running_task(self) -> str:
        """Return the name of the running asyncio task, for the watchdog's thread."""
        task = asyncio.current_task(self)
        return "" if task is None else task.get_name()

    def describe_task(self, task: Any, until: float, /) -> TaskState | None:
        """Describe an asyncio task for the task tree; return None if it is done."""
        if task.done():
            return None
        return describe_task(self._kernel, task, until, asyncio.current_task(self))

    def time_limits(self) -> TimeLimits:
        """Return the time limits that the loop's timers set, for the task tree."""
        return TimeLimits(self._kernel.deadlines)

    def can_wake(self) -> bool:
        """Return whether an event of a descriptor could run a callback of the program."""
        return bool(self._selector.watches)

    def die_in_child(self) -> None:
        """Make every use raise, in a forked child."""
        self._is_in_child = True
        self._closed = True
        self._thread_id = None
        if sniffio.thread_local.name == "asyncio":
            sniffio.thread_local.name = None

    # Insides.

    def set_debug(self, enabled: bool) -> None:
        """Turn asyncio's debug mode on or off."""
        super().set_debug(enabled)
        self.get_debug = bool(enabled).__bool__  # type: ignore[method-assign] # see __init__()
        self._callbacks.run_handle = self._run_in_debug_mode if enabled else None

    def _run_in_debug_mode(self, handle: StockHandle) -> None:
        """Run a handle, and log a warning if it took long."""
        try:
            self._current_handle = handle
            start = self.time()
            handle._run()
            seconds = self.time() - start
            if seconds >= self.slow_callback_duration:
                text = asyncio_internals.format_handle(handle)
                asyncio_internals.warn("Executing %s took %.3f seconds", text, seconds)
        finally:
            self._current_handle = None
            del handle  # the traceback of a task's error refers to this frame: break the cycle

    def _check_closed(self) -> None:
        if self._closed:
            raise RuntimeError(FORKED if self._is_in_child else CLOSED)

    def release(self) -> None:
        """Close the loop. The kernel calls this when it closes."""
        super().close()
        self._callbacks.close()
