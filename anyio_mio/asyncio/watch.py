"""`Watch`: a descriptor that asyncio watches, as an entry of the poll's registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from anyio_mio.poll._sys.bits import READABLE, WRITABLE

if TYPE_CHECKING:
    from anyio_mio._reactor.scheduler import TaskRef
    from anyio_mio.asyncio.asyncio_internals import StockHandle
    from anyio_mio.asyncio.callbacks import Callbacks


class Watch:
    """The handles of a descriptor's reader and writer. An event queues them.

    `SocketWatch`, for the transport of a connection, is the only subclass.

    Attributes:
        fileobj: what was given to ``add_reader()`` or ``add_writer()``: a descriptor or an object.
        fd: its descriptor.
        callbacks: the queue for the handles.
        reader: the handle to run while the descriptor is readable, or None.
        writer: the handle to run while the descriptor is writable, or None.
        queued_in: the number of the round of `Callbacks` in which the handles were queued last.
    """

    __slots__ = ("callbacks", "fd", "fileobj", "queued_in", "reader", "writer")

    def __init__(self, fileobj: Any, fd: int, callbacks: Callbacks) -> None:
        self.fileobj = fileobj
        self.fd = fd
        self.callbacks = callbacks
        self.queued_in = -1
        self.reader: StockHandle | None = None
        self.writer: StockHandle | None = None

    def registration(self) -> tuple[int, bool]:
        """Return the readiness bits to watch for, and whether to be told of edges only."""
        reads = READABLE if self.reader is not None else 0
        return reads | (WRITABLE if self.writer is not None else 0), False

    def deliver(self, bits: int, wake: Callable[[TaskRef], None], /) -> None:
        """Queue the handles that an event is for; an error or a hang-up is for both.

        Handles that a poll within the turn has queued are not queued again by the next poll.
        """
        callbacks = self.callbacks
        if self.queued_in == callbacks.rounds:
            return
        if self.reader is not None and bits & ~WRITABLE:
            self.queued_in = callbacks.rounds
            callbacks.add_event(self.reader)
        if self.writer is not None and bits & ~READABLE:
            self.queued_in = callbacks.rounds
            callbacks.add_event(self.writer)
