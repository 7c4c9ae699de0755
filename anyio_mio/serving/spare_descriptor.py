"""A descriptor in reserve, to accept and close a connection when no other one is left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import final


@final
class SpareDescriptor:
    """A descriptor that is closed while it is lent, so that the process can open another one.

    If another thread opens it first, there is nothing to lend until a descriptor is free.
    """

    __slots__ = ("_fd",)

    def __init__(self) -> None:
        self._fd = -1

    def take(self) -> None:
        """Open the descriptor, if the limit allows it."""
        if self._fd < 0:
            with contextlib.suppress(OSError):
                self._fd = os.open(os.devnull, os.O_RDONLY)

    def release(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Close the descriptor for the block, then open it again."""
        self.release()
        try:
            yield
        finally:
            self.take()
