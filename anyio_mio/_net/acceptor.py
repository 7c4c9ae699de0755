"""The acceptor: accepts the connections of one listening socket, for every kind of listener.

AnyIO's listener, Trio's listener and the servers use it. One event may stand for many connections,
so it accepts until WouldBlock (N1), or until the batch is spent. In the second case readiness is
still set: other tasks run, and then it continues without a new edge. `accept_errors` defines the
meaning of errors, and `backoff` the delays. While the acceptor is out of descriptors, it is in the
reactor's list `starving`, so it tries again as soon as a descriptor of ours is closed.

Linux copies the options of a listening socket to a connection when the handshake ends, not at
``accept()``. So connections that were queued before the socket was ours lack our options. The queue
is in order: until it has been empty once, the acceptor sets the options of each connection by a
call, and after that of none.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from errno import EINVAL
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar, final

from anyio_mio._net.accept_errors import OUT_OF_DESCRIPTORS, AcceptErrorKind, after_many, classify
from anyio_mio._net.backoff import BackOff
from anyio_mio._net.descriptor_table import grow_descriptor_table
from anyio_mio._net.logs import LimitedLog
from anyio_mio._net.non_blocking import NON_BLOCKING
from anyio_mio._reactor.registration import READ_WOULD_BLOCK, WAKES_READER
from anyio_mio._reactor.scheduler import OPERATION

if TYPE_CHECKING:
    from anyio_mio._net.socket_base import CountsStreams
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio._reactor.registration import Registration

ACCEPT_BATCH: Final = 64
"""Connections accepted for one wake-up, before other tasks run.

Large enough that a burst costs one turn for each 64 connections, small enough that handlers of the
first ones do not wait for the last: 64 accepts take some 700 microseconds.
"""

WRONG_ANSWER: Final = (
    "on_accept_error returned %r; the default applies. Return an AcceptErrorKind, or None"
)


class AcceptedStream(Protocol):
    """What an acceptor makes of a connection."""

    _accepted_by: CountsStreams | None

    def _close(self) -> None:
        """Close it at once."""


class Permits(Protocol):
    """A semaphore, AnyIO's or Trio's: one permit for each open connection."""

    @property
    def value(self) -> int:
        """How many are left."""

    def acquire_nowait(self) -> None:
        """Take one."""

    def release(self) -> Any:
        """Give one back."""


StreamT = TypeVar("StreamT", bound=AcceptedStream)
HandOver: TypeAlias = Callable[[StreamT], object]
ErrorHook: TypeAlias = Callable[[OSError, AcceptErrorKind], "AcceptErrorKind | None"]


@dataclass(frozen=True, slots=True)
class ListenerStatistics:
    """A snapshot of a listener's counters.

    Attributes:
        accepted: connections that were accepted.
        accepts_per_wakeup: for each number of connections, how many wake-ups accepted so many.
        aborted: connections that failed while they were accepted or set up.
        backed_off: how often the listener had to wait for descriptors or memory.
        shed: connections that were closed because they could not be served.
        open: accepted connections that are not closed.
        paused_until: when the current back-off ends at the latest, on the run's clock; 0 if none.
        last_errno: the last error of ``accept()`` that was not WouldBlock; 0 if none.
    """

    accepted: int
    accepts_per_wakeup: dict[int, int]
    aborted: int
    backed_off: int
    shed: int
    open: int
    paused_until: float
    last_errno: int


@final
class Acceptor(Generic[StreamT]):
    """Accepts the connections of one listening socket.

    Args:
        sock: the listening socket, non-blocking; its owner closes it.
        registration: the registration of the socket.
        reactor: the reactor of the run.
        make_stream: makes the stream of an accepted socket; it is called with the socket and the
            reactor.
        set_options: sets the options of accepted sockets. It is called for ``sock``, and for
            accepted sockets that were queued before. None if there are no options to set.

    Attributes:
        shed: how many connections were closed because they could not be served.
        open_streams: accepted streams that are not closed.
    """

    __slots__ = (
        "_aborted",
        "_accept_fd",
        "_accepted",
        "_back_off",
        "_batches",
        "_failed_in_a_row",
        "_family",
        "_hook_log",
        "_handed_over",
        "_kind",
        "_last_errno",
        "_make_stream",
        "_protocol",
        "_reactor",
        "_registration",
        "_set_options",
        "_sock",
        "open_streams",
        "shed",
    )

    def __init__(
        self,
        sock: socket.socket,
        registration: Registration,
        reactor: Reactor,
        make_stream: Callable[[socket.socket, Any], StreamT],
        set_options: Callable[[socket.socket], None] | None = None,
    ) -> None:
        grow_descriptor_table(sock.fileno())
        self._sock = sock
        self._registration = registration
        self._reactor = reactor
        self._make_stream = make_stream
        # Plain ints, read once: the properties of a socket make an enum member each time.
        self._family, self._protocol = int(sock.family), sock.proto
        self._kind = int(sock.type) | NON_BLOCKING
        self._accept_fd = sock._accept  # type: ignore[attr-defined]
        self._batches: Counter[int] = Counter()
        self._back_off = BackOff(self._reactor)
        self._hook_log = LimitedLog()
        self._accepted = self._handed_over = self._aborted = self._failed_in_a_row = (
            self._last_errno
        ) = 0
        self.shed: int = 0
        self.open_streams: int = 0
        self._set_options = set_options
        if set_options is not None:
            set_options(sock)

    async def accept(self, on_error: ErrorHook | None = None) -> StreamT:
        """Wait for a connection and accept it.

        Raises:
            The scheduler's closed error: the listener was closed.
            The scheduler's busy error: another task waits for a connection.
            OSError: a bug, or an error that is not in the table of `accept_errors`.

        Checkpoint: always. Cancellation: no connection is lost.
        """
        accepted: list[StreamT] = []
        while not accepted:
            await self.wait_until_ready()
            self.drain(accepted.append, 1, on_error)
        return accepted[0]

    async def wait_until_ready(self) -> None:
        """Wait for the end of a back-off, and until accepting may not block. A checkpoint."""
        scheduler, registration = self._reactor.scheduler, self._registration
        if self._back_off.is_due:
            # Before any other task runs, or the wait would miss a socket that the task closes.
            await self._back_off.wait()
        elif scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= OPERATION
        while not registration.ready & WAKES_READER:
            await registration.wait_readable()

    def drain(
        self, hand_over: HandOver[StreamT], limit: int, on_error: ErrorHook | None = None
    ) -> int:
        """Accept until WouldBlock, or until ``limit`` attempts are spent; does not wait (N1, N2).

        Args:
            hand_over: is called with each stream, which it owns from then on. If it raises, the
                stream is closed and the error passes through.
            limit: the most attempts, including those that fail.
            on_error: may return another kind for an error.

        Returns:
            How many connections were accepted.
        """
        before = self._accepted
        try:
            if self._drain(hand_over, limit, on_error):
                self._reactor.scheduler.budget = 0  # at the next wait, other tasks run first
        finally:  # count the connections that were accepted before an error, too
            count = self._accepted - before
            if count:
                self._batches[count] += 1
        return count

    def drain_within_permits(
        self,
        permits: Permits,
        hand_over: HandOver[StreamT],
        limit: int,
        on_error: ErrorHook | None = None,
    ) -> None:
        """Drain with the permit that the caller holds, and with the further permits that are free.

        Each connection that was handed over keeps a permit, even if the drain fails later. The
        remaining permits are released.
        """
        held = min(limit, permits.value + 1)
        for _ in range(held - 1):
            permits.acquire_nowait()
        before = self._handed_over
        try:
            self.drain(hand_over, held, on_error)
        finally:
            for _ in range(held - (self._handed_over - before)):
                permits.release()

    @property
    def is_out_of_descriptors(self) -> bool:
        """Whether the acceptor backs off because no descriptor was left."""
        return self._back_off.is_due and self._last_errno in OUT_OF_DESCRIPTORS

    def shed_queued(self, limit: int) -> int:
        """Close at most ``limit`` queued connections instead of serving them; does not wait.

        It stops at the first error, such as an empty queue. Readiness stays as it is, so the next
        drain gets the same error.

        Returns:
            How many were closed.
        """
        count = 0
        with suppress(OSError):
            while count < limit:
                fd, _ = self._accept_fd()
                socket.close(fd)
                count += 1
        self._accepted += count
        self.shed += count
        return count

    def statistics(self) -> ListenerStatistics:
        """Return a snapshot of the counters."""
        return ListenerStatistics(
            accepted=self._accepted,
            accepts_per_wakeup=dict(self._batches),
            aborted=self._aborted,
            backed_off=self._back_off.count,
            shed=self.shed,
            open=self.open_streams,
            paused_until=self._back_off.paused_until,
            last_errno=self._last_errno,
        )

    def _drain(self, hand_over: HandOver[StreamT], limit: int, on_error: ErrorHook | None) -> bool:
        """Drain as `drain()` says; return whether the batch was spent."""
        for _ in range(limit):
            try:
                fd, address = self._accept_fd()
            except BlockingIOError:
                self._registration.ready &= READ_WOULD_BLOCK
                self._set_options = None  # further connections have inherited the options
                return False
            except OSError as exc:
                if self._ends_the_drain(exc, on_error):
                    return False
                continue
            stream = self._set_up(fd, address)
            if stream is None:
                continue
            self._accepted += 1
            self._failed_in_a_row = 0
            if self._back_off.is_raised:
                self._back_off.reset()
            try:
                hand_over(stream)
            except BaseException:
                stream._close()
                raise
            self._handed_over += 1
        return True

    def _set_up(self, fd: int, address: object) -> StreamT | None:
        """Make the stream of an accepted descriptor; None if this connection cannot be used."""
        sock = socket.socket(self._family, self._kind, self._protocol, fd)
        if address is None:  # macOS: the connection was gone already
            self._give_up(sock)
            return None
        try:
            if not NON_BLOCKING:
                sock.setblocking(False)
            if self._set_options is not None:
                with suppress(OSError):  # the connection may be gone already
                    self._set_options(sock)
            stream = self._make_stream(sock, self._reactor)
        except OSError as exc:
            self._last_errno = exc.errno or 0
            self._give_up(sock)
            return None
        stream._accepted_by = self
        self.open_streams += 1
        return stream

    def _give_up(self, sock: socket.socket) -> None:
        """Close a connection that cannot be used; the others are not affected."""
        sock.close()
        self._aborted += 1

    def _ends_the_drain(self, error: OSError, on_error: ErrorHook | None) -> bool:
        """Handle an error of ``accept()``; return whether the drain ends for now."""
        self._last_errno = error.errno or 0
        kind = self._classify(error, on_error)
        if kind is AcceptErrorKind.SKIP:
            self._aborted += 1
            self._failed_in_a_row += 1
            return False
        if kind is AcceptErrorKind.BACK_OFF:
            self._back_off.begin(error)
            return True
        if kind is AcceptErrorKind.CLOSED:
            raise self._reactor.scheduler.errors.closed() from error
        error.add_note(f"while accepting on {self._sock!r}")
        raise error

    def _classify(self, error: OSError, on_error: ErrorHook | None) -> AcceptErrorKind:
        is_closed = self._sock.fileno() < 0 or (error.errno == EINVAL and not self._listens())
        kind = after_many(classify(error, is_closed=is_closed), self._failed_in_a_row)
        if on_error is None:
            return kind
        return after_many(self._ask(on_error, error, kind), self._failed_in_a_row)

    def _ask(self, hook: ErrorHook, error: OSError, kind: AcceptErrorKind) -> AcceptErrorKind:
        """Return the kind that the program's hook returns; ``kind`` if it returns None or fails."""
        try:
            answer = hook(error, kind)
        except Exception:  # noqa: BLE001 - a hook's bug must not end the server
            self._log_hook("on_accept_error failed for %r; the default applies", error, True)
            return kind
        if answer is None or isinstance(answer, AcceptErrorKind):
            return answer or kind
        self._log_hook(WRONG_ANSWER, answer, False)
        return kind

    def _log_hook(self, message: str, argument: object, has_failed: bool) -> None:
        now = self._reactor.scheduler.now()
        self._hook_log(now, logging.ERROR, message, argument, exc_info=has_failed)

    def _listens(self) -> bool:
        """Return whether the socket still listens in the system; ``shutdown()`` ends that."""
        with suppress(OSError):
            return bool(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        return False
