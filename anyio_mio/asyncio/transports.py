"""`SocketTransport`: asyncio's transport of a socket, which reads when the poll reports an event.

Facts. asyncio's transport is level-triggered: after each event, the system checks the connection
again in the next poll. If it is readable then, the system reports it before the connections whose
data has arrived since. asyncio's loop polls between the reads and the answers, so it does not find
the connection readable. A loop that reads and answers without a poll in between serves a few quick
clients again and again while the others wait (measured with 50 clients: the 95th percentile is 1.6
times asyncio's).

asyncio reads up to 256 KiB with each ``recv()``. The allocator maps an object of more than 128 KiB
and unmaps it afterwards, with page faults, even if a message has only 60 bytes.

Decision. A connection that only reads is edge-triggered if the selector has native edges. A read
that returns less than it asked for has taken everything (R2). After a full read, or a read after a
closing event, the connection reads again in the next round of callbacks. While a connection also
waits to write, it is level-triggered, because asyncio's own code reads and writes then. Each change
registers the descriptor again, which reports an edge for what is there already.

The event itself reads, without a handle in the queue. If handles of another origin are queued, or
in debug mode, the reader is queued behind them. So the order of the callbacks does not change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, final

from anyio_mio._kernel.interrupts import door
from anyio_mio._reactor.registration import READ_IS_FINAL
from anyio_mio.asyncio.asyncio_internals import StockSocketTransport
from anyio_mio.asyncio.callbacks import report
from anyio_mio.asyncio.watch import Watch
from anyio_mio.poll._sys.bits import PRIORITY, READ_HANGUP, READABLE

if TYPE_CHECKING:
    from anyio_mio._reactor.scheduler import TaskRef
    from anyio_mio.asyncio.asyncio_internals import StockHandle
    from anyio_mio.asyncio.callbacks import Callbacks

READ_SIZE: Final = 64 * 1024
"""Bytes, as in mio's own streams."""

EDGES: Final = READABLE | READ_HANGUP | PRIORITY
"""The events of a connection that only reads. R2 requires the last two."""


@final
class SocketTransport(StockSocketTransport):
    """A TCP or UNIX connection.

    Attributes:
        is_buffered: whether its protocol is an `asyncio.BufferedProtocol`.
        reads_on: whether to read again after a short read: after a closing event or urgent data.
    """

    max_size = READ_SIZE

    def __init__(self, callbacks: Callbacks, loop: Any, *args: Any, **options: Any) -> None:
        self._callbacks = callbacks
        self._watch: SocketWatch | None = None
        self.reads_on = False
        super().__init__(loop, *args, **options)

    def watch(self, fileobj: Any, fd: int, *, edges: bool) -> SocketWatch:
        """Make the entry of the poll's registry for the descriptor.

        Args:
            fileobj: the object that asyncio has given for the descriptor.
            fd: the descriptor.
            edges: whether the selector has native edges, for urgent data too.
        """
        self._watch = SocketWatch(self, fileobj, fd, self._callbacks, edges=edges)
        return self._watch

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Use another protocol from now on."""
        super().set_protocol(protocol)
        self.is_buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def write(self, data: Any) -> None:
        """Send what the system accepts now, and buffer the rest: asyncio's method, shortened."""
        self._callbacks.expects_answer = True
        kind = type(data)
        if (
            (kind is not bytes and kind is not memoryview)
            or self._buffer
            or self._conn_lost
            or self._eof
            or self._empty_waiter is not None
            or not data
        ):
            super().write(data)
            return
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal write error on socket transport")
            return
        if sent != (len(data) if kind is bytes else data.nbytes):
            super().write(memoryview(data).cast("B")[sent:])

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send several pieces of data."""
        self._callbacks.expects_answer = True
        super().writelines(list_of_data)

    def receive(self) -> None:
        """Read once, give the data to the protocol, and queue another read if one is needed.

        The reader's handle calls it, and `SocketWatch.deliver()` for a buffered protocol.
        """
        if self._conn_lost:
            return
        more = self._receive_into() if self.is_buffered else self._receive_bytes()
        if more and self._watch is not None:
            self._watch.queue_reader()

    _read_ready = receive

    def _receive_bytes(self) -> bool:
        """Read bytes; return whether there may be more data that no edge would report."""
        try:
            data = self._sock.recv(READ_SIZE)
        except BaseException as error:
            self.read_failed(error)
            return False
        if not data:
            self._read_ready__on_eof()
            return False
        try:
            self._protocol.data_received(data)
        except BaseException as error:
            self.protocol_failed(error, "data_received")
        return self.reads_on or len(data) == READ_SIZE

    def _receive_into(self) -> bool:
        """Read into the protocol's buffer; return whether there may be more data."""
        try:
            buffer = self._protocol.get_buffer(-1)
            room = len(buffer)
            if not room:
                raise RuntimeError("get_buffer() returned an empty buffer")
        except BaseException as error:
            self.protocol_failed(error, "get_buffer")
            return False
        try:
            size: int = self._sock.recv_into(buffer)
        except BaseException as error:
            self.read_failed(error)
            return False
        if not size:
            self._read_ready__on_eof()
            return False
        try:
            self._protocol.buffer_updated(size)
        except BaseException as error:
            self.protocol_failed(error, "buffer_updated")
        return self.reads_on or size >= room

    def read_failed(self, error: BaseException) -> None:
        """Handle an error of a read: close the connection, unless there was nothing to read."""
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise error
        if isinstance(error, (BlockingIOError, InterruptedError)):
            self.reads_on = False
        else:
            self._fatal_error(error, "Fatal read error on socket transport")

    def protocol_failed(self, error: BaseException, method: str) -> None:
        """Handle an error of the protocol: close the connection."""
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise error
        self._fatal_error(error, f"Fatal error: protocol.{method}() call failed.")


@final
class SocketWatch(Watch):
    """The watch of a transport's descriptor. An event of it reads."""

    __slots__ = ("_has_edges", "_transport")

    def __init__(
        self,
        transport: SocketTransport,
        fileobj: Any,
        fd: int,
        callbacks: Callbacks,
        *,
        edges: bool,
    ) -> None:
        super().__init__(fileobj, fd, callbacks)
        self._transport = transport
        self._has_edges = edges

    def registration(self) -> tuple[int, bool]:
        """Return the readiness bits, and True for edges if the connection only reads."""
        if self._has_edges and self.writer is None and self.reader is not None:
            return EDGES, True
        return super().registration()

    @door
    def deliver(self, bits: int, wake: Callable[[TaskRef], None], /) -> None:
        """Read now, or queue the reader if handles of another origin are queued."""
        callbacks, reader, transport = self.callbacks, self.reader, self._transport
        if (
            bits != READABLE
            or reader is None
            or (callbacks.ready and not callbacks.are_of_events)
            or callbacks.run_handle is not None
        ):
            if bits & READ_IS_FINAL:
                transport.reads_on = True
            super().deliver(bits, wake)
            return
        callbacks.expects_answer = False
        callbacks.names["name"] = "asyncio"
        callbacks.is_running = True
        data = None
        try:
            if transport.is_buffered:
                reader._context.run(transport.receive)
            else:
                data = transport._sock.recv(READ_SIZE)
                if data:
                    reader._context.run(transport._protocol.data_received, data)
                else:
                    reader._context.run(transport._read_ready__on_eof)
        except BaseException as error:
            self._fail(reader, error, data)
        finally:
            callbacks.is_running = False
            # They run in this turn: their step was scheduled before the steps of the turn.
            if callbacks.ready:
                callbacks.are_of_events = True
            callbacks.names["name"] = "mio"
        if data is not None and len(data) == READ_SIZE:
            self.queue_reader()

    def queue_reader(self) -> None:
        """Read again in the next round, if the connection is edge-triggered."""
        if self.reader is not None and self._has_edges and self.writer is None:
            super().deliver(READABLE, ignore)

    @door
    def _fail(self, reader: StockHandle, error: BaseException, data: bytes | None) -> None:
        """Handle an error of the read, or of the protocol if there was data."""
        transport, run = self._transport, reader._context.run
        try:
            if data is None:
                run(transport.read_failed, error)
            else:
                run(transport.protocol_failed, error, "data_received")
        except (SystemExit, KeyboardInterrupt) as fatal:
            self.callbacks.on_raise(fatal)
        except BaseException as other:
            report(reader, other)


def ignore(task: TaskRef) -> None:
    """Do nothing: a watch wakes no task."""
