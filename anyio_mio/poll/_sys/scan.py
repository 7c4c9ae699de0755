"""The system calls poll and select, which look through all their descriptors at each wait.

Both report states, not changes; `LevelSelector` makes edges of them. This module gives both the
same interface: `watch` and `drop` change the set, `wait` looks at it once.

Rules:

1. Arguments and results use our bits; the platform's own numbers stay in this module.
2. A descriptor that was closed while it was in the set comes back as ``(fd, 0)``.
3. One `wait` makes one call; the selector decides whether to wait again.
"""

from __future__ import annotations

import errno
import math
import os
import select
import sys
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias, final

from anyio_mio.poll._sys import winsock
from anyio_mio.poll._sys.bits import ERROR, HANGUP, PRIORITY, READ_HANGUP, READABLE, WRITABLE

IS_WINDOWS: Final = sys.platform == "win32"

Ready: TypeAlias = tuple[list[int], list[int], list[int]]
Ask: TypeAlias = Callable[..., Ready]

SELECT_LIMIT: Final = 1024
"""FD_SETSIZE of POSIX systems: select cannot use greater numbers."""


class Scan(Protocol):
    """One way to look at many descriptors."""

    def watch(self, fd: int, bits: int) -> None:
        """Look for `bits` of `fd` from now on, and for nothing else of it."""

    def drop(self, fd: int) -> None:
        """Look at `fd` no longer. Nothing happens if it is not in the set."""

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return what is ready, at the latest after `timeout` seconds (None: wait for ever)."""


def default_scan() -> Scan:
    """Return poll where there is one, else select."""
    if sys.platform == "win32":
        return SelectScan()
    else:
        return PollScan() if hasattr(select, "poll") else SelectScan()


if sys.platform != "win32":

    @final
    class PollScan:
        """`poll(2)`: no limit on the numbers, and it tells a hangup from data."""

        def __init__(self) -> None:
            self._poll = select.poll()

        def watch(self, fd: int, bits: int) -> None:
            self._poll.register(fd, _translated(bits, _TO_POLL))

        def drop(self, fd: int) -> None:
            try:
                self._poll.unregister(fd)
            except KeyError:
                pass

        def wait(self, timeout: float | None) -> list[tuple[int, int]]:
            milliseconds = None if timeout is None else math.ceil(timeout * 1000)
            return [
                (fd, _translated(seen, _FROM_POLL)) for fd, seen in self._poll.poll(milliseconds)
            ]

    # Not every POSIX system has POLLRDHUP: without it the end of a stream is just readable. PyPy
    # has no name for it.
    _TO_POLL: Final = tuple(
        (ours, theirs)
        for ours, theirs in (
            (READABLE, select.POLLIN),
            (PRIORITY, select.POLLPRI),
            (WRITABLE, select.POLLOUT),
            (ERROR, select.POLLERR),
            (HANGUP, select.POLLHUP),
            (READ_HANGUP, getattr(select, "POLLRDHUP", 0x2000 if sys.platform == "linux" else 0)),
        )
        if theirs
    )
    # POLLNVAL is left out, and comes alone: that is how a closed descriptor becomes (fd, 0).
    _FROM_POLL: Final = tuple((theirs, ours) for ours, theirs in _TO_POLL)


@final
class SelectScan:
    """`select(2)`: everywhere, for sockets at least, but on POSIX for small numbers only.

    It reports errors and hangups as readable: the next read raises or returns them.

    Args:
        ask: What takes three lists of descriptors and a timeout, as `select.select`.
    """

    def __init__(self, ask: Ask | None = None) -> None:
        self._bits: dict[int, int] = {}
        self._ask: Ask = ask or (winsock.select if IS_WINDOWS else select.select)

    def watch(self, fd: int, bits: int) -> None:
        if not IS_WINDOWS and fd >= SELECT_LIMIT:
            raise ValueError(
                f"select() takes descriptors below {SELECT_LIMIT}, not {fd}: use poll()"
            )
        self._bits[fd] = bits

    def drop(self, fd: int) -> None:
        self._bits.pop(fd, None)

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        bits = self._bits.copy()  # other threads change the original during the scan
        try:
            ready = self._ask(
                _asking_for(READABLE | READ_HANGUP, bits),
                _asking_for(WRITABLE, bits),
                _asking_for(_EXCEPTIONAL, bits),
                timeout,
            )
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOTSOCK):
                raise
            return [(fd, 0) for fd in bits if not is_open(fd)]
        return _merged(ready)


# Windows puts a refused connection into the exceptional set, where POSIX has urgent data only.
_EXCEPTIONAL: Final = PRIORITY | WRITABLE if IS_WINDOWS else PRIORITY
_EXCEPTION: Final = ERROR | WRITABLE if IS_WINDOWS else PRIORITY


def _asking_for(wanted: int, bits: dict[int, int]) -> list[int]:
    return [fd for fd, asked in bits.items() if asked & wanted]


def _merged(ready: Ready) -> list[tuple[int, int]]:
    found: dict[int, int] = {}
    for fds, bit in zip(ready, (READABLE, WRITABLE, _EXCEPTION), strict=True):
        for fd in fds:
            found[fd] = found.get(fd, 0) | bit
    return list(found.items())


def _translated(bits: int, table: tuple[tuple[int, int], ...]) -> int:
    result = 0
    for source, target in table:
        if bits & source:
            result |= target
    return result


def is_open(fd: int) -> bool:
    """Return whether there is such a descriptor; on Windows, such a socket."""
    try:
        if IS_WINDOWS:  # sockets are no descriptors of the C library there
            select.select([fd], [], [], 0)
        else:
            os.fstat(fd)
    except OSError:
        return False
    return True
