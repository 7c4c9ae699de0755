"""A live table of the workers on the terminal, below the log."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

import anyio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from anyio_mio._supervisor.log import Log
from anyio_mio._supervisor.supervisor import Supervisor
from anyio_mio._supervisor.writer import text_file

REFRESH_SECONDS = 0.5


Task: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


async def run(supervisor: Supervisor, log: Log, show: bool, beside: Sequence[Task] = ()) -> bool:
    """Run the supervisor, with a table of its workers below the log if ``show``.

    Args:
        supervisor: keeps the workers.
        log: the log of its events.
        show: whether the table is shown.
        beside: a function that runs beside it, and is cancelled when it has ended.
    """
    async with anyio.create_task_group() as group:
        for task in beside:
            group.start_soon(task)
        succeeded = await run_shown(supervisor, log, show)
        group.cancel_scope.cancel()
    return succeeded


async def run_shown(supervisor: Supervisor, log: Log, show: bool) -> bool:
    """Run the supervisor, with the table if ``show``."""
    if not show:
        return await supervisor.run()
    file = text_file(log.writer, 2)
    console = Console(file=file, force_terminal=sys.stderr.isatty(), highlight=False)
    view = Live(
        table(supervisor),
        console=console,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with view:
        log.print = lambda line: console.print(line, markup=False, soft_wrap=True)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(refresh, supervisor, view)
                succeeded = await supervisor.run()
                group.cancel_scope.cancel()
        finally:
            log.print = log.write
            view.update(table(supervisor), refresh=True)
    return succeeded


async def refresh(supervisor: Supervisor, view: Live) -> None:
    """Draw the table again and again."""
    while True:
        view.update(table(supervisor), refresh=True)
        await anyio.sleep(REFRESH_SECONDS)


def table(supervisor: Supervisor) -> Table:
    """Return one row for each worker's process."""
    found = Table("worker", "pid", "state", "open", "accepted")
    for slot in supervisor.slots:
        for worker in sorted(slot.shown(), key=lambda each: each.pid):
            figures = worker.figures
            counts = (str(figures.get(name, "")) for name in ("open", "accepted"))
            found.add_row(str(slot.number), str(worker.pid), worker.phase.value, *counts)
    return found
