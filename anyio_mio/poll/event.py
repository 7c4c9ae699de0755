"""The events of one poll, and the class of a single event.

Rules:

1. The buffer keeps the selector's bits. Only iterating makes `Event` objects.
2. Iterating skips events whose registration has ended: if a program deregisters or reregisters a
   source while it handles the events of a poll, the remaining events of that source do not appear.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from anyio_mio.poll._sys import bits as bit

if TYPE_CHECKING:
    from anyio_mio.poll.registry import Entry
    from anyio_mio.poll.token import Token

DEFAULT_CAPACITY: Final = 1024
"""Events per poll. Mio's examples use 128 to 1024; a pair takes some 150 bytes."""

_NAMES: Final = (
    ("READABLE", bit.READABLE),
    ("PRIORITY", bit.PRIORITY),
    ("WRITABLE", bit.WRITABLE),
    ("ERROR", bit.ERROR),
    ("HANGUP", bit.HANGUP),
    ("READ_HANGUP", bit.READ_HANGUP),
    ("WRITE_HANGUP", bit.WRITE_HANGUP),
)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """What one poll reports about one registration.

    Only `is_readable` and `is_writable` are reliable on every platform. The other flags may be
    missing although they would be true. They save a system call, and a program may ignore them. If
    a closed flag of a stream or a pipe is set, it is never wrong. A peer cannot close a datagram
    socket; such a socket has the flag set when an error is pending.

    An error may come alone. An owner that waits in either direction must then try its operation.

    Attributes:
        token: The token that the source was registered with.
        bits: The raw readiness, in the numbers of `anyio_mio.poll._sys.bits`.
    """

    token: Token
    bits: int

    @property
    def is_readable(self) -> bool:
        """Whether a read, receive or accept is worth trying."""
        return bool(self.bits & (bit.READABLE | bit.PRIORITY))

    @property
    def is_writable(self) -> bool:
        """Whether a write or send is worth trying, or a connect has ended."""
        return bool(self.bits & bit.WRITABLE)

    @property
    def is_read_closed(self) -> bool:
        """Whether nothing more will arrive. Bytes that came before may still wait."""
        both = bit.READABLE | bit.READ_HANGUP
        return bool(self.bits & bit.HANGUP) or self.bits & both == both

    @property
    def is_write_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        failed_write = bit.WRITABLE | bit.ERROR
        return (
            bool(self.bits & (bit.HANGUP | bit.WRITE_HANGUP))
            or self.bits & failed_write == failed_write
            # The writing end of a pipe whose reader is gone reports only this. So does a datagram
            # socket after an ICMP error, although nothing is closed. Mio has the same ambiguity.
            or self.bits == bit.ERROR
        )

    @property
    def is_error(self) -> bool:
        """Whether an error is pending. `SO_ERROR`, or the next operation, tells which."""
        return bool(self.bits & bit.ERROR)

    @property
    def is_priority(self) -> bool:
        """Whether out-of-band data has arrived. Linux only."""
        return bool(self.bits & bit.PRIORITY)

    def __repr__(self) -> str:
        flags = " | ".join(name for name, value in _NAMES if self.bits & value)
        return f"<Event token={self.token} {flags or 'nothing'}>"


@final
class Events:
    """The buffer that a poll fills. Make it once and use it for every poll.

    Iterating yields an `Event` for each registration that has not ended or changed since.

    Args:
        capacity: The most events of one poll. The next poll delivers the rest.

    Raises:
        ValueError: `capacity` is less than 1.
    """

    __slots__ = ("_found", "capacity")

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(
                f"the capacity must be at least 1, not {capacity}\n"
                f"  wrong: Events({capacity})\n"
                f"  right: Events({DEFAULT_CAPACITY})"
            )
        self.capacity: Final = capacity
        self._found: list[tuple[Entry, int]] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to iterate over."""
        return len(self) == 0

    def clear(self) -> None:
        """Forget the events. Each poll does this before it waits."""
        self._found = []

    def fill(self, found: list[tuple[Entry, int]]) -> None:
        """Take the result of a poll. For `Poll`."""
        self._found = found

    def __iter__(self) -> Iterator[Event]:
        for entry, bits in self._found:
            if entry.alive:
                yield Event(entry.token, bits)

    def __len__(self) -> int:
        return sum(entry.alive for entry, _ in self._found)

    def __repr__(self) -> str:
        return f"<Events {len(self)} of {self.capacity}>"
