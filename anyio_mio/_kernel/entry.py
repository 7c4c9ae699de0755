"""The entry queue: the only way into the kernel from other threads and from signal handlers (K8).

A deque takes the callbacks, and the waker ends the kernel's sleep: once per burst, because whoever
finds the flag raised knows that a wake-up is under way.

That is true as long as a raised flag means that something is in the deque, since the kernel looks
there, and lowers the flag, before it sleeps. So adding and raising, and lowering and taking, happen
under one lock; and because a signal handler may still add in the midst of taking, the kernel first
counts what is there, then lowers the flag, and takes no more than it has counted.
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
    """A callback whose caller waits in another thread."""

    def refuse(self) -> None:
        """The run is over, and the callback will not be called."""


@final
class EntryQueue(deque[Callback]):
    """Callbacks from outside, run by the kernel in the order of arrival.

    A deque itself, so that a turn without any tests for them without a call.
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
        with self._lock:
            if self._closed:
                return False
            self.append(callback)
            if not self._waking:
                self._waking = True
                self.waker.wake()
            return True

    def run(self, on_error: Callable[[BaseException], object]) -> None:
        """Call what has arrived so far; ``on_error`` is told what nobody else can be told."""
        for callback in self.take():
            try:
                callback()
            except BaseException as exc:
                on_error(exc)

    def take(self) -> list[Callback]:
        """What has arrived so far; called by the kernel alone."""
        with self._lock:
            arrived = len(self)
            self._waking = False
            return [self.popleft() for _ in range(arrived)]

    def close(self) -> None:
        """Refuse what comes from now on, and what has arrived and was not run."""
        with self._lock:
            self._closed = True
            late = self.take()
        for callback in late:
            if isinstance(callback, Refusable):
                callback.refuse()

    def die_in_child(self) -> None:
        """After a fork: refuse everything, without a lock that another thread may have held."""
        self._lock = threading.RLock()
        self._closed = True
        self.clear()
        self.waker.close_in_child()


def nothing() -> None:
    """An entry that only ends the kernel's sleep."""
