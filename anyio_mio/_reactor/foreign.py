"""Descriptors that the program owns: ``wait_readable(fd)`` and ``wait_writable(fd)``.

Facts. The reactor does not see the program's system calls on such a descriptor, so it cannot cache
readiness: if a read leaves data behind, there is no new edge. Programs close descriptors without
notice, and the system reuses a number at once.

Consequences. Each wait asks the system afresh (R6), through a one-shot, level-triggered entry that
each wait arms again (``EPOLL_CTL_MOD``). Between two waits the entry stays, disarmed, which saves
the ADD. If a MOD finds that the entry is gone (ENOENT), the entry is added. If an ADD finds that it
is still there (EEXIST), it is changed.

The descriptor may also belong to a stream of ours whose raw socket was handed out. The stream's
entry must stay as it is, or the stream would get no more edges. So the wait uses a duplicate of the
descriptor, which has its own entry and lives as long as a task waits.

Cost. One system call for each wait, and two more for a wait on a stream's descriptor.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, final

from anyio_mio._reactor.registration import WAKES_READER, WAKES_WRITER
from anyio_mio._reactor.scheduler import Scheduler, TaskRef, Wait
from anyio_mio.poll import Registry
from anyio_mio.poll._sys.bits import ONESHOT, READ_HANGUP, READABLE, WRITABLE

# On Windows, sockets are not descriptors of the C library.
duplicate: Final[Callable[[int], int]] = socket.dup if sys.platform == "win32" else os.dup
close: Final[Callable[[int], None]] = socket.close if sys.platform == "win32" else os.close


class Registrar(Protocol):
    """The part of the reactor that foreign waits need."""

    @property
    def scheduler(self) -> Scheduler:
        """Parks and wakes the tasks that wait."""

    @property
    def registry(self) -> Registry:
        """Where the descriptors are registered."""


@final
class ForeignWait:
    """The waiters of one foreign descriptor.

    Attributes:
        fd: the number that the user knows.
        watched: the number that the poll knows: the same number, or that of a duplicate.
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
        """Return the bits for the waiters that are left; zero if there are none."""
        reads = READABLE | READ_HANGUP if self.reader is not None else 0
        writes = WRITABLE if self.writer is not None else 0
        return reads | writes

    def deliver(self, bits: int, wake: Callable[[TaskRef], None]) -> None:
        """Wake the tasks that wait for these bits."""
        if bits & WAKES_READER and (task := self.reader) is not None:
            self.reader = None
            wake(task)
        if bits & WAKES_WRITER and (task := self.writer) is not None:
            self.writer = None
            wake(task)
        self.owner.settle(self)

    def describe(self, task: TaskRef, /) -> Wait:
        """See `Describes`."""
        return Wait("wait_readable" if self.reader is task else "wait_writable", self.fd)

    def abort(self, task: TaskRef, /) -> bool:
        """Remove a waiting task. The entry stays armed; a late event wakes no task."""
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
    """All foreign descriptors that a task of this run has waited for.

    Attributes:
        waits: each wait by the number that the program knows. In the registry's book the number may
            belong to a stream. A wait stays here for the next use.
    """

    __slots__ = ("_reactor", "waits")

    def __init__(self, reactor: Registrar) -> None:
        self._reactor = reactor
        self.waits: dict[int, ForeignWait] = {}

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
        if wait.reader is not None and wait.reader is not scheduler.current:
            raise scheduler.errors.busy("reading from")
        wait.reader = scheduler.current
        return self._arm_and_park(wait)

    def wait_writable(self, fd: int) -> Awaitable[None]:
        """Park the current task until ``fd`` is writable; see `wait_readable()`."""
        scheduler = self._reactor.scheduler
        wait = self.waits.get(fd) or ForeignWait(self, fd)
        if wait.writer is not None and wait.writer is not scheduler.current:
            raise scheduler.errors.busy("writing to")
        wait.writer = scheduler.current
        return self._arm_and_park(wait)

    def settle(self, wait: ForeignWait) -> None:
        """Arm the entry, after an event, for the remaining direction, or end a duplicate."""
        if wait.interest():
            self._rearm(wait)
        elif wait.watched != wait.fd:
            self.end(wait)

    def notify_closing(self, fd: int) -> None:
        """Wake both waiters with the closed error. Ignore an unknown descriptor."""
        wait = self.waits.get(fd)
        if wait is None:
            return
        self._fail(wait)
        self.end(wait)

    def make_way(self, fd: int) -> None:
        """Move a wait to a duplicate, because a stream of ours needs the descriptor's entry.

        Raises:
            OSError: no descriptor is left for a duplicate.
        """
        wait = self.waits.get(fd)
        if wait is not None and wait.interest():
            self._duplicate(wait)
            self._register(wait)
            self.waits[fd] = wait
        else:
            self.waits.pop(fd, None)

    def stream_closes(self, fd: int) -> None:
        """Wake the tasks that wait for the descriptor that a stream is about to close (R5)."""
        wait = self.waits.get(fd)
        if wait is not None and wait.interest():
            self._fail(wait)
            self.end(wait)

    def end(self, wait: ForeignWait) -> None:
        """Remove a wait from the poll, and close its duplicate if it has one."""
        self.waits.pop(wait.fd, None)
        with contextlib.suppress(OSError):  # closed already
            self._reactor.registry.remove(wait.watched)
        if wait.watched != wait.fd:
            close(wait.watched)
            wait.watched = wait.fd

    def rearm(self) -> None:
        """Arm the entries of all waits again, in case that the events of a poll were lost."""
        for wait in list(self.waits.values()):
            if wait.interest():
                self._rearm(wait)

    def tasks_waiting(self) -> int:
        """Return how many tasks are parked here."""
        return sum((w.reader is not None) + (w.writer is not None) for w in self.waits.values())

    def close(self) -> None:
        """End the remaining waits with the closed error, at the end of the run."""
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

    def _arm_and_park(self, wait: ForeignWait) -> Awaitable[None]:
        try:
            if wait.watched == wait.fd and self._belongs_to_a_stream(wait.fd):
                self._duplicate(wait)
            self._register(wait)
            self.waits[wait.fd] = wait
            return self._reactor.scheduler.park(wait)
        except BaseException:  # the selector refuses it, or a signal's handler has raised
            wait.abort(self._reactor.scheduler.current)
            self._forget_if_idle(wait)
            raise

    def _belongs_to_a_stream(self, fd: int) -> bool:
        owner = self._reactor.registry.book.get(fd)
        return owner is not None and type(owner) is not ForeignWait

    def _duplicate(self, wait: ForeignWait) -> None:
        self.waits.pop(wait.fd, None)
        wait.watched = duplicate(wait.fd)

    def _register(self, wait: ForeignWait) -> None:
        registry, bits = self._reactor.registry, wait.interest() | ONESHOT
        first, second = registry.add, registry.change
        if wait.watched in registry.book:
            first, second = second, first
        try:
            first(wait.watched, wait, bits, edge=False)
        except (FileNotFoundError, FileExistsError):
            second(wait.watched, wait, bits, edge=False)

    def _rearm(self, wait: ForeignWait) -> None:
        # One event disarms both directions. If the descriptor has been closed since, it cannot be
        # armed again, and the waiter gets the error.
        try:
            self._register(wait)
        except OSError as error:
            scheduler = self._reactor.scheduler
            task = wait.reader if wait.reader is not None else wait.writer
            wait.abort(task)
            scheduler.fail(task, error)
            self._forget_if_idle(wait)

    def _forget_if_idle(self, wait: ForeignWait) -> None:
        if not wait.interest():
            self.waits.pop(wait.fd, None)
