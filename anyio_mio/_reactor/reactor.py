"""The reactor: selector events in, readiness and wake-ups out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from anyio_mio._reactor.dead_selector import DeadSelector
from anyio_mio._reactor.foreign import ForeignWaits
from anyio_mio._reactor.registration import WAKES_READER, WAKES_WRITER, Registration
from anyio_mio._reactor.scheduler import Scheduler, TaskRef
from anyio_mio.poll._sys.bits import PRIORITY, READ_HANGUP, READABLE, WRITABLE
from anyio_mio.poll._sys.selector import Selector

INTEREST: Final = READABLE | WRITABLE | PRIORITY | READ_HANGUP
"""One registration for the life of a socket (R1). RDHUP and PRI are there for R2's proof."""


@dataclass(frozen=True, slots=True)
class ReactorStatistics:
    """What a reactor has seen so far.

    Attributes:
        registrations: descriptors that the selector watches now.
        events: pairs that the selector returned.
        stale_events: events for descriptors that nobody here owns any more (R5).
        tasks_waiting: tasks parked on a descriptor now.
    """

    registrations: int
    events: int
    stale_events: int
    tasks_waiting: int


class Watcher(Protocol):
    """The owner of a level-triggered registration."""

    def deliver(self, bits: int, wake: Callable[[TaskRef], None], /) -> None:
        """Take an event."""


class Reactor:
    """Owns the selector's registrations; `turn()` is called with what a poll returned.

    Open for one subclass: the hub of `anyio_mio.trio`, whose registrations can wait in two places.
    """

    __slots__ = (
        "_events",
        "_internal",
        "_stale",
        "emulated",
        "foreign",
        "has_forked",
        "registrations",
        "scheduler",
        "selector",
        "starving",
        "watchers",
    )

    def __init__(self, selector: Selector, scheduler: Scheduler) -> None:
        self.selector: Selector = selector
        self.scheduler: Scheduler = scheduler
        self.emulated: bool = not selector.edge_triggered
        self.has_forked: bool = False
        self.registrations: dict[int, Registration] = {}
        self.foreign: ForeignWaits = ForeignWaits(self)
        self._internal: dict[int, Callable[[], None]] = {}
        self.watchers: dict[int, Watcher] = {}
        self.starving: list[Callable[[], object]] = []
        self._events = 0
        self._stale = 0

    def watch_internal(self, fd: int, callback: Callable[[], None]) -> None:
        """Watch a descriptor of the scheduler's own (waker, signals); readable calls back."""
        self.selector.register(fd, READABLE)
        self._internal[fd] = callback

    def unwatch_internal(self, fd: int) -> None:
        """Stop watching it."""
        if self._internal.pop(fd, None) is not None:
            self._deregister(fd)

    def watch(self, fd: int, watcher: Watcher, bits: int) -> None:
        """Have ``watcher`` called, level-triggered, as long as a bit of ``bits`` is set.

        Raises:
            FileExistsError: a socket of ours, or a task in ``wait_readable()``, has the descriptor.
        """
        if fd in self.watchers:
            self.selector.reregister(fd, bits, edge=False)
        else:
            try:
                self.selector.register(fd, bits, edge=False)
            except FileExistsError:
                wait = self.foreign.waits.get(fd)
                if fd in self.registrations or (wait is not None and wait.interest()):
                    raise
                self.foreign.waits.pop(fd, None)
                self.selector.reregister(fd, bits, edge=False)
        self.watchers[fd] = watcher

    def unwatch(self, fd: int) -> None:
        """Stop watching it."""
        if self.watchers.pop(fd, None) is not None:
            self._deregister(fd)

    def register(self, fd: int) -> Registration:
        """A registration for a descriptor of our own; the selector hears of it later (R1)."""
        return Registration(self, fd)

    def turn(self, pairs: list[tuple[int, int]], wake: Callable[[TaskRef], None]) -> None:
        """Set the bits of each event and wake who waits for them.

        Args:
            pairs: what ``selector.select()`` returned.
            wake: called once for each task that an event concerns.
        """
        self._events += len(pairs)
        get = self.registrations.get
        for fd, bits in pairs:
            registration = get(fd)
            if registration is None:
                self._deliver_elsewhere(fd, bits, wake)
                continue
            registration.ready |= bits
            if bits & WAKES_READER and (task := registration.reader) is not None:
                registration.reader = None
                wake(task)
            if bits & WAKES_WRITER and (task := registration.writer) is not None:
                registration.writer = None
                wake(task)

    def arm(self, registration: Registration) -> None:
        """First WouldBlock of a socket: one edge-triggered registration for both directions."""
        fd = registration.fd
        registration.ready &= ~(READABLE | WRITABLE) if self.emulated else -1
        try:
            self.selector.register(fd, INTEREST)
        except FileExistsError:
            # The number was watched before, by wait_readable(fd) or through a duplicate that
            # outlived its close: the entry is ours now (R5, R6).
            self.foreign.make_way(fd)
            self.selector.reregister(fd, INTEREST)
        self.registrations[fd] = registration

    def rearm(self, fd: int, direction: int) -> None:
        """Emulated edges only: the owner saw WouldBlock in this direction."""
        self.selector.rearm(fd, direction)

    def forget(self, registration: Registration) -> None:
        """The descriptor is about to be closed.

        Closing a socket's last descriptor takes its epoll registration along, so this costs no
        system call. It does not if a duplicate may live on (R5): because the raw socket was
        handed out, or because the process has forked since.
        """
        fd = registration.fd
        if self.registrations.get(fd) is registration:
            del self.registrations[fd]
            if self.emulated or self.has_forked or registration.may_be_shared:
                self._deregister(fd)

    def statistics(self) -> ReactorStatistics:
        """A snapshot of the counters."""
        waiting = sum(
            (r.reader is not None) + (r.writer is not None) for r in self.registrations.values()
        )
        return ReactorStatistics(
            registrations=len(self.registrations) + len(self.foreign),
            events=self._events,
            stale_events=self._stale,
            tasks_waiting=waiting + self.foreign.tasks_waiting(),
        )

    def close(self) -> None:
        """Close the selector; whoever still waits gets the closed error."""
        for registration in list(self.registrations.values()):
            registration.close()
        self.foreign.close()
        self.selector.close()

    def die_in_child(self) -> None:
        """After a fork: close this process's copy of the selector, refuse every use (R7)."""
        with contextlib.suppress(OSError):
            self.selector.close()
        self.selector = DeadSelector()

    def _deliver_elsewhere(self, fd: int, bits: int, wake: Callable[[TaskRef], None]) -> None:
        watcher = self.watchers.get(fd)
        if watcher is not None:
            watcher.deliver(bits, wake)
            return
        callback = self._internal.get(fd)
        if callback is None:
            self._stale += not self.foreign.deliver(fd, bits, wake)
            return
        callback()
        if self.emulated:
            self.selector.rearm(fd, READABLE)

    def _deregister(self, fd: int) -> None:
        # The descriptor may be gone already, closed behind our back: then so is its entry.
        with contextlib.suppress(OSError):
            self.selector.deregister(fd)
