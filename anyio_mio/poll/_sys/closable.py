"""The base class of selectors, polls and wakers: a ``with`` block closes them."""

from __future__ import annotations

from abc import abstractmethod
from types import TracebackType
from typing import Self


class Closable:
    """A context manager that closes itself at the end of the block."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Release the descriptors. Safe to call again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
