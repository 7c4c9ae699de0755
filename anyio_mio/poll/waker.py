"""The waker: how another thread, or a signal handler, ends a wait.

Rules:

1. A wake before a wait counts as well as a wake during it: `wake` makes a descriptor readable,
   which stays so until the waker is drained or the edge was delivered.
2. Wakes coalesce. Any number of wakes makes at least one event, not the same number of events.
3. `wake` is safe in a signal handler: its lock is reentrant, and no code blocks while it holds the
   lock.

On Linux the descriptor is an eventfd. Each write to it makes a new edge, even if the previous write
was not read. So an edge-triggered owner never reads it, and a wake-up costs one system call on
either side. At 2**64 - 2 the counter is full: then the write fails, and `wake` drains it.

On other systems it is a pipe, which is full after some 64 KiB and is then drained in the same way.
Some of these systems have an eventfd too, but not all of them make an edge for a write that follows
an unread one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from typing import Final, Protocol, final

from anyio_mio.poll._sys.closable import Closable

PIPE_CHUNK: Final = 4096
"""Bytes per read when a pipe is drained: one page, the unit that pipes consist of."""


class _Bell(Protocol):
    """A descriptor that becomes readable when it is rung."""

    def fileno(self) -> int: ...
    def ring(self) -> None: ...
    def silence(self) -> None: ...
    def close(self) -> None: ...


@final
class Waker(Closable):
    """Ends the wait of a poll, from any thread or signal handler.

    With a `Poll`, `poll.registry.waker(token)` makes one and registers it. Without a poll, the
    owner of the selector registers `fileno()` for READABLE. If the selector is not edge-triggered,
    it calls `drain()` and then the selector's `rearm` after each delivery.

    Args:
        pipe: Use a pipe even if there is an eventfd, for tests.

    Ownership:
        It holds one or two descriptors until `close()`. Deregister it before you close it.
    """

    __slots__ = ("_bell", "_lock")

    def __init__(self, *, pipe: bool = False) -> None:
        self._bell: _Bell | None = _make_bell(pipe=pipe)
        # Without the lock a wake could write to a descriptor that `close` has released and that is
        # open again for another file. Reentrant: a signal handler may interrupt a wake (3).
        self._lock = threading.RLock()

    def wake(self) -> None:
        """End the current wait, or the next one.

        Safe in any thread and in signal handlers. After `close` it does nothing, so a thread may
        wake late.
        """
        with self._lock:
            if self._bell is not None:
                self._bell.ring()

    def drain(self) -> None:
        """Clear the wakes so far, so that a level-triggered wait can sleep again.

        Drain first and look for work afterwards. Then a wake in between makes one more event.
        """
        with self._lock:
            if self._bell is not None:
                self._bell.silence()

    def fileno(self) -> int:
        """Return the descriptor to register for READABLE, or -1 once closed."""
        bell = self._bell
        return -1 if bell is None else bell.fileno()

    def close(self) -> None:
        """Release the descriptors; a second call does nothing."""
        with self._lock:
            bell, self._bell = self._bell, None
            if bell is not None:
                bell.close()

    def close_in_child(self) -> None:
        """Release this process's descriptors after a fork, and wake nothing.

        It takes no lock, because a thread that exists only in the parent may hold it.
        """
        self._lock = threading.RLock()
        self.close()

    def __repr__(self) -> str:
        bell = self._bell
        return "<Waker closed>" if bell is None else f"<Waker fd={bell.fileno()}>"


def _make_bell(*, pipe: bool) -> _Bell:
    if sys.platform == "win32":
        return _SocketBell()
    elif sys.platform == "linux":
        return _PipeBell() if pipe or not hasattr(os, "eventfd") else _EventfdBell()
    else:
        return _PipeBell()


if sys.platform == "linux":

    class _EventfdBell:
        __slots__ = ("_fd",)

        def __init__(self) -> None:
            self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

        def fileno(self) -> int:
            return self._fd

        def ring(self) -> None:
            try:
                os.eventfd_write(self._fd, 1)
            except BlockingIOError:
                self.silence()
                os.eventfd_write(self._fd, 1)

        def silence(self) -> None:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._fd)

        def close(self) -> None:
            os.close(self._fd)


if sys.platform != "win32":

    class _PipeBell:
        __slots__ = ("_receiver", "_sender")

        def __init__(self) -> None:
            self._receiver, self._sender = os.pipe()
            os.set_blocking(self._receiver, False)
            os.set_blocking(self._sender, False)

        def fileno(self) -> int:
            return self._receiver

        def ring(self) -> None:
            try:
                os.write(self._sender, b"\0")
            except BlockingIOError:
                self.silence()
                os.write(self._sender, b"\0")

        def silence(self) -> None:
            with contextlib.suppress(BlockingIOError):
                while len(os.read(self._receiver, PIPE_CHUNK)) == PIPE_CHUNK:
                    pass

        def close(self) -> None:
            os.close(self._receiver)
            os.close(self._sender)


class _SocketBell:
    """A pair of sockets, because Windows can only poll sockets."""

    __slots__ = ("_receiver", "_sender")

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def fileno(self) -> int:
        return self._receiver.fileno()

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._sender.send(b"\0")

    def silence(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(self._receiver.recv(PIPE_CHUNK)) == PIPE_CHUNK:
                pass

    def close(self) -> None:
        self._receiver.close()
        self._sender.close()
