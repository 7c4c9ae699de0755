"""A registration that can wait in two places: in the hub's nested set, or on Trio's own poller.

A task waits where the hub says at that moment (`Hub.is_nested`), with three exceptions:

1. A socket does not change its place while a task waits in the nested set for the other direction.
   Without its registration, that task would never wake up.
2. A shared descriptor (`may_be_shared`) always waits on Trio's poller. The program holds the socket
   itself, and may close it, or wait for it, through Trio.
3. A registration whose hub is closed, or that a run in another thread uses, waits on Trio's poller
   too: on the poller of the run that calls.

Before a wait that costs an ``epoll_ctl`` (on Trio's poller, or the first in the nested set), the
task yields once and tries again. This pays: to sleep and wake up costs more than a tick, and a peer
that answers at once answers within a tick. Without it, a single connection made 0.85 times the
round trips of Trio's sockets, which yield after each send; with it, it makes as many.

All methods that wait are protected from KeyboardInterrupt. If one were raised between the note
"this task waits" and the wait, the registration would name a task that does not wait, and waking
that task would crash the run.
"""

from __future__ import annotations

import socket
import threading
from typing import Final, Protocol, final

import trio
from trio.lowlevel import checkpoint, enable_ki_protection, notify_closing, reschedule
from trio.lowlevel import wait_readable as wait_readable_on_trio
from trio.lowlevel import wait_writable as wait_writable_on_trio

from anyio_mio._reactor.registration import READ_WOULD_BLOCK, Driver, Registration
from anyio_mio.poll._sys.bits import HANGUP, READABLE, WRITABLE

BUSY: Final = "another task is already reading / writing this fd"
CLOSED: Final = "another task closed this fd"
ELSEWHERE: Final = (
    "a task of another trio.run, in another thread, waits for this socket, and this thread cannot "
    "wake it.\n"
    "  wrong: stream._close() from any thread\n"
    "  right: trio.from_thread.run(stream.aclose, trio_token=...)"
)


class HostDriver(Driver, Protocol):
    """What a registration asks of the hub that it belongs to."""

    direct_waits: int
    """Waits on Trio's poller that began since the last tick."""

    @property
    def is_nested(self) -> bool:
        """Whether waits that begin now happen in the nested set."""

    @property
    def thread(self) -> int:
        """The identity of the run's thread."""

    def withdraw(self, registration: Registration, /) -> None:
        """Take a socket out of the nested set."""


@final
class HostedRegistration(Registration):
    """The registration of one socket inside ``trio.run``.

    Attributes:
        direct: the directions that a task waits for on Trio's own poller.
        sock: the socket. If it is shared, the program may close it without calling us.
        yields_first: whether a receive yields before it waits. A listener does not: the loop that
            drains it has just yielded.
        has_yielded: the last receive yielded and then saw WouldBlock, so the next one waits.
    """

    __slots__ = ("direct", "has_yielded", "hub", "sock", "yields_first")
    ready: int

    def __init__(self, hub: HostDriver, fd: int) -> None:
        Registration.__init__(self, hub, fd)
        self.hub: HostDriver = hub
        self.sock: socket.socket | None = None
        self.yields_first: bool = True
        self.direct: int = 0
        self.has_yielded: bool = False

    @enable_ki_protection
    async def wait_readable(self) -> None:
        """Wait until an event says that reading may not block.

        Raises:
            trio.BusyResourceError: another task waits already.
            trio.ClosedResourceError: the socket was closed during the wait.
            RuntimeError: outside ``trio.run``.
        """
        if self.reader is not None or self.direct & READABLE:
            raise trio.BusyResourceError(BUSY)
        if self.yields_first and not self.armed and not self.has_yielded:
            self.hub.direct_waits += 1
            await checkpoint()
            self.ready |= READABLE
            return
        self.has_yielded = False
        if not self._may_nest(self.writer):
            await self.wait_readable_directly()
            return
        if not self.armed:
            self._arm(READABLE)
        self.reader = self.hub.scheduler.current
        await self.hub.scheduler.park(self)

    @enable_ki_protection
    async def wait_writable(self) -> None:
        """Wait until an event says that writing may not block; see `wait_readable()`."""
        if self.writer is not None or self.direct & WRITABLE:
            raise trio.BusyResourceError(BUSY)
        if not self._may_nest(self.reader):
            await self.wait_writable_directly()
            return
        if not self.armed:
            self._arm(WRITABLE)
        self.writer = self.hub.scheduler.current
        await self.hub.scheduler.park(self)

    @enable_ki_protection
    async def wait_readable_directly(self) -> None:
        """Wait on Trio's own poller, which asks the system afresh."""
        self._require_open()
        self.hub.direct_waits += 1
        self.direct |= READABLE
        try:
            await wait_readable_on_trio(self.fd)
        finally:
            self.direct &= ~READABLE
        self.ready |= READABLE

    @enable_ki_protection
    async def wait_writable_directly(self) -> None:
        """Wait on Trio's own poller, which asks the system afresh."""
        self._require_open()
        self.hub.direct_waits += 1
        self.direct |= WRITABLE
        try:
            await wait_writable_on_trio(self.fd)
        finally:
            self.direct &= ~WRITABLE
        self.ready |= WRITABLE

    def receive_would_block(self) -> None:
        """Note that a receive saw WouldBlock."""
        self.ready &= READ_WOULD_BLOCK
        self.has_yielded = True

    @enable_ki_protection
    def share(self) -> None:
        """Wait where Trio's own sockets wait from now on: the program has the socket."""
        self.may_be_shared = True
        waiting = [task for task in (self.reader, self.writer) if task is not None]
        self.reader = self.writer = None
        self.hub.withdraw(self)
        for task in waiting:
            reschedule(task)  # a hint, as every wake-up: it tries, and waits on Trio's poller

    @enable_ki_protection
    def close(self) -> None:
        """Wake the waiters with Trio's closed error; call it before the descriptor is closed."""
        self.ready |= HANGUP
        if self.reader is not None or self.writer is not None:
            self._wake_with_closed()
        if self.direct:
            notify_closing(self.fd)
        if self.armed:
            self.armed = False
            self.hub.forget(self)

    def _wake_with_closed(self) -> None:
        waiting = [task for task in (self.reader, self.writer) if task is not None]
        if threading.get_ident() != self.hub.thread:
            raise RuntimeError(ELSEWHERE)
        self.reader = self.writer = None
        for task in waiting:
            self.hub.scheduler.fail(task, trio.ClosedResourceError(CLOSED))

    def _require_open(self) -> None:
        # The program may have closed the socket itself; its number may then be another socket's.
        if self.sock is not None and self.sock.fileno() == -1:
            raise trio.ClosedResourceError(CLOSED)

    def _may_nest(self, other: object) -> bool:
        """Return whether to wait in the nested set; `other` is the other direction's waiter."""
        hub = self.hub
        if hub.is_nested and not self.may_be_shared:
            return threading.get_ident() == hub.thread
        if not self.armed:
            return False
        if other is not None:
            return threading.get_ident() == hub.thread
        hub.withdraw(self)
        return False
