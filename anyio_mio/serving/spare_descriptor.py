"""A descriptor in reserve, so that even at the limit a connection can be accepted and closed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import final


@final
class SpareDescriptor:
    """While it is lent, the process can open one descriptor more.

    Another thread may be quicker and take it; then there is nothing to lend until one is free.
    """

    __slots__ = ("_fd",)

    def __init__(self) -> None:
        self._fd = -1

    def take(self) -> None:
        """Take a descriptor, if there is one."""
        if self._fd < 0:
            with contextlib.suppress(OSError):
                self._fd = os.open(os.devnull, os.O_RDONLY)

    def release(self) -> None:
        """Give it back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Do without it for a moment."""
        self.release()
        try:
            yield
        finally:
            self.take()
