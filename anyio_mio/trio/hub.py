"""The hub: one reactor for each ``trio.run``. It decides where the run's sockets wait.

Two places
==========

A socket can wait in two places.

*Directly*, on Trio's own poller. Each wait costs one ``epoll_ctl``, because Trio's registrations
are one-shot.

*Nested*, in an edge-triggered set of ours. Trio's poller watches the set's descriptor. A wait then
costs no system call, but each tick with an event costs three: the wait outside, the harvest inside,
and arming the set outside again.

So the nested set is cheaper if a tick finds several sockets ready, and dearer if it finds one. The
number of *open* sockets does not matter: a thousand idle ones cost nothing in either place. The hub
therefore counts sockets per tick. At each tick it adds the number of sockets that waited or were
woken, and subtracts `BREAK_EVEN`; the sum stays between 0 and `DECIDED`. When the sum reaches
`DECIDED`, sockets that begin to wait do so in the nested set. When it is back at 0, they wait on
Trio's poller. So a short burst moves no socket, and neither does a short pause.

One system task, *the attendant*, waits on Trio's poller for the nested set, and closes the hub when
the run ends. An instrument harvests at the end of the I/O wait, so that woken tasks run in the same
tick. The instrument also counts. If the program removes the instrument, the attendant harvests, one
tick later, and the place of waits no longer changes.

Rules:

* H1 A run has at most one hub. The run's first socket makes it, and it ends with the run.
* H2 If the nested set cannot be used (nested pollers do not work here, no descriptor is left, the
  run is ending), sockets wait on Trio's poller. They work there, so no task gets an error.
* H3 A hub that closes wakes the tasks in its set. A wake-up is a hint: they try again, and wait
  directly.
* H4 A harvest may leave events behind, because Trio's one-shot arming reports them again.
* H5 After a fork the child's hub is dead: its use raises, and leaves the shared set alone.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from dataclasses import dataclass
from typing import Final, Literal, final

import trio
from trio.lowlevel import RunVar, enable_ki_protection, reschedule

from anyio_mio._reactor.dead_selector import DeadSelector
from anyio_mio._reactor.reactor import Reactor
from anyio_mio._reactor.registration import Registration
from anyio_mio.poll import Poll, available_selectors
from anyio_mio.trio.nesting import poller_nests
from anyio_mio.trio.registration import HostedRegistration
from anyio_mio.trio.scheduler import TrioScheduler

BREAK_EVEN: Final = 4
"""Sockets per tick. With more than this, the nested set is the cheaper place."""

DECIDED: Final = 256
"""The sum of sockets, above `BREAK_EVEN` a tick, at which waits move to the nested set."""

EVENTS_PER_HARVEST: Final = 512


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """Where the sockets of a run wait.

    Attributes:
        place: ``"direct"`` (Trio's poller) or ``"nested"``, for waits that begin now.
        registrations: sockets in the nested set.
        tasks_waiting: tasks parked in the nested set; Trio's own statistics count the others.
        events: events that the nested set delivered.
        stale_events: events of sockets that were already closed.
        moves: how often the place changed.
    """

    place: Literal["direct", "nested"]
    registrations: int
    tasks_waiting: int
    events: int
    stale_events: int
    moves: int


@final
class Hub(Reactor):
    """The reactor of one ``trio.run``.

    Attributes:
        is_nested: whether waits that begin now happen in the nested set.
        is_closed: whether the run has ended or is ending.
        thread: the identity of the run's thread.
        direct_waits: waits on Trio's poller that began since the last tick.
    """

    __slots__ = (
        "__weakref__",
        "_harvester",
        "_has_harvested",
        "_has_poll",
        "_moves",
        "_opened",
        "_weight",
        "direct_waits",
        "is_closed",
        "is_nested",
        "thread",
    )

    stream_type = HostedRegistration

    def __init__(self) -> None:
        # A set is made when it is needed; until then nothing reaches the selector.
        Reactor.__init__(self, Poll(DeadSelector()), TrioScheduler())
        self.trusts_short = available_selectors()[0] == "epoll"  # as the set that will be made
        self.is_nested: bool = False
        self.is_closed: bool = False
        self.thread: int = threading.get_ident()
        self.direct_waits: int = 0
        self._weight = 0
        self._moves = 0
        self._has_harvested = False
        self._has_poll = False  # a poll of its own, instead of the one that refuses every use
        self._harvester = Harvester(self)
        self._opened = trio.Event()

    def register(self, fd: int) -> HostedRegistration:
        """Return a registration for a socket of ours; no system call."""
        return HostedRegistration(self, fd)

    def withdraw(self, registration: Registration) -> None:
        """Take a socket out of the nested set, if it is there and this is its thread."""
        if registration.armed and threading.get_ident() == self.thread:
            registration.armed = False
            self._deregister(registration.fd)

    def tick(self) -> None:
        """End an I/O wait: harvest, and count the tick's sockets."""
        active = self.direct_waits
        if self.is_nested:
            self._has_harvested = True
            active += self.harvest()
        elif not active and not self._weight:
            return
        self.direct_waits = 0
        self._weigh(active)

    def harvest(self) -> int:
        """Wake the tasks for which the nested set has events; return the number of events."""
        pairs = self.poll.select(0, EVENTS_PER_HARVEST)
        if pairs:
            self.turn(pairs, reschedule, reschedule)
        return len(pairs)

    def nest(self) -> None:
        """Let waits happen in the nested set from now on, if there can be one (H2)."""
        if not self.is_closed and self._has_set():
            self.is_nested = True
            self._moves += 1

    def unnest(self) -> None:
        """Let waits happen on Trio's poller from now on; the attendant wakes those in the set."""
        self.is_nested = False
        self._moves += 1

    def has_room(self) -> None:
        """See `Reactor.has_room()`. Do nothing in other threads, which cannot wake tasks."""
        if threading.get_ident() == self.thread:
            Reactor.has_room(self)

    async def attend(self) -> None:
        """Watch the nested set as a system task, and close the hub at the end of the run."""
        try:
            trio.lowlevel.add_instrument(self._harvester)
            await self._opened.wait()
            while True:
                await trio.lowlevel.wait_readable(self.poll.fileno())
                if not self._has_harvested:
                    self.harvest()
                self._has_harvested = False
        finally:
            self._end()

    def snapshot(self) -> HubStatistics:
        """Return the counters."""
        counts = self.statistics()
        return HubStatistics(
            place="nested" if self.is_nested else "direct",
            registrations=counts.registrations,
            tasks_waiting=counts.tasks_waiting,
            events=counts.events,
            stale_events=counts.stale_events,
            moves=self._moves,
        )

    def die_in_child(self) -> None:
        """Make every wait fail after a fork, with the dead selector's error (H5)."""
        for registration in self.registrations():
            registration.armed = False
        self.is_nested = True
        self.thread = threading.get_ident()
        Reactor.die_in_child(self)

    def _weigh(self, active: int) -> None:
        weight = self._weight + active - BREAK_EVEN
        self._weight = min(max(weight, 0), DECIDED)
        if weight >= DECIDED:
            if not self.is_nested:
                self.nest()
        elif weight <= 0 and self.is_nested:
            self.unnest()

    def _has_set(self) -> bool:
        """Make the nested set, once."""
        if self._has_poll:
            return True
        self._weight = 0  # if this fails, try again when the sum has reached `DECIDED` again
        try:
            if not poller_nests():
                return False
            self.use(Poll())
        except OSError:  # no descriptor left
            return False
        self._has_poll = True
        self._weight = DECIDED
        self._opened.set()
        return True

    def _end(self) -> None:
        """Leave nothing behind (H1), and no task waiting (H3)."""
        self.is_closed = True
        self.is_nested = False
        for registration in self.registrations():
            registration.armed = False
            for task in (registration.reader, registration.writer):
                if task is not None:
                    reschedule(task)
            registration.reader = registration.writer = None
        self.poll.close()
        with contextlib.suppress(KeyError):  # removed by the user
            trio.lowlevel.remove_instrument(self._harvester)


class Harvester(trio.abc.Instrument):
    """Calls the hub at the end of each I/O wait, before Trio runs the tick's tasks."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def after_io_wait(self, timeout: float) -> None:
        """Harvest and count."""
        self._hub.tick()

    def __repr__(self) -> str:
        return "<anyio_mio.trio's harvest; sockets work without it, if more slowly>"


_hub_of_the_run: Final[RunVar[Hub]] = RunVar("anyio_mio.trio's hub")
_hubs: Final[weakref.WeakSet[Hub]] = weakref.WeakSet()


@enable_ki_protection
def current_hub() -> Hub:
    """Return the hub of the current run; the first call makes it (H1).

    Raises:
        RuntimeError: outside ``trio.run``.
    """
    try:
        return _hub_of_the_run.get()
    except LookupError:
        return _new_hub()


def current_statistics() -> HubStatistics:
    """Return where the sockets of the current run wait, and what their set has seen.

    Raises:
        RuntimeError: outside ``trio.run``.
    """
    return current_hub().snapshot()


def _new_hub() -> Hub:
    hub = Hub()
    _hub_of_the_run.set(hub)
    _hubs.add(hub)
    try:
        trio.lowlevel.spawn_system_task(hub.attend, name="anyio_mio.trio's attendant")
    except RuntimeError:  # the run is ending: its sockets wait on Trio's poller (H2)
        hub.is_closed = True
    return hub


def _before_fork() -> None:
    for hub in list(_hubs):
        hub.has_forked = True  # the child will hold a duplicate of every descriptor (R5)


def _after_fork_in_child() -> None:
    for hub in list(_hubs):
        hub.die_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
