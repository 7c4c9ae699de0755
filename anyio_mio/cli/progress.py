"""Progress of a measurement that consists of many short steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def steps_shown(console: Console, total: int) -> Iterator[Callable[[str, str], None]]:
    """Show a bar that counts steps, with what is done at present beside it.

    Args:
        console: Where it is shown.
        total: How many steps there are going to be.

    Yields:
        A function that says which step begins: of what, and on which backend.
    """
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    begun = 0
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)

        def step(what: str, backend: str) -> None:
            nonlocal begun
            progress.update(task, completed=begun, description=f"{what}: {backend}")
            begun += 1

        yield step
