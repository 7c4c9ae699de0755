"""The command `anyio-mio bench`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from anyio_mio._bench import machine
from anyio_mio._bench.resources import raise_descriptor_limit
from anyio_mio._bench.rounds import Cells, measure_row, steps
from anyio_mio._bench.rows import ROWS, Row, choose
from anyio_mio._bench.system_calls import can_count
from anyio_mio.cli import bench_table
from anyio_mio.cli.completion import complete_row
from anyio_mio.cli.names import backends_option
from anyio_mio.cli.numbers import Count, Number
from anyio_mio.cli.progress import Steps

WRITABLE_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


def can_be_written(
    context: click.Context, parameter: click.Parameter, path: Path | None
) -> Path | None:
    """Open the file once before a measurement of minutes, so that its result is not lost."""
    if path is not None:
        existed = path.exists()
        try:
            path.open("a").close()
        except OSError as error:
            raise click.BadParameter(f"cannot write {path}: {error.strerror}") from None
        if not existed:
            path.unlink()
    return path


def output_option(name: str, *, what: str) -> Callable[[Any], Any]:
    """Return an option for a file to write; the command's function gets it as `NAME_file`."""
    return click.option(
        f"--{name}", f"{name}_file", type=WRITABLE_FILE, callback=can_be_written, help=what
    )


def chosen_rows(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> list[Row]:
    """Return the rows of these names."""
    try:
        return choose(given)
    except LookupError as error:
        groups = dict.fromkeys(row.group for row in ROWS)
        raise click.BadParameter(
            f"there is no row {error.args[0]}\n"
            f"  right, a group: anyio-mio bench {' '.join(groups)}\n"
            f"  right, rows:    anyio-mio bench {' '.join(row.name for row in ROWS)}"
        ) from None


@click.command()
@click.argument("rows", nargs=-1, callback=chosen_rows, shell_complete=complete_row)
@backends_option()
@click.option("--rounds", type=Count(1, 99), default=3, help="Rounds; the median is shown.")
@click.option(
    "--seconds",
    type=Number(0.05, 60),
    default=1.0,
    help="Seconds that each measurement takes.",
)
@click.option(
    "--syscalls/--no-syscalls",
    default=None,
    show_default="if strace is installed",
    help="Count system calls, in a separate run.",
)
@output_option("json", what="File to which all figures are written.")
@click.option("--list", "only_list", is_flag=True, help="List the rows and exit.")
@click.pass_context
def bench(  # noqa: PLR0913 - one for each option of the command line
    context: click.Context,
    rows: list[Row],
    names: list[str],
    rounds: int,
    seconds: float,
    syscalls: bool | None,
    json_file: Path | None,
    only_list: bool,
) -> None:
    """Measure the cost of operations on each backend.

    ROWS are rows or groups of rows; --list shows them. By default all rows are measured.

    The backends take turns in each round, and the median is shown. The ratios compare the server's
    processor time for an operation, because rates depend on the load too.
    """
    console = Console()
    if only_list:
        console.print(bench_table.catalogue(rows))
        return
    count = can_count() if syscalls is None else syscalls
    if count and not can_count():
        raise click.UsageError("--syscalls needs strace\n  right: apt install strace")
    raise_descriptor_limit()
    facts = machine.facts()
    bench_table.show_method(console, facts, rounds, seconds)
    results = measure_all(console, rows, names, rounds, seconds, count=count)
    if json_file:
        document = as_document(facts, rows, results, {"rounds": rounds, "seconds": seconds})
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    problems = [cell.problem for cells in results.values() for cell in cells.values()]
    context.exit(1 if any(problems) else 0)


def measure_all(
    console: Console, rows: list[Row], names: list[str], rounds: int, seconds: float, *, count: bool
) -> dict[str, Cells]:
    """Measure row by row, and show each as soon as it is done."""
    total = sum(steps(names, rounds, row, count=count) for row in rows)
    results: dict[str, Cells] = {}
    with Steps(total) as progress:
        for row in rows:
            cells = measure_row(row, names, rounds, seconds, progress.begin, count=count)
            results[row.name] = cells
            with progress.hidden():
                bench_table.show_row(console, row, cells)
    bench_table.show_summary(console, rows, results)
    return results


def as_document(
    facts: dict[str, Any], rows: list[Row], results: dict[str, Cells], options: dict[str, float]
) -> dict[str, Any]:
    """Return everything in the form that `--json` writes."""
    documents = {}
    for row in rows:
        cells = results[row.name]
        figures = sorted({key for cell in cells.values() for each in cell.rounds for key in each})
        documents[row.name] = {
            "what": row.what,
            "compared_by": row.figure,
            "backends": {name: cell.as_document(figures) for name, cell in cells.items()},
        }
    return {"machine": facts, "options": options, "rows": documents}
