"""Windows' ``select()`` for any number of sockets.

Facts. Python's `select.select` copies its arguments into sets of 512 sockets and raises
`ValueError` for more. This limit is CPython's: FD_SETSIZE is the size of an array that the caller
allocates, and the system reads as many entries as ``fd_count`` says. On Windows a set is an array
and not a set of bits, so the numbers of sockets have no limit either.

Decision. Up to `PYTHONS_LIMIT` sockets, Python's own function is used. For more, the same system
call is made through ctypes with sets of the necessary length. ``WSAPoll()`` is not used: until
Windows 10 version 2004 it does not report a refused connection, and it always reports POLLHUP, so a
sender to a half-closed connection would spin.

Cost. Three arrays are filled at each wait: some 40 µs for 1,000 sockets.
"""

from __future__ import annotations

import select as python
import sys
from array import array
from collections.abc import Callable
from functools import cache
from typing import Final, TypeAlias

Select: TypeAlias = Callable[..., int]
"""The system's function: a number that is ignored, and the addresses of three sets and a time."""

PYTHONS_LIMIT: Final = 512
"""FD_SETSIZE of CPython's build."""

SOCKET: Final = "Q" if sys.maxsize > 2**32 else "I"
"""The type of a socket. ``fd_count`` takes as much room, since the array behind it is aligned."""


def select(
    readers: list[int], writers: list[int], exceptional: list[int], timeout: float | None
) -> tuple[list[int], list[int], list[int]]:
    """Select as `select.select` does, for sockets only and any number of them.

    Raises:
        OSError: one of them is no open socket (ENOTSOCK).
    """
    if max(map(len, (readers, writers, exceptional))) <= PYTHONS_LIMIT:
        return python.select(readers, writers, exceptional, timeout)
    return select_many(systems_select(), readers, writers, exceptional, timeout)


def select_many(
    call: Select,
    readers: list[int],
    writers: list[int],
    exceptional: list[int],
    timeout: float | None,
) -> tuple[list[int], list[int], list[int]]:
    """Select as `select()` does, through the system's own function."""
    sets = [array(SOCKET, [len(fds), *fds]) for fds in (readers, writers, exceptional)]
    time = None if timeout is None else timeval(timeout)
    addresses = [each.buffer_info()[0] for each in sets]
    call(0, *addresses, None if time is None else time.buffer_info()[0])
    read, write, other = (each[1 : 1 + each[0]].tolist() for each in sets)
    return read, write, other


def timeval(seconds: float) -> array[int]:
    """Return a ``struct timeval`` of two C longs, rounded up."""
    microseconds = -int(-seconds * 1_000_000 // 1)
    return array("l", divmod(microseconds, 1_000_000))


@cache
def systems_select() -> Select:
    """Return ``select()`` of ws2_32.dll, which raises what it reports."""
    if sys.platform != "win32":
        raise OSError("ws2_32.dll is a part of Windows")
    import ctypes
    from ctypes.wintypes import INT, LPVOID

    function = ctypes.WinDLL("ws2_32", use_last_error=True).select
    function.argtypes = [INT, LPVOID, LPVOID, LPVOID, LPVOID]
    function.restype = INT

    def call(ignored: int, read: int, write: int, other: int, time: int | None) -> int:
        number: int = function(ignored, read, write, other, time)
        if number < 0:
            raise ctypes.WinError(ctypes.get_last_error())
        return number

    return call
