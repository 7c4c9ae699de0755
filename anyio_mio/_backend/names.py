"""Name resolution in worker threads."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TypeAlias

import anyio.to_thread

IPAddress: TypeAlias = "tuple[str, int]"
AnyAddress: TypeAlias = "IPAddress | tuple[str, int, int, int] | tuple[int, bytes]"
AddressInfo: TypeAlias = "tuple[socket.AddressFamily, socket.SocketKind, int, str, AnyAddress]"


async def getaddrinfo(
    host: bytes | str | None, port: str | int | None, family: int, kind: int, proto: int, flags: int
) -> Sequence[AddressInfo]:
    """`socket.getaddrinfo()` without blocking. Always a checkpoint; a cancelled call is abandoned.

    The function is looked up at each call, so that tests can replace it.
    """

    def resolve() -> Sequence[AddressInfo]:
        return socket.getaddrinfo(host, port, family, kind, proto, flags)

    return await anyio.to_thread.run_sync(resolve, abandon_on_cancel=True)


async def getnameinfo(sockaddr: IPAddress, flags: int = 0) -> tuple[str, str]:
    """`socket.getnameinfo()` without blocking, as `getaddrinfo()`."""
    return await anyio.to_thread.run_sync(
        socket.getnameinfo, sockaddr, flags, abandon_on_cancel=True
    )
