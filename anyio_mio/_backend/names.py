"""Name resolution in worker threads."""

from __future__ import annotations

import socket
from typing import Any, TypeAlias

import anyio.to_thread

AddressInfo: TypeAlias = "tuple[Any, Any, int, str, Any]"


async def getaddrinfo(
    host: bytes | str | None,
    port: str | int | None,
    *,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[AddressInfo]:
    """`socket.getaddrinfo()` without blocking. Always a checkpoint; a cancelled call is abandoned.

    The function is looked up at each call, so that tests can replace it.
    """

    def resolve() -> list[AddressInfo]:
        return socket.getaddrinfo(host, port, family, type, proto, flags)

    return await anyio.to_thread.run_sync(resolve, abandon_on_cancel=True)


async def getnameinfo(sockaddr: Any, flags: int = 0) -> tuple[str, str]:
    """`socket.getnameinfo()` without blocking, as `getaddrinfo()`."""
    return await anyio.to_thread.run_sync(
        socket.getnameinfo, sockaddr, flags, abandon_on_cancel=True
    )
