"""The reactor: turns the events of the poll into readiness and wake-ups.

Facts. A run has one `Poll`. Its registry keeps the book of the descriptors that the system watches.

Decision. The book maps each descriptor to the object that owns it: a `Registration` of a socket or
a pipe, a `ForeignWait`, or an `Internal`. So one look-up leads from an event to its owner, and
there is no second book that could disagree with the first. tokio does the same with Mio: its token
is the address of the readiness that it keeps for a descriptor.

Cost. The registry's methods and its lock: 0.5 µs for a connection that is registered (measured).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, NoReturn, final

from anyio_mio._reactor.dead_selector import DeadSelector
from anyio_mio._reactor.foreign import ForeignWait, ForeignWaits
from anyio_mio._reactor.registration import READY, WAKES_READER, WAKES_WRITER, Registration
from anyio_mio._reactor.scheduler import Scheduler, TaskRef
from anyio_mio.poll import Poll, Registry
from anyio_mio.poll._sys.bits import PRIORITY, READ_HANGUP, READABLE, WRITABLE

INTEREST: Final = READABLE | WRITABLE | PRIORITY | READ_HANGUP
"""The interest of a socket for its whole life (R1). R2 needs RDHUP and PRI."""


@dataclass(frozen=True, slots=True)
class ReactorStatistics:
    """A snapshot of a reactor's counters.

    Attributes:
        registrations: descriptors of sockets, pipes and foreign waits that the poll watches now.
        events: events that the poll returned.
        stale_events: events for descriptors that no longer have an owner (R5).
        tasks_waiting: tasks parked on a descriptor now.
    """

    registrations: int
    events: int
    stale_events: int
    tasks_waiting: int


@final
class Internal:
    """The owner of a descriptor of the scheduler itself: an event calls a function."""

    __slots__ = ("_callback", "_fd", "_reactor")

    def __init__(self, reactor: Reactor, fd: int, callback: Callable[[], None]) -> None:
        self._reactor = reactor
        self._fd = fd
        self._callback = callback

    def deliver(self, bits: int, wake: Callable[[TaskRef], None]) -> None:
        """Call the function; if edges are emulated, arm the descriptor again."""
        self._callback()
        if self._reactor.emulated:
            self._reactor.rearm(self._fd, READABLE)


class Reactor:
    """Registers descriptors with a poll; `turn()` is called with what the poll returned.

    It has one subclass: the hub of `anyio_mio.trio`, whose registrations can wait in two places.

    Attributes:
        poll: waits for the events; its registry is where descriptors are registered.
        registry: the registry of the poll.
        scheduler: parks and wakes the tasks.
        emulated: whether the selector makes the edges, and not the system.
        has_forked: whether a child process may hold a duplicate of each descriptor (R5).
        foreign: the waits for descriptors that the program owns.
        starving: functions to call when a descriptor of ours is closed. An acceptor that is out of
            descriptors puts one here while it backs off, so that it tries again at once.
        trusts_short: the initial `Registration.trusts_short` (R2).
    """

    __slots__ = (
        "_events",
        "_stale",
        "emulated",
        "foreign",
        "has_forked",
        "poll",
        "registry",
        "scheduler",
        "starving",
        "trusts_short",
    )

    stream_type: ClassVar[type[Registration]] = Registration
    """The class of its registrations: `turn()` delivers to this one without a call."""

    def __init__(self, poll: Poll, scheduler: Scheduler) -> None:
        self.poll: Poll = poll
        self.registry: Registry = poll.registry
        self.scheduler: Scheduler = scheduler
        self.emulated: bool = not poll.edge_triggered
        self.trusts_short: bool = poll.edge_triggered and poll.tells_priority
        self.has_forked: bool = False
        self.foreign: ForeignWaits = ForeignWaits(self)
        self.starving: list[Callable[[], object]] = []
        self._events = 0
        self._stale = 0

    def watch_internal(self, fd: int, callback: Callable[[], None]) -> None:
        """Watch a descriptor of the scheduler itself (waker, signals); call back if readable."""
        self.registry.add(fd, Internal(self, fd, callback), READABLE)

    def unwatch_internal(self, fd: int) -> None:
        """Stop watching a descriptor of the scheduler itself."""
        if fd in self.registry.book:
            self._deregister(fd)

    def register(self, fd: int) -> Registration:
        """Make a registration for a descriptor of ours. The poll gets it later (R1)."""
        return Registration(self, fd)

    def turn(
        self,
        pairs: list[tuple[int, int]],
        wake: Callable[[TaskRef], None],
        wake_hung_up: Callable[[TaskRef], None],
    ) -> None:
        """Set the bits of each event and wake the tasks that wait for them.

        Args:
            pairs: what ``poll.select()`` returned.
            wake: called once for each task that an event concerns.
            wake_hung_up: called instead for a task that receives from a socket of ours whose peer
                has closed it, or its sending side: most such peers wait for nothing.
        """
        self._events += len(pairs)
        get, stream_type = self.registry.book.get, self.stream_type
        for fd, bits in pairs:
            owner = get(fd)
            if owner is None:
                self._stale += 1
                continue
            if type(owner) is not stream_type:
                owner.deliver(bits, wake)
                continue
            owner.ready |= bits
            if bits & WAKES_READER and (task := owner.reader) is not None:
                owner.reader = None
                if bits & READ_HANGUP:
                    wake_hung_up(task)
                else:
                    wake(task)
            if bits & WAKES_WRITER and (task := owner.writer) is not None:
                owner.writer = None
                wake(task)

    def try_all(self, wake: Callable[[TaskRef], None]) -> None:
        """Take each socket for ready: a signal's handler may have raised with events in hand.

        Every wake-up is a hint (R5), so one too many does no harm.
        """
        for registration in self.registrations():
            registration.ready |= READY
            for task in (registration.reader, registration.writer):
                if task is not None and registration.abort(task):
                    wake(task)
        self.foreign.rearm()

    def arm(self, registration: Registration) -> None:
        """Register a socket at its first WouldBlock: edge-triggered, for both directions.

        Raises:
            The scheduler's busy error: asyncio's ``add_reader()`` has the descriptor.
        """
        fd, registry = registration.fd, self.registry
        first, second = registry.add, registry.change
        owner = registry.book.get(fd)
        if owner is not None and not isinstance(owner, (ForeignWait, Registration)):
            second = self._refuse  # if it is still open: its owner may have closed it silently
        elif owner is not None:
            # wait_readable(fd) watched the number before; the stream takes over its entry (R6).
            # Look into the book and do not wait for an error: kqueue changes an existing entry
            # without an error, and keeps its flags.
            self.foreign.make_way(fd)
            first, second = second, first
        try:
            first(fd, registration, INTEREST)
        except (FileExistsError, FileNotFoundError):
            # A duplicate keeps the entry of this number alive (R5), or the program closed a number
            # that it had waited for.
            second(fd, registration, INTEREST)

    def _refuse(self, fd: int, owner: object, bits: int, *, edge: bool = True) -> NoReturn:
        raise self.scheduler.errors.busy("using")

    def rearm(self, fd: int, direction: int) -> None:
        """Note that the owner saw WouldBlock in this direction. Only emulated edges need it."""
        self.registry.rearm(fd, direction)

    def forget(self, registration: Registration) -> None:
        """Forget a descriptor that is about to be closed.

        Closing a socket's last descriptor also removes its epoll entry, so this needs no system
        call. If a duplicate may exist (R5), because the raw socket was handed out or the process
        has forked, the entry is removed by a call.
        """
        fd, registry = registration.fd, self.registry
        if registry.book.get(fd) is registration:
            if self.emulated or self.has_forked or registration.may_be_shared:
                self._deregister(fd)
            else:
                registry.forget(fd)

    def registrations(self) -> Iterator[Registration]:
        """Yield each socket and pipe of ours that the poll watches."""
        for owner in list(self.registry.book.values()):
            if isinstance(owner, Registration):
                yield owner

    def has_room(self) -> None:
        """Call the functions in `starving`: a descriptor of ours was closed.

        Callers first check that there are any, so that closing normally costs no call.
        """
        for try_again in self.starving:
            try_again()

    def statistics(self) -> ReactorStatistics:
        """Return a snapshot of the counters."""
        streams = list(self.registrations())
        waiting = sum((r.reader is not None) + (r.writer is not None) for r in streams)
        return ReactorStatistics(
            registrations=len(streams) + len(self.foreign),
            events=self._events,
            stale_events=self._stale,
            tasks_waiting=waiting + self.foreign.tasks_waiting(),
        )

    def close(self) -> None:
        """Close the poll; tasks that still wait get the closed error."""
        for registration in self.registrations():
            registration.close()
        self.foreign.close()
        self.poll.close()

    def die_in_child(self) -> None:
        """Close this process's copy of the poll after a fork, and refuse every use (R7)."""
        with contextlib.suppress(OSError):
            self.poll.close_in_child()
        self.use(Poll(DeadSelector()))

    def use(self, poll: Poll) -> None:
        """Register with another poll from now on; the new one knows no descriptor yet."""
        self.poll = poll
        self.registry = poll.registry

    def _deregister(self, fd: int) -> None:
        # If the program has closed the descriptor already, its entry is gone too.
        with contextlib.suppress(OSError):
            self.registry.remove(fd)
