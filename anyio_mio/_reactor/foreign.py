"""Descriptors that belong to somebody else: ``wait_readable(fd)`` and its kin.

The reactor never sees the user's system calls on such a descriptor, so it cannot cache readiness:
data that a partial read left behind makes no new edge. Each wait therefore asks the kernel afresh
(R6): a one-shot, level-triggered registration, re-armed with ``EPOLL_CTL_MOD`` by every wait. The
entry stays in the selector between two waits, disarmed, and saves the ADD.

Users close descriptors without a word, and numbers are reused at once. So a MOD may meet an entry
that has gone (ENOENT: register again), and an ADD one that is still there (EEXIST: modify it).

A descriptor may also belong to a stream of ours, whose raw socket was handed out. Its entry must
stay as it is, or the stream would get no more edges. So the wait goes on aside, on a duplicate that
lives as long as somebody waits: each duplicate has an entry of its own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, final

from anyio_mio._reactor.registration import WAKES_READER, WAKES_WRITER
from anyio_mio.poll._sys.bits import ONESHOT, READ_HANGUP, READABLE, WRITABLE

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio._reactor.scheduler import TaskRef


@final
class ForeignWait:
    """The waiters of one foreign descriptor.

    Attributes:
        fd: the number that the user knows.
        watched: the number that the selector knows: the same, or that of a duplicate.
        reader: the task that waits for readable, if any; ``writer`` likewise.
    """

    __slots__ = ("fd", "owner", "reader", "watched", "writer")

    def __init__(self, owner: ForeignWaits, fd: int) -> None:
        self.owner: ForeignWaits = owner
        self.fd: int = fd
        self.watched: int = fd
        self.reader: TaskRef | None = None
        self.writer: TaskRef | None = None

    def interest(self) -> int:
        """Bits for the waiters that are left; zero if there are none."""
        reads = READABLE | READ_HANGUP if self.reader is not None else 0
        writes = WRITABLE if self.writer is not None else 0
        return reads | writes

    def abort(self, task: TaskRef, /) -> bool:
        """Take a waiting task out. The entry stays armed: a late event finds nobody."""
        if self.reader is task:
            self.reader = None
        elif self.writer is task:
            self.writer = None
        else:
            return False
        if self.watched != self.fd and not self.interest():
            self.owner.end(self)
        return True


@final
class ForeignWaits:
    """All foreign descriptors that somebody waited for in this run.

    Attributes:
        waits: by the number that the user knows; entries stay for the next wait.
    """

    __slots__ = ("_aside", "_reactor", "waits")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.waits: dict[int, ForeignWait] = {}
        self._aside: dict[int, ForeignWait] = {}  # by the numbers of our duplicates

    def __len__(self) -> int:
        return len(self.waits)

    def wait_readable(self, fd: int) -> Awaitable[None]:
        """Park the current task until ``fd`` is readable; await the result at once.

        Raises:
            The scheduler's busy error: another task waits for the same (R4).
            OSError: EPERM for a regular file, EBADF for a closed descriptor.
        """
        scheduler = self._reactor.scheduler
        wait = self.waits.get(fd) or ForeignWait(self, fd)
        if wait.reader is not None:
            raise scheduler.errors.busy("reading from")
        wait.reader = scheduler.current
        self._arm(wait)
        return scheduler.park(wait)

    def wait_writable(self, fd: int) -> Awaitable[None]:
        """Park the current task until ``fd`` is writable; see `wait_readable()`."""
        scheduler = self._reactor.scheduler
        wait = self.waits.get(fd) or ForeignWait(self, fd)
        if wait.writer is not None:
            raise scheduler.errors.busy("writing to")
        wait.writer = scheduler.current
        self._arm(wait)
        return scheduler.park(wait)

    def deliver(self, fd: int, bits: int, wake: Callable[[TaskRef], None]) -> bool:
        """Wake who waits for these bits; False if the descriptor is not known here."""
        wait = self._aside.get(fd) or self.waits.get(fd)
        if wait is None or wait.watched != fd:
            return False
        if bits & WAKES_READER and (task := wait.reader) is not None:
            wait.reader = None
            wake(task)
        if bits & WAKES_WRITER and (task := wait.writer) is not None:
            wait.writer = None
            wake(task)
        if wait.interest():
            self._rearm_the_other_direction(wait)
        elif wait.watched != wait.fd:
            self.end(wait)
        return True

    def notify_closing(self, fd: int) -> None:
        """Wake both directions with the closed error; an unknown descriptor is no error."""
        wait = self.waits.get(fd)
        if wait is None:
            return
        self._fail(wait)
        self.end(wait)

    def make_way(self, fd: int) -> None:
        """A stream of ours takes the descriptor's entry over; who waits here goes aside.

        Raises:
            OSError: no descriptor is left for a duplicate.
        """
        wait = self.waits.get(fd)
        if wait is not None and wait.interest():
            self._go_aside(wait)
            self._tell_selector(wait)
            self.waits[fd] = wait
        else:
            self.waits.pop(fd, None)

    def stream_closes(self, fd: int) -> None:
        """A stream closes its descriptor: whoever waits for it here is told so (R5)."""
        wait = self.waits.get(fd)
        if wait is not None and wait.interest():
            self._fail(wait)
            self.end(wait)

    def end(self, wait: ForeignWait) -> None:
        """Take a wait out of the selector, and close its duplicate if it has one."""
        self.waits.pop(wait.fd, None)
        with contextlib.suppress(OSError):  # closed already
            self._reactor.selector.deregister(wait.watched)
        if self._aside.pop(wait.watched, None) is not None:
            os.close(wait.watched)
            wait.watched = wait.fd

    def tasks_waiting(self) -> int:
        """How many tasks are parked here."""
        return sum((w.reader is not None) + (w.writer is not None) for w in self.waits.values())

    def close(self) -> None:
        """The run is over: whoever still waits gets the closed error."""
        for wait in list(self.waits.values()):
            self._fail(wait)
            if wait.watched != wait.fd:
                self.end(wait)
        self.waits.clear()

    def _fail(self, wait: ForeignWait) -> None:
        scheduler = self._reactor.scheduler
        for task in (wait.reader, wait.writer):
            if task is not None:
                scheduler.fail(task, scheduler.errors.closed())
        wait.reader = wait.writer = None

    def _arm(self, wait: ForeignWait) -> None:
        try:
            if wait.watched == wait.fd and wait.fd in self._reactor.registrations:
                self._go_aside(wait)
            self._tell_selector(wait)
        except BaseException:
            wait.abort(self._reactor.scheduler.current)
            self._forget_if_idle(wait)
            raise
        self.waits[wait.fd] = wait

    def _go_aside(self, wait: ForeignWait) -> None:
        self.waits.pop(wait.fd, None)
        wait.watched = os.dup(wait.fd)
        self._aside[wait.watched] = wait

    def _tell_selector(self, wait: ForeignWait) -> None:
        selector, bits = self._reactor.selector, wait.interest() | ONESHOT
        known = wait.fd in self.waits
        first, second = selector.register, selector.reregister
        if known:
            first, second = second, first
        try:
            first(wait.watched, bits, edge=False)
        except (FileNotFoundError, FileExistsError):
            second(wait.watched, bits, edge=False)

    def _rearm_the_other_direction(self, wait: ForeignWait) -> None:
        # One event disarms both directions. If the descriptor was closed meanwhile there is
        # nothing left to arm, and its waiter is told so.
        try:
            self._tell_selector(wait)
        except OSError as error:
            scheduler = self._reactor.scheduler
            task = wait.reader if wait.reader is not None else wait.writer
            wait.abort(task)
            scheduler.fail(task, error)
            self._forget_if_idle(wait)

    def _forget_if_idle(self, wait: ForeignWait) -> None:
        if not wait.interest():
            self.waits.pop(wait.fd, None)
