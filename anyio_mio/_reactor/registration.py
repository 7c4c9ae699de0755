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
"""With one of these bits a short read proves nothing: there may be no further edge (R2, R3).

A FIN, a reset or an urgent mark can follow directly after the bytes that were read, and share their
edge.
"""

READ_WOULD_BLOCK: Final = ~WAKES_READER
WRITE_WOULD_BLOCK: Final = ~WAKES_WRITER
"""Masks for ``ready`` after WouldBlock.

The closed bits are cleared too. An operation on a closed direction never blocks. So a WouldBlock
proves that the bits came with a stale event, of a descriptor that had this number before and still
exists as a duplicate (R5). If they stayed set, the owner would try again for ever.
"""

READY: Final = READABLE | WRITABLE
"""The readiness of a new registration: no operation has seen WouldBlock yet, so try."""


class StreamObservers(Protocol):
    """The part of a reactor's foreign waits that its streams need."""

    @property
    def waits(self) -> Sized:
        """Empty while no task waits for a foreign descriptor."""

    def stream_closes(self, fd: int, /) -> None:
        """Wake the tasks that wait for the descriptor of a stream that is about to close it."""


class Driver(Protocol):
    """The part of the reactor that a registration needs."""

    @property
    def scheduler(self) -> Scheduler:
        """Parks and wakes the tasks that wait."""

    @property
    def emulated(self) -> bool:
        """Whether the selector makes the edges, and not the system."""

    @property
    def trusts_short(self) -> bool:
        """Whether a short read of a byte stream proves that no byte is left (R2)."""

    @property
    def foreign(self) -> StreamObservers:
        """The waits for descriptors of the program, which may include a stream's raw socket."""

    @property
    def starving(self) -> list[Callable[[], object]]:
        """Functions to call when a descriptor was closed."""

    def has_room(self) -> None:
        """Call the functions in `starving`, because a descriptor was closed."""

    def arm(self, registration: Registration, /) -> None:
        """Register the descriptor with the poll."""

    def rearm(self, fd: int, direction: int, /) -> None:
        """Note a WouldBlock in this direction. Only emulated edges need it."""

    def forget(self, registration: Registration, /) -> None:
        """Forget a descriptor that is about to be closed."""


class Registration:
    """Readiness of one descriptor that a socket of ours owns.

    Attributes:
        ready: readiness bits, epoll's values. The owner reads ``ready & WAKES_READER`` (or
            ``WAKES_WRITER``) before it tries an operation, and clears ``READABLE`` or
            ``WRITABLE`` itself when the operation saw WouldBlock (R2).
        trusts_short: whether a short read of a byte stream proves that no byte is left. This holds
            only for native edges (R2; tokio#5866) of a selector that reports PRIORITY: a read also
            stops at an urgent mark, and the bytes after it make no further edge.
        may_be_shared: whether other code may hold a duplicate of the descriptor, because its number
            was handed out. Then closing the descriptor does not remove its entry in the selector
            (R5).
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
            The scheduler's busy error: another task waits already (R4). An earlier wait of the same
                task, which other code has dropped, does not count.
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
        """Set the direction ready and wake the writer; call it after ``shutdown(SHUT_WR)``.

        From then on no write blocks. For a UNIX socket whose peer does not read, the system reports
        no event.
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

        Every operation on a socket or pipe uses this loop, except two operations of the streams:
        receiving, and the first system call of a send. They contain the loop themselves to save a
        frame.

        Args:
            wakes: ``WAKES_READER`` for an operation that reads, ``WAKES_WRITER`` for one that
                writes.
            translate: makes the exception for an error of the operation other than WouldBlock.
                Errors that are raised during the wait are not translated: a signal handler may
                raise `TimeoutError`.
            operation: makes one system call that does not wait.
            *arguments: the arguments of the operation.

        Raises:
            The exception of ``translate``, and the errors of `wait_readable()`.
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
        """Remove a waiting task; return False if an event or a close has woken it already."""
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
