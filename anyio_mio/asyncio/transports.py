"""`SocketTransport`: asyncio's transport of a socket, with smaller reads and fewer calls.

asyncio reads up to 256 KiB with each ``recv()``. The allocator maps an object of more than 128 KiB
and unmaps it afterwards, with page faults, even if a message has only 60 bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, final

from anyio_mio.asyncio.asyncio_internals import StockSocketTransport

if TYPE_CHECKING:
    from anyio_mio.asyncio.callbacks import Callbacks

READ_SIZE: Final = 64 * 1024
"""Bytes, as in mio's own streams."""

PLAIN: Final = (bytes, memoryview)
"""Types of data that `SocketTransport.write()` sends itself. asyncpg writes memory views."""


@final
class SocketTransport(StockSocketTransport):
    """A TCP or UNIX connection."""

    max_size = READ_SIZE

    def __init__(self, callbacks: Callbacks, loop: Any, *args: Any, **options: Any) -> None:
        self._callbacks = callbacks
        super().__init__(loop, *args, **options)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Use another protocol from now on."""
        super().set_protocol(protocol)
        self._is_buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def write(self, data: Any) -> None:
        """Send what the system accepts now, and buffer the rest: asyncio's method, shortened."""
        self._callbacks.expects_answer = True
        is_plain = self._empty_waiter is None and not (self._buffer or self._eof or self._conn_lost)
        if not is_plain or type(data) not in PLAIN or not data:
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
        rest = data[sent:]
        if rest:
            super().write(rest)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send several pieces of data."""
        self._callbacks.expects_answer = True
        super().writelines(list_of_data)

    def receive(self, run: Callable[..., object]) -> None:
        """Read once and give the data to the protocol: two methods of asyncio in one.

        Args:
            run: calls a method of the protocol in the context of the connection.
        """
        if self._is_buffered or self._conn_lost:
            run(self._read_ready_cb)
            return
        try:
            data = self._sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            run(self._fatal_error, error, "Fatal read error on socket transport")
            return
        if not data:
            run(self._read_ready__on_eof)
            return
        try:
            run(self._protocol.data_received, data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            run(self._fatal_error, error, "Fatal error: protocol.data_received() call failed.")

    def _read_ready(self) -> None:
        """Read. The handle of the reader calls this, in the context of the connection."""
        self.receive(call)


def call(function: Callable[..., object], *args: object) -> None:
    """Call a method of the protocol, in a context that has been entered already."""
    function(*args)
