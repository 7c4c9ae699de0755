"""The interest: which directions of a source a registration asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from anyio_mio.poll._sys import bits as bit


@final
@dataclass(frozen=True, slots=True, repr=False)
class Interest:
    """A set of READABLE, WRITABLE and PRIORITY that is never empty.

    Made by combining `Interest.READABLE`, `Interest.WRITABLE` and `Interest.PRIORITY` with ``|``.
    There is no empty interest. To ask for nothing, deregister the source.

    Attributes:
        bits: The readiness bits that the selector is asked for. Reading includes READ_HANGUP, which
            tells whether more bytes of a stream may follow.
    """

    bits: int

    READABLE: ClassVar[Interest]
    WRITABLE: ClassVar[Interest]
    PRIORITY: ClassVar[Interest]

    def __post_init__(self) -> None:
        if not self.bits or self.bits & ~_ALL:
            raise ValueError(
                f"no interest has the bits {self.bits:#x}\n"
                f"  wrong: Interest({self.bits:#x})\n"
                "  right: Interest.READABLE | Interest.WRITABLE"
            )

    def add(self, other: Interest) -> Interest:
        """Return the union of both. ``a | b`` and ``a + b`` are the same."""
        return Interest(self.bits | other.bits)

    __or__ = add
    __add__ = add

    def remove(self, other: Interest) -> Interest | None:
        """Return this interest without `other`, or None if nothing is left."""
        left = self.bits & ~other.bits
        return Interest(left) if left else None

    @property
    def is_readable(self) -> bool:
        """Whether it asks for reading."""
        return bool(self.bits & bit.READABLE)

    @property
    def is_writable(self) -> bool:
        """Whether it asks for writing."""
        return bool(self.bits & bit.WRITABLE)

    @property
    def is_priority(self) -> bool:
        """Whether it asks for out-of-band data. Linux reports it, kqueue does not."""
        return bool(self.bits & bit.PRIORITY)

    def __repr__(self) -> str:
        return " | ".join(name for name, one in _NAMES if self.bits & one.bits == one.bits)


_ALL = bit.READABLE | bit.READ_HANGUP | bit.WRITABLE | bit.PRIORITY

Interest.READABLE = Interest(bit.READABLE | bit.READ_HANGUP)
Interest.WRITABLE = Interest(bit.WRITABLE)
Interest.PRIORITY = Interest(bit.PRIORITY)

_NAMES = (
    ("READABLE", Interest.READABLE),
    ("WRITABLE", Interest.WRITABLE),
    ("PRIORITY", Interest.PRIORITY),
)
