"""Listeners: accepting connections, one at a time or drained into a task group.

The drain is the centre of the project. One event may stand for many connections, so it accepts
until WouldBlock (N1), or until the batch is spent: then readiness is still set, the others get
their turn, and it goes on without a new edge. What an error means is in `accept_errors`.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from errno import EINVAL
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakSet

import anyio
from anyio.abc import SocketListener as AbstractSocketListener

from anyio_mio._net.accept_errors import OUT_OF_DESCRIPTORS, Verdict, judge
from anyio_mio._net.backoff import BackOff
from anyio_mio._net.socket_base import SocketBase
from anyio_mio._net.socket_names import describe_address
from anyio_mio._net.streams import SocketStream
from anyio_mio._reactor.registration import READ_WOULD_BLOCK, WAKES_READER

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from anyio_mio._reactor.reactor import Reactor


@dataclass(frozen=True, slots=True)
class ListenerStatistics:
    """A snapshot of a listener's counters.

    Attributes:
        accepted: connections that were accepted.
        accepts_per_wakeup: how often a wake-up gave so many connections.
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


HandOver: TypeAlias = Callable[[SocketStream], object]
ErrorHook: TypeAlias = Callable[[OSError, Verdict], Verdict | None]

ACCEPT_BATCH: Final = 64
"""Connections accepted for one wake-up, before the others get their turn.

Large enough that a burst costs one turn for each 64 connections, small enough that handlers of the
first ones do not wait for the last: 64 accepts take some 700 microseconds.
"""


LISTENERS: Final[WeakSet[SocketListener]] = WeakSet()
"""All listeners of the process that are in use, for statistics."""


def open_listeners(reactor: Reactor) -> list[SocketListener]:
    """The listeners of one run that are open, in no particular order."""
    return [each for each in LISTENERS if each._reactor is reactor and not each._is_closed]


class SocketListener(SocketBase, AbstractSocketListener):
    """A listening socket."""

    __slots__ = (
        "_aborted",
        "_accept_fd",
        "_accepted",
        "_back_off",
        "_batches",
        "_family",
        "_in_a_row",
        "_kind",
        "_last_errno",
        "_protocol",
        "_reactor",
        "_stream_type",
        "open_streams",
        "shed",
    )

    def __init__(
        self,
        sock: socket.socket,
        reactor: Reactor,
        stream_type: Callable[[socket.socket, Reactor], SocketStream] = SocketStream,
    ) -> None:
        SocketBase.__init__(self, sock, reactor)
        self._stream_type = stream_type
        self._reactor = reactor
        LISTENERS.add(self)
        # Plain ints, read once: the properties of a socket make an enum member each time.
        self._family, self._kind, self._protocol = int(sock.family), int(sock.type), sock.proto
        self._accept_fd = sock._accept  # type: ignore[attr-defined]
        self._batches: Counter[int] = Counter()
        self._back_off = BackOff(reactor)
        self._accepted = self._aborted = self._in_a_row = self._last_errno = 0
        self.shed: int = 0
        self.open_streams: int = 0
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Linux hands it on to accepted sockets: one call here instead of one for each.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def accept(self) -> SocketStream:
        """Wait for a connection and accept it.

        Being out of descriptors or memory makes it wait, and errors of a connection that died in
        the queue are skipped; see `accept_errors`.

        Raises:
            ClosedResourceError: the listener was closed, before or meanwhile.
            BusyResourceError: another task waits for a connection.
            OSError: what the system said, if none of the above.

        Checkpoint: always. Cancellation: no connection is lost.
        """
        accepted: list[SocketStream] = []
        while not accepted:
            await self.wait_until_ready()
            self.drain(accepted.append, 1)
        return accepted[0]

    async def serve(
        self, handler: Callable[[SocketStream], Any], task_group: TaskGroup | None = None
    ) -> None:
        """Accept whatever comes, and start ``handler(stream)`` for each connection.

        Args:
            handler: an async function; it closes the stream.
            task_group: where the handlers run; one of its own by default.

        Raises:
            ClosedResourceError: the listener was closed.

        It returns only by an exception. An error of a handler ends the task group, as everywhere in
        AnyIO; `anyio_mio.serve_tcp()` can log it instead, and has limits and an orderly stop.
        """
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(anyio.create_task_group())
            name = task_name(handler)  # once, and not for each connection
            hand_over: HandOver = partial(task_group.start_soon, handler, name=name)  # type: ignore[arg-type]
            while True:
                await self.wait_until_ready()
                self.drain(hand_over, ACCEPT_BATCH)

    async def wait_until_ready(self) -> None:
        """Wait until accepting may not block, and for the end of a back-off. A checkpoint."""
        scheduler, registration = self._scheduler, self._registration
        if self._back_off.is_due:
            # Before anybody else runs: it would not see a socket that they close.
            await self._back_off.wait()
        elif scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= 1
        while not registration.ready & WAKES_READER:
            await registration.wait_readable()

    def drain(self, hand_over: HandOver, limit: int, on_error: ErrorHook | None = None) -> int:
        """Accept until WouldBlock, or until ``limit`` attempts are spent; never waits (N1, N2).

        Args:
            hand_over: takes each stream and owns it from then on. If it raises, the stream is
                closed and the error passes through.
            limit: attempts; one that fails counts too.
            on_error: may overrule what is done about an error.

        Returns:
            How many connections were handed over.
        """
        before = self._accepted
        try:
            if self._drain(hand_over, limit, on_error):
                self._scheduler.budget = 0  # the next wait lets the others have their turn
        finally:  # what was accepted before an error is counted too
            count = self._accepted - before
            if count:
                self._batches[count] += 1
        return count

    def _drain(self, hand_over: HandOver, limit: int, on_error: ErrorHook | None) -> bool:
        """Do the work of `drain()`; True if the batch was spent."""
        for _ in range(limit):
            try:
                fd, address = self._accept_fd()
            except BlockingIOError:
                self._registration.ready &= READ_WOULD_BLOCK
                return False
            except OSError as exc:
                if self._takes_a_break(exc, on_error):
                    return False
                continue
            stream = self._set_up(fd, address)
            if stream is None:
                continue
            self._accepted += 1
            self._in_a_row = 0
            if self._back_off.is_raised:
                self._back_off.reset()
            try:
                hand_over(stream)
            except BaseException:
                stream._close()
                raise
        return True

    @property
    def is_out_of_descriptors(self) -> bool:
        """Whether it backs off because no descriptor was left."""
        return self._back_off.is_due and self._last_errno in OUT_OF_DESCRIPTORS

    def address_in_words(self) -> str:
        """Such as ``"TCP 127.0.0.1:8000"``, for people."""
        return describe_address(self._sock)

    def shed_queued(self, limit: int) -> int:
        """Close queued connections instead of serving them, ``limit`` at the most; never waits.

        Errors end it without a word, an empty queue among them. Readiness stays as it is, so the
        next drain meets them again.

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
        """A snapshot of the counters."""
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

    def _set_up(self, fd: int, address: object) -> SocketStream | None:
        """The stream for an accepted descriptor; None if this connection cannot be used."""
        sock = socket.socket(self._family, self._kind, self._protocol, fd)
        if address is None:  # macOS: a connection that was gone already has no address
            self._give_up(sock)
            return None
        try:
            stream = self._stream_type(sock, self._reactor)
        except OSError as exc:  # such as an option that a dead socket does not take
            self._last_errno = exc.errno or 0
            self._give_up(sock)
            return None
        stream._listener = self
        self.open_streams += 1
        return stream

    def _give_up(self, sock: socket.socket) -> None:
        """Close a connection that cannot be used; it concerns no other."""
        sock.close()
        self._aborted += 1

    def _takes_a_break(self, error: OSError, on_error: ErrorHook | None) -> bool:
        """Deal with an error of ``accept()``; True if the drain is over for now."""
        self._last_errno = error.errno or 0
        is_closed = self._is_closed or (error.errno == EINVAL and not self._listens())
        verdict = judge(error, is_closed=is_closed, in_a_row=self._in_a_row)
        if on_error is not None:
            verdict = on_error(error, verdict) or verdict
        if verdict is Verdict.SKIP:
            self._aborted += 1
            self._in_a_row += 1
            return False
        if verdict is Verdict.BACK_OFF:
            self._back_off.begin(error)
            return True
        if verdict is Verdict.CLOSED:
            raise self._scheduler.errors.closed() from error
        error.add_note(f"while accepting on {self!r}")
        raise error

    def _listens(self) -> bool:
        """Whether the system takes this for a listening socket: ``shutdown()`` ends that."""
        return bool(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def task_name(handler: Callable[..., object]) -> str:
    """Module and qualified name of a handler, as far as it has them: AnyIO names tasks so."""
    parts = (getattr(handler, "__module__", None), getattr(handler, "__qualname__", None))
    return ".".join(part for part in parts if part)
