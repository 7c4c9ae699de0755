"""Name resolution in worker threads, except for numeric addresses.

Facts. The system's resolver blocks its thread, for ten seconds and more if the servers of a name do
not answer, and cannot be interrupted. A numeric address needs no resolver.

Decision. Look-ups have their own limiter, so that slow names do not use the threads of the
program's `anyio.to_thread`. Each call first tries to parse a numeric address, which does not block.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Final, TypeAlias

import anyio
import anyio.lowlevel
import anyio.to_thread

IPAddress: TypeAlias = "tuple[str, int]"
AnyAddress: TypeAlias = "IPAddress | tuple[str, int, int, int] | tuple[int, bytes]"
AddressInfo: TypeAlias = "tuple[socket.AddressFamily, socket.SocketKind, int, str, AnyAddress]"

NUMERIC_NAMES: Final = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


async def getaddrinfo(
    limiter: anyio.CapacityLimiter,
    host: bytes | str | None,
    port: str | int | None,
    family: int,
    kind: int,
    proto: int,
    flags: int,
) -> Sequence[AddressInfo]:
    """Call `socket.getaddrinfo()` without blocking.

    Always a checkpoint. A cancelled call is abandoned.

    The function is looked up at each call, so that tests can replace it.

    ``limiter`` limits the threads for look-ups. The other arguments are those of the function.
    """

    def resolve() -> Sequence[AddressInfo]:
        return socket.getaddrinfo(host, port, family, kind, proto, flags)

    if is_number(port):
        await anyio.lowlevel.checkpoint()
        try:
            numeric_only = flags | socket.AI_NUMERICHOST
            return socket.getaddrinfo(host, port, family, kind, proto, numeric_only)
        except socket.gaierror as error:
            if error.errno != socket.EAI_NONAME:
                raise
    return await anyio.to_thread.run_sync(resolve, abandon_on_cancel=True, limiter=limiter)


async def getnameinfo(
    limiter: anyio.CapacityLimiter, sockaddr: IPAddress, flags: int = 0
) -> tuple[str, str]:
    """Call `socket.getnameinfo()` without blocking, as `getaddrinfo()` does."""
    if flags & NUMERIC_NAMES == NUMERIC_NAMES:
        await anyio.lowlevel.checkpoint()
        return socket.getnameinfo(sockaddr, flags)
    return await anyio.to_thread.run_sync(
        socket.getnameinfo, sockaddr, flags, abandon_on_cancel=True, limiter=limiter
    )


def is_number(port: str | int | None) -> bool:
    """Return whether a port needs no look-up in the table of services."""
    return not isinstance(port, str) or port.isdecimal()
