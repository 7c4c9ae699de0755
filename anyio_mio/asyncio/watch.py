"""`Watch`: a descriptor of asyncio's, as the poll's registry knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from anyio_mio.poll._sys.bits import READABLE, WRITABLE

if TYPE_CHECKING:
    from anyio_mio._reactor.scheduler import TaskRef
    from anyio_mio.asyncio.asyncio_internals import StockHandle
    from anyio_mio.asyncio.callbacks import Callbacks


class Watch:
    """The handles of a descriptor's reader and writer, which an event queues.

    Open for one subclass: that of a connection's transport.

    Attributes:
        reader: the handle that is queued while the descriptor is readable; ``writer`` likewise.
        queued_in: how many rounds of `Callbacks` there had been when its handles were queued.
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
        """Return the bits that the poll has to watch for, and whether edges of them are enough."""
        reads = READABLE if self.reader is not None else 0
        return reads | (WRITABLE if self.writer is not None else 0), False

    def deliver(self, bits: int, wake: Callable[[TaskRef], None], /) -> None:
        """Queue the handles that an event concerns; an error or a hang-up concerns both.

        If a poll in the midst of a turn has queued them, the next poll does not queue them again.
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
