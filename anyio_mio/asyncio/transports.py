"""The transport of a socket: asyncio's own, with reads of a size that the allocator likes.

asyncio asks for 256 KiB in each ``recv()``. An object of more than 128 KiB is mapped from the
system and given back, page faults and all, for a message of 60 bytes.
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


@final
class SocketTransport(StockSocketTransport):
    """A TCP or UNIX connection."""

    max_size = READ_SIZE

    def __init__(self, callbacks: Callbacks, loop: Any, *args: Any, **options: Any) -> None:
        self._callbacks = callbacks
        super().__init__(loop, *args, **options)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol take what is received from now on."""
        super().set_protocol(protocol)
        self._is_buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def write(self, data: Any) -> None:
        """Send what the system takes now, and the rest when it can: asyncio's, shortened."""
        self._callbacks.expects_answer = True
        is_plain = self._empty_waiter is None and not (self._buffer or self._eof or self._conn_lost)
        if not is_plain or type(data) is not bytes or not data:
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
        if sent < len(data):
            super().write(data[sent:])

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send several pieces."""
        self._callbacks.expects_answer = True
        super().writelines(list_of_data)

    def receive(self, run: Callable[..., object]) -> None:
        """Read once and hand over what came: asyncio's two functions in one.

        Args:
            run: calls a function of the protocol, in the context of the connection.
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
        """Read, when the reader's handle is run from the queue, in its context."""
        self.receive(call)


def call(function: Callable[..., object], *args: object) -> None:
    """Call a function of the protocol where its context is entered already."""
    function(*args)
