"""A value or an error: how a task, or a call in another thread, ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Outcome(Generic[T]):
    """The result of a task or a call, for the code that waits for it.

    It can be the owner of a task (`task_done()`), and can store the result of a call (`capture()`).

    Attributes:
        is_done: whether it has ended.
        value: what it returned.
        error: what it raised; None if it returned.
    """

    __slots__ = ("error", "is_done", "value")

    def __init__(self) -> None:
        self.is_done: bool = False
        self.value: T | None = None
        self.error: BaseException | None = None

    def task_done(self, task: Any, value: Any, error: BaseException | None, /) -> None:
        """Store how a task ended."""
        self.is_done = True
        self.value, self.error = value, error
        del error, value

    def capture(self, function: Callable[..., T], *args: Any) -> None:
        """Call a function, and store what it returns or raises."""
        try:
            self.value = function(*args)
        except BaseException as error:
            self.error = error
        self.is_done = True

    def done(self) -> bool:
        """Return whether it has ended."""
        return self.is_done

    def drop(self) -> None:
        """Drop the value and the error, whose traceback holds this object: no code waits."""
        self.value = self.error = None

    def unwrap(self) -> T:
        """Return the value or raise the error, and drop it."""
        value, error = self.value, self.error
        self.value = self.error = None
        try:
            if error is not None:
                raise error
            return value  # type: ignore[return-value]
        finally:
            del value, error, self  # a frame of the error's traceback would hold them


def holds(error: BaseException | None, other: BaseException) -> bool:
    """Return whether an error is the other one, or a group that contains it."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(lambda each: each is other) is not None
    return error is other
