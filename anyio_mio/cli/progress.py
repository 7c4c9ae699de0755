"""Progress of measurements, on standard error: standard output has only the results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar(Progress):
    """Progress that writes nothing where it is disabled; rich before 14 ends with an empty line."""

    def stop(self) -> None:
        """Take the bar away."""
        if not self.disable:
            super().stop()


class Steps:
    """A bar that counts steps, with what is done at present beside it. Use it in a `with` block.

    Args:
        total: how many steps there are going to be.
    """

    def __init__(self, total: int) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=total)
        self._begun = 0

    def begin(self, what: str, backend: str) -> None:
        """Say which step begins: of what, and on which backend."""
        text = f"{what}: {backend}"
        self._bar.update(self._task, completed=self._begun, description=text)
        self._begun += 1

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the bar away while results are printed, which may go to the same terminal."""
        self._bar.stop()
        yield
        self._bar.start()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
