"""The output of `anyio-mio bench`: the method first, then each row when it is measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from anyio_mio._bench import machine
from anyio_mio._bench.rounds import Cell, Cells
from anyio_mio._bench.rows import Row
from anyio_mio.cli.tables import print_table

METHOD: Final = """\
Each server and each load is a process on a processor of its own where there are two; backends \
take turns through {rounds} rounds of {seconds:g} s, and medians are shown. × is the cost on a \
backend divided by the first one's; "spread" is the distance between the best and the worst \
round, and what differs by less says nothing. Rates depend on the load, which is Python too. Not \
shown: networks, other machines, your program's own work."""

# Each column: its title, how to read it from a cell, how to write it.
Column = tuple[str, Callable[[Cell], float | None], str]
COLUMNS: Final[tuple[Column, ...]] = (
    ("CPU, µs", lambda cell: cell.median("cpu_us"), "{:,.2f}"),
    ("bytes", lambda cell: cell.median("bytes"), "{:,.0f}"),
    ("share", lambda cell: cell.median("beside"), "{:.2f}"),
    ("/ s", lambda cell: cell.median("rate"), "{:,.0f}"),
    ("connections / s", lambda cell: cell.median("connections"), "{:,.0f}"),
    ("p50, µs", lambda cell: cell.median("p50_us"), "{:,.0f}"),
    ("p95, µs", lambda cell: cell.median("p95_us"), "{:,.0f}"),
    ("p99, µs", lambda cell: cell.median("p99_us"), "{:,.0f}"),
    ("sleeps", lambda cell: cell.median("sleeps"), "{:.3f}"),
    ("syscalls", Cell.system_calls_each, "{:.2f}"),
)


def show_method(console: Console, facts: dict[str, Any], rounds: int, seconds: float) -> None:
    """Print what has to be known before any figure."""
    console.print(METHOD.format(rounds=rounds, seconds=seconds), highlight=False)
    for line in machine.in_words(facts):
        console.print(line, highlight=False)


def show_row(console: Console, row: Row, cells: Cells) -> None:
    """Print a row of the benchmark as a table of the backends."""
    console.print()
    console.print(f"[bold]{row.name}[/bold]: {row.what}", highlight=False)
    print_table(console, side_by_side(row, cells))
    for name, cell in cells.items():
        if cell.problem:
            console.print(f"{name}: {cell.problem}", style="red", highlight=False)


def side_by_side(row: Row, cells: Cells) -> Table:
    """Return the backends below each other, with what this row measures."""
    columns = [
        each for each in COLUMNS if any(each[1](cell) is not None for cell in cells.values())
    ]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("", *(title for title, _, _ in columns), "spread", "×"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    compared = multiples(row, cells)
    for name, cell in cells.items():
        values = ((read(cell), form) for _, read, form in columns)
        figures = ["–" if value is None else form.format(value) for value, form in values]
        multiple = f"{compared[name]:.2f}" if name in compared else "–"
        table.add_row(name, *figures, f"{cell.spread(row.figure):.0%}", multiple)
    return table


def multiples(row: Row, cells: Cells) -> dict[str, float]:
    """Return how many times the first backend's cost each of the others is."""
    medians = {name: cell.median(row.figure) for name, cell in cells.items()}
    first = next(iter(medians.values()))
    return {name: value / first for name, value in medians.items() if value and first}


def show_summary(console: Console, rows: list[Row], results: dict[str, Cells]) -> None:
    """Print the geometric means over all rows that every backend has."""
    compared = [multiples(row, results[row.name]) for row in rows]
    names = list(next(iter(results.values())))
    whole = [each for each in compared if len(each) == len(names)]
    if len(whole) < 2 or len(names) < 2:
        return
    means = (
        f"{name} {statistics.geometric_mean(each[name] for each in whole):.2f}" for name in names
    )
    console.print(
        f"\nGeometric mean of × over {len(whole)} rows: {', '.join(means)}", highlight=False
    )


def catalogue(rows: list[Row]) -> Table:
    """Return what the rows measure."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("group", "row", "operation"):
        table.add_column(title)
    for row in rows:
        table.add_row(row.group, row.name, row.what)
    return table
