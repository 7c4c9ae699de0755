"""The transport of a socket: asyncio's own, with reads of a size that the allocator likes.

asyncio asks for 256 KiB in each ``recv()``. An object of more than 128 KiB is mapped from the
system and given back, page faults and all, for a message of 60 bytes.
"""

from __future__ import annotations

import asyncio
from typing import Final, final

from anyio_mio.asyncio.asyncio_internals import StockSocketTransport

READ_SIZE: Final = 64 * 1024
"""Bytes, as in mio's own streams."""


@final
class SocketTransport(StockSocketTransport):
    """A TCP or UNIX connection."""

    max_size = READ_SIZE

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol take what is received from now on."""
        super().set_protocol(protocol)
        self._is_buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def _read_ready(self) -> None:
        """Read once and hand over what came: asyncio's two functions in one."""
        if self._is_buffered or self._conn_lost:
            self._read_ready_cb()
            return
        try:
            data = self._sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal read error on socket transport")
            return
        if not data:
            self._read_ready__on_eof()
            return
        try:
            self._protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal error: protocol.data_received() call failed.")
