"""The command `anyio-mio demo`."""

import json
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from anyio_mio._bench.demo import CONNECTIONS, Measurement, measure_demo
from anyio_mio._bench.protocol import MeasurementError
from anyio_mio.cli import report
from anyio_mio.cli.names import backends_option
from anyio_mio.cli.numbers import Count, Number
from anyio_mio.cli.progress import Bar


@click.command()
@backends_option()
@click.option(
    "--seconds",
    type=Number(0.2, 60),
    default=4.0,
    help="Seconds to measure each backend.",
)
@click.option(
    "--connections",
    type=Count(1, 1000),
    default=CONNECTIONS,
    help="Connections at once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_context
def demo(
    context: click.Context, names: list[str], seconds: float, connections: int, as_json: bool
) -> None:
    """Serve bursts of connections on each backend.

    An echo server runs in its own process, on the loopback. A second process opens connections in
    bursts, makes round trips, and compares every byte that it receives. The exit status is 0 only
    if all bytes were right on every backend.
    """
    results, problems = measure_all(names, seconds, connections)
    if as_json:
        click.echo(json.dumps(as_document(results, problems), indent=2))
    else:
        report.show(Console(), results, connections)
    for name, problem in problems.items():
        click.echo(f"anyio-mio demo: {name} failed: {problem}", err=True)
    context.exit(1 if problems else 0)


def measure_all(
    names: list[str], seconds: float, connections: int
) -> tuple[list[Measurement], dict[str, str]]:
    """Measure one backend after the other; on a terminal, a progress bar is on standard error.

    Returns:
        The measurements that succeeded, and by name what was wrong with the others.
    """
    results: list[Measurement] = []
    problems: dict[str, str] = {}
    columns = (TextColumn("{task.description:8}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Bar(*columns, console=console, disable=not console.is_terminal) as progress:
        for name in names:
            bar = progress.add_task(name, total=1.0)

            def advance(done: float, bar: Any = bar) -> None:
                progress.update(bar, completed=done)

            try:
                results.append(measure_demo(name, connections, seconds, advance))
            except MeasurementError as error:
                problems[name] = str(error)
            else:
                advance(1.0)
    return results, problems


def as_document(results: list[Measurement], problems: dict[str, str]) -> dict[str, Any]:
    """Return the figures in the form that `--json` prints."""
    figures = {
        each.backend: {
            "connections_per_second": each.connections_per_second,
            "round_trips_per_second": each.round_trips_per_second,
            "verified_bytes": each.verified_bytes,
            **asdict(each),
        }
        for each in results
    }
    return {"complete": not problems, "backends": figures, "problems": problems}
