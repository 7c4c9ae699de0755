"""Live figures while serving on a terminal."""

from __future__ import annotations

import sys

import anyio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from anyio_mio._supervisor.supervisor import Supervisor

REFRESH_SECONDS = 0.5


def wanted(choice: bool | None) -> bool:
    """Whether to show figures: as chosen, else if standard error is a terminal."""
    return sys.stderr.isatty() if choice is None else choice


async def run(supervisor: Supervisor, show: bool) -> bool:
    """Run the supervisor, with a table of its workers below the log if ``show``."""
    if not show:
        return await supervisor.run()
    async with anyio.create_task_group() as group:
        group.start_soon(refresh, supervisor)
        succeeded = await supervisor.run()
        group.cancel_scope.cancel()
    return succeeded


async def refresh(supervisor: Supervisor) -> None:
    """Draw the table again and again."""
    console = Console(stderr=True)
    with Live(table(supervisor), console=console, auto_refresh=False, transient=True) as view:
        while True:
            await anyio.sleep(REFRESH_SECONDS)
            view.update(table(supervisor), refresh=True)


def table(supervisor: Supervisor) -> Table:
    """One row for each worker's process."""
    found = Table("worker", "pid", "state", "open", "accepted")
    for slot in supervisor.slots:
        for worker in sorted(slot.alive, key=lambda each: each.pid):
            figures = worker.figures
            state = "stopping" if worker.stopping else "serving" if figures else "starting"
            counts = (str(figures.get(name, "")) for name in ("open", "accepted"))
            found.add_row(str(slot.number), str(worker.pid), state, *counts)
    return found
