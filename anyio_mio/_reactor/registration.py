"""One descriptor's cached readiness and its waiters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sized
from typing import Any, Final, Protocol, TypeVar

from anyio_mio._reactor.scheduler import Scheduler, TaskRef, Wait
from anyio_mio.poll._sys.bits import ERROR, HANGUP, PRIORITY, READ_HANGUP, READABLE, WRITABLE

T = TypeVar("T")

WAKES_READER: Final = READABLE | PRIORITY | READ_HANGUP | HANGUP | ERROR
WAKES_WRITER: Final = WRITABLE | HANGUP | ERROR

READ_IS_FINAL: Final = READ_HANGUP | HANGUP | ERROR | PRIORITY
"""With one of these a short read proves nothing: there may be no further edge (R2, R3).

A FIN, a reset or an urgent mark can lie right behind the bytes that were read, and its edge came
with theirs.
"""

READ_WOULD_BLOCK: Final = ~WAKES_READER
WRITE_WOULD_BLOCK: Final = ~WAKES_WRITER
"""Masks for ``ready`` after WouldBlock.

The closed bits are cleared too. An operation on a closed direction never blocks, so a WouldBlock
proves that the bits came with a stale event: of a descriptor that had this number before and lives
on as a duplicate (R5). If they stayed, the owner would try for ever.
"""

READY: Final = READABLE | WRITABLE
"""What a new registration assumes: no operation has seen WouldBlock yet, so try it."""


class StreamObservers(Protocol):
    """The foreign waits of a reactor, as its streams see them."""

    @property
    def waits(self) -> Sized:
        """Empty while no task waits for a foreign descriptor."""

    def stream_closes(self, fd: int, /) -> None:
        """Wake the tasks that wait for the descriptor of a stream that is about to close it."""


class Driver(Protocol):
    """What a registration asks of the reactor that it belongs to."""

    @property
    def scheduler(self) -> Scheduler:
        """Parks and wakes the tasks that wait."""

    @property
    def emulated(self) -> bool:
        """Whether edges are made by the selector and not by the system."""

    @property
    def trusts_short(self) -> bool:
        """Whether a short read of a byte stream proves that no byte is left (R2)."""

    @property
    def foreign(self) -> StreamObservers:
        """The waits for descriptors that others own; one may be for a stream's raw socket."""

    @property
    def starving(self) -> list[Callable[[], object]]:
        """Called each time that a descriptor was closed."""

    def has_room(self) -> None:
        """Call what is in `starving`: a descriptor was closed."""

    def arm(self, registration: Registration, /) -> None:
        """Register the descriptor with the poll."""

    def rearm(self, fd: int, direction: int, /) -> None:
        """Note that an operation in this direction saw WouldBlock; for emulated edges only."""

    def forget(self, registration: Registration, /) -> None:
        """Forget a descriptor that is about to be closed."""


class Registration:
    """Readiness of one descriptor that a socket of ours owns.

    Attributes:
        ready: readiness bits, epoll's values. The owner reads ``ready & WAKES_READER`` (or
            ``WAKES_WRITER``) before it tries an operation, and clears ``READABLE`` or
            ``WRITABLE`` itself when the operation saw WouldBlock (R2).
        trusts_short: whether a short read of a byte stream proves that no byte is left. Only
            native edges make it so (R2; tokio#5866), and only where PRIORITY is reported: a read
            also stops short at an urgent mark, and the bytes behind it make no further edge.
        may_be_shared: whether other code may hold a duplicate of the descriptor, because its number
            was handed out. Then closing it does not end its entry in the selector (R5).
        reader: the task that waits for readable, if any; ``writer`` likewise.
    """

    __slots__ = (
        "armed",
        "fd",
        "may_be_shared",
        "reactor",
        "reader",
        "ready",
        "trusts_short",
        "writer",
    )

    def __init__(self, reactor: Driver, fd: int) -> None:
        self.reactor: Driver = reactor
        self.trusts_short: bool = reactor.trusts_short
        self.fd: int = fd
        self.ready: int = READY
        self.armed: bool = False
        self.may_be_shared: bool = False
        self.reader: TaskRef | None = None
        self.writer: TaskRef | None = None

    def __repr__(self) -> str:
        state = "armed" if self.armed else "lazy"
        return f"<Registration fd={self.fd} {state} ready={self.ready:#x}>"

    def wait_readable(self) -> Awaitable[None]:
        """Park the current task until an event says that reading may not block.

        Call it when `ready` has no bit of ``WAKES_READER``, and await the result at once.

        Raises:
            The scheduler's busy error: another task waits already (R4). A wait that the same task
                has begun and that other code has dropped is no other task.
            OSError: the selector refused the descriptor.
        """
        scheduler = self.reactor.scheduler
        if self.reader is not None and self.reader is not scheduler.current:
            raise scheduler.errors.busy("reading from")
        self.reader = scheduler.current
        try:
            if not self.armed or self.reactor.emulated:
                self._arm(READABLE)
            return scheduler.park(self)
        except BaseException:  # the selector refuses it, or a signal's handler has raised
            self.reader = None
            raise

    def wait_writable(self) -> Awaitable[None]:
        """Park the current task until an event says that writing may not block.

        See `wait_readable()`; the bits are those of ``WAKES_WRITER``.
        """
        scheduler = self.reactor.scheduler
        if self.writer is not None and self.writer is not scheduler.current:
            raise scheduler.errors.busy("writing to")
        self.writer = scheduler.current
        try:
            if not self.armed or self.reactor.emulated:
                self._arm(WRITABLE)
            return scheduler.park(self)
        except BaseException:  # as above
            self.writer = None
            raise

    def try_writing_again(self) -> None:
        """Make the next write be tried, and wake the writer: call it after ``shutdown(SHUT_WR)``.

        From then on no write blocks, and the system makes no event of that for a UNIX socket whose
        peer does not read.
        """
        self.ready |= WRITABLE
        task, self.writer = self.writer, None
        if task is not None:
            self.reactor.scheduler.resume(task)

    async def attempt(
        self,
        wakes: int,
        translate: Callable[[OSError], Exception],
        operation: Callable[..., T],
        *arguments: Any,
    ) -> T:
        """Call an operation until it does not block: the readiness loop (R2).

        Every operation on a socket or pipe goes through it but two of the streams, which save a
        frame by having it inline: receiving, and the first system call of a send.

        Args:
            wakes: ``WAKES_READER`` for an operation that reads, ``WAKES_WRITER`` for one that
                writes.
            translate: makes the exception for an error of the operation other than WouldBlock. What
                is raised during the wait is none: a signal's handler may raise `TimeoutError`.
            operation: makes one system call that does not wait.
            *arguments: those of the operation.

        Raises:
            What ``translate`` made, and as for `wait_readable()`.
        """
        while True:
            if not self.ready & wakes:
                await (self.wait_readable() if wakes == WAKES_READER else self.wait_writable())
            try:
                return operation(*arguments)
            except BlockingIOError:
                self.ready &= ~wakes
            except OSError as exc:
                raise translate(exc) from exc

    def abort(self, task: TaskRef, /) -> bool:
        """Take a waiting task out; False if an event or a close has woken it already."""
        if self.reader is task:
            self.reader = None
        elif self.writer is task:
            self.writer = None
        else:
            return False
        return True

    def describe(self, task: TaskRef, /) -> Wait:
        """See `Describes`."""
        return Wait("receive" if self.reader is task else "send", self.fd)

    def close(self) -> None:
        """Wake the waiters with the closed error; call it before the descriptor is closed (R5)."""
        scheduler = self.reactor.scheduler
        self.ready |= HANGUP
        for task in (self.reader, self.writer):
            if task is not None:
                scheduler.fail(task, scheduler.errors.closed())
        self.reader = self.writer = None
        if self.reactor.foreign.waits:  # a task may wait for our raw socket
            self.reactor.foreign.stream_closes(self.fd)
        if self.armed:
            self.armed = False
            self.reactor.forget(self)

    def _arm(self, direction: int) -> None:
        """Tell the selector."""
        if self.armed:
            self.reactor.rearm(self.fd, direction)
        else:
            self.reactor.arm(self)
            self.armed = True
