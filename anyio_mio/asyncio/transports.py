"""The transport of a socket: asyncio's own, with reads of a size that the allocator likes.

asyncio asks for 256 KiB in each ``recv()``. An object of more than 128 KiB is mapped from the
system and given back, page faults and all, for a message of 60 bytes.
"""

from __future__ import annotations

from typing import Final, final

from anyio_mio.asyncio.asyncio_internals import StockSocketTransport

READ_SIZE: Final = 64 * 1024
"""Bytes, as in mio's own streams."""


@final
class SocketTransport(StockSocketTransport):
    """A TCP or UNIX connection."""

    max_size = READ_SIZE
