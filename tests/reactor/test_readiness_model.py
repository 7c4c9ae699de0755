"""Random events against a naive model: no wake-up is lost, no byte is lost or repeated.

The selector is a toy epoll that can do what the real one does only sometimes: deliver an edge late,
deliver one that nothing stands behind, or one of a descriptor that had this number before. What a
socket holds is known here in full, so each run of the machine is checked against the truth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from anyio_mio._reactor.registration import (
    READ_IS_FINAL,
    READ_WOULD_BLOCK,
    WAKES_READER,
    WAKES_WRITER,
    WRITE_WOULD_BLOCK,
    Registration,
)
from anyio_mio.poll._sys.bits import ERROR, HANGUP, READ_HANGUP, READABLE, WRITABLE
from anyio_mio.testing import ScriptedSelector
from tests.kernel.harness import Closed
from tests.reactor.harness import Bench

pytestmark = pytest.mark.invariant("R2")

CAPACITY = 8
EVERYTHING = READABLE | WRITABLE | READ_HANGUP | HANGUP | ERROR


@dataclass(eq=False)
class Socket:
    """What the system holds for one connection, and what its two tasks have got so far."""

    fd: int
    registration: Registration
    arrived: deque[int] = field(default_factory=deque)
    room: int = CAPACITY
    peer_closed: bool = False
    next_byte: int = 0
    received: list[int] = field(default_factory=list)
    at_end: bool = False
    sent: int = 0
    edges: bool = False
    """Something has happened since the last delivery (native edges)."""
    watched: int = 0
    """The directions that are looked at (edges made by hand)."""
    reader_parked: bool = False
    writer_parked: bool = False

    def __post_init__(self) -> None:
        # Tasks are told apart by identity.
        self.tasks = {"reader": ("reader", self), "writer": ("writer", self)}

    def level(self) -> int:
        """What epoll would say now."""
        readable = READABLE if self.arrived or self.peer_closed else 0
        closed = READ_HANGUP if self.peer_closed else 0
        return readable | closed | (WRITABLE if self.room else 0)


class Readiness(RuleBasedStateMachine):
    """Sockets of ours under random events, reads, writes, cancellations and closes."""

    emulated = False
    sockets = Bundle("sockets")

    @initialize()
    def begin(self) -> None:
        self.bench = Bench(ScriptedSelector(edge_triggered=not self.emulated))
        self.free = list(range(10, 14))
        self.alive: list[Socket] = []

    # The system.

    @rule(target=sockets)
    @precondition(lambda self: self.free)
    def open(self) -> Socket:
        fd = self.free.pop()  # the number that was closed last, so numbers are reused
        self.bench.selector.registered.pop(fd, None)  # type: ignore[attr-defined]
        new = Socket(fd, self.bench.reactor.register(fd))
        self.alive.append(new)
        return new

    @rule(sock=sockets, count=st.integers(1, 5))
    def bytes_arrive(self, sock: Socket, count: int) -> None:
        if not sock.peer_closed:
            for _ in range(count):
                sock.arrived.append(sock.next_byte)
                sock.next_byte += 1
            sock.edges = True

    @rule(sock=sockets, count=st.integers(1, CAPACITY))
    def peer_reads(self, sock: Socket, count: int) -> None:
        was_full = not sock.room
        sock.room = min(CAPACITY, sock.room + count)
        if was_full:
            sock.edges = True

    @rule(sock=sockets)
    def peer_closes(self, sock: Socket) -> None:
        sock.peer_closed = True
        sock.edges = True

    @rule(sock=sockets)
    def poll_delivers(self, sock: Socket) -> None:
        bits = self.due(sock)
        sock.edges = False
        if self.emulated:
            sock.watched &= ~bits
        if bits:
            self.deliver(sock, bits)

    def due(self, sock: Socket) -> int:
        """What the next poll reports of the socket."""
        if not sock.registration.armed:
            return 0
        if not self.emulated:
            return sock.level() if sock.edges else 0
        level = sock.level()
        reads = level & (READABLE | READ_HANGUP) if sock.watched & READABLE else 0
        return reads | (level & sock.watched & WRITABLE)

    @rule(sock=sockets)
    def spurious_event(self, sock: Socket) -> None:
        if sock.registration.armed:
            self.deliver(sock, READABLE | WRITABLE)

    @rule(sock=sockets, bits=st.integers(1, EVERYTHING))
    def stale_event(self, sock: Socket, bits: int) -> None:
        """Of a descriptor that had this number before, and lives on as a duplicate."""
        if sock.registration.armed:
            self.deliver(sock, bits & EVERYTHING)

    def deliver(self, sock: Socket, bits: int) -> None:
        for role in self.bench.deliver((sock.fd, bits)):
            self.run(sock, role[0])

    # The owner: what `SocketStream.receive()` and `send()` do.

    def park(self, sock: Socket, role: str, wait: Callable[[], object]) -> None:
        setattr(sock, f"{role}_parked", True)
        calls = self.bench.selector.calls  # type: ignore[attr-defined]
        before = len(calls)
        self.bench.park(sock.tasks[role], wait)
        for call in calls[before:]:
            sock.watched |= call.bits & (READABLE | WRITABLE)
            if call.verb == "register":
                sock.edges = True  # what is ready already counts as an edge

    def run(self, sock: Socket, role: str) -> None:
        if role == "reader":
            sock.reader_parked = False
            self.read(sock, 3)
        else:
            sock.writer_parked = False
            self.write(sock, 3)

    @rule(sock=sockets, size=st.integers(1, 6))
    def receive(self, sock: Socket, size: int) -> None:
        if not sock.reader_parked and not sock.at_end:
            self.read(sock, size)

    @rule(sock=sockets, size=st.integers(1, 6))
    def send(self, sock: Socket, size: int) -> None:
        if not sock.writer_parked:
            self.write(sock, size)

    def read(self, sock: Socket, size: int) -> None:
        registration = sock.registration
        for _ in range(3):  # each try either ends or clears what it relied on: it cannot spin
            if not registration.ready & WAKES_READER:
                self.park(sock, "reader", registration.wait_readable)
                return
            data = [sock.arrived.popleft() for _ in range(min(size, len(sock.arrived)))]
            if not data and not sock.peer_closed:
                registration.ready &= READ_WOULD_BLOCK
                continue
            sock.at_end = not data
            sock.received += data
            is_short = 0 < len(data) < size and not registration.ready & READ_IS_FINAL
            if is_short and registration.trusts_short:
                registration.ready &= ~READABLE
            return
        raise AssertionError("a reader spins")

    def write(self, sock: Socket, size: int) -> None:
        registration = sock.registration
        for _ in range(3):
            if not registration.ready & WAKES_WRITER:
                self.park(sock, "writer", registration.wait_writable)
                return
            if sock.room:
                taken = min(size, sock.room)
                sock.room -= taken
                sock.sent += taken
                return
            registration.ready &= WRITE_WOULD_BLOCK
        raise AssertionError("a writer spins")

    @rule(sock=sockets, role=st.sampled_from(["reader", "writer"]))
    def cancel(self, sock: Socket, role: str) -> None:
        if getattr(sock, f"{role}_parked"):
            assert self.bench.scheduler.cancel(sock.tasks[role])
            setattr(sock, f"{role}_parked", False)

    @rule(sock=consumes(sockets))
    def close(self, sock: Socket) -> None:
        waited = [r for r in ("reader", "writer") if getattr(sock, f"{r}_parked")]
        sock.registration.close()
        for role in waited:
            assert type(self.bench.scheduler.failed[sock.tasks[role]]) is Closed
        self.alive.remove(sock)
        self.free.append(sock.fd)

    # The truth.

    @invariant()
    def received_bytes_are_the_sent_ones_in_order(self) -> None:
        for sock in self.alive:
            assert sock.received == list(range(len(sock.received)))

    @invariant()
    def an_armed_selector_knows_the_descriptor(self) -> None:
        for sock in self.alive:
            if sock.registration.armed:
                assert self.bench.reactor.registry.book[sock.fd] is sock.registration

    @invariant()
    def nobody_sleeps_beside_what_it_waits_for(self) -> None:
        # Whoever waits while there is something must have an edge under way.
        for sock in self.alive:
            if sock.reader_parked and (sock.arrived or sock.peer_closed):
                assert self.due(sock) & WAKES_READER
            if sock.writer_parked and sock.room:
                assert self.due(sock) & WAKES_WRITER

    def teardown(self) -> None:
        """Let all edges come: everything is read, and nobody waits for what is there."""
        if not hasattr(self, "bench"):
            return
        for sock in list(self.alive):
            for _ in range(4):
                self.poll_delivers(sock)
                while not sock.reader_parked and not sock.at_end:
                    self.read(sock, 2)
            assert not sock.arrived
            assert sock.at_end == sock.peer_closed
            assert len(sock.received) == sock.next_byte


class EmulatedReadiness(Readiness):
    """The same on a selector that makes its edges by hand."""

    emulated = True


TestReadiness = Readiness.TestCase
TestEmulatedReadiness = EmulatedReadiness.TestCase
TestReadiness.settings = TestEmulatedReadiness.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
