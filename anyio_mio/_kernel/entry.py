"""The entry queue: the only way into the kernel from other threads and from signal handlers (K8).

A deque takes the callbacks, and the waker ends the kernel's sleep. It is called once for a burst: a
flag says that a wake-up is under way, and while it is raised no second one is made.

A raised flag must mean that the deque holds a callback, because the kernel empties the deque and
lowers the flag before it sleeps. So one lock protects both adding and raising, and counting and
lowering. A signal handler may still add a callback while the kernel counts them. Therefore the
kernel counts first, then lowers the flag, and takes no more than it has counted.

The waker is called after the lock was released. A thread gives the interpreter's lock up in that
system call, so the kernel runs at once, and would only wait for the queue's lock: with it a call
from a thread took 25 µs of CPU instead of 12, in 7.4 system calls on futexes (measured).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias, final, runtime_checkable

from anyio_mio.poll.waker import Waker

Callback: TypeAlias = Callable[[], object]


@runtime_checkable
class Refusable(Protocol):
    """A callback that another thread, or a task, waits for."""

    def refuse(self) -> None:
        """End the wait: the run is over, and the callback will not be called."""

    def fail(self, error: BaseException, /) -> bool:
        """End the wait, in the kernel's thread: a signal's handler has raised in the callback.

        Returns:
            True if the code that waits gets the error.
        """


@final
class EntryQueue(deque[Callback]):
    """Callbacks from outside, run by the kernel in the order of arrival.

    Most are plain functions. A call into a worker thread (`Job`) and a call from a thread (`Call`
    in `_backend.threads`) put themselves into the queue, because they also have to be `Refusable`:
    the kernel calls their ``__call__()``.

    It subclasses deque so that ``if self.entry:`` costs no method call.
    """

    __slots__ = ("_closed", "_lock", "_waking", "waker")

    def __init__(self, waker: Waker) -> None:
        self.waker: Waker = waker
        self._waking = False
        self._closed = False
        # Re-entrant: a signal handler may interrupt put() in the same thread.
        self._lock = threading.RLock()

    def put(self, callback: Callback) -> bool:
        """Have the kernel call ``callback()`` soon; thread-safe, signal-safe, never blocks.

        Returns:
            False if the run is over: the callback will never be called.
        """
        try:
            with self._lock:
                if self._closed:
                    return False
                self.append(callback)
                must_wake, self._waking = not self._waking, True
            if must_wake:
                self.waker.wake()
        except BaseException:  # of a signal's handler: perhaps no wake-up is under way
            self._waking = False
            raise
        return True

    def run(self, on_error: Callable[[BaseException], object]) -> None:
        """Call what has arrived so far; ``on_error`` gets the errors."""
        for _ in range(self.lower_flag()):
            callback = self[0]
            del self[0]  # no call from here on, so that no handler of a signal comes between
            try:
                callback()
            except BaseException as exc:
                if not isinstance(callback, Refusable):
                    on_error(exc)
                elif not callback.fail(exc):
                    raise

    def lower_flag(self) -> int:
        """Lower the flag, and return how many have arrived so far; called by the kernel alone."""
        with self._lock:
            arrived = len(self)
            self._waking = False
            return arrived

    def close(self) -> None:
        """Refuse what comes from now on, and what has arrived and was not run."""
        with self._lock:
            self._closed = True
            late = list(self)
            self.clear()
        for callback in late:
            if isinstance(callback, Refusable):
                callback.refuse()

    def die_in_child(self) -> None:
        """Refuse everything after a fork, without a lock that another thread may have held."""
        self._lock = threading.RLock()
        self._closed = True
        self.clear()
        self.waker.close_in_child()


def nothing() -> None:
    """Do nothing: as an entry it only ends the kernel's sleep."""
