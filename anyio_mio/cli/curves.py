"""The command `anyio-mio curves`."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any, Final

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anyio_mio._bench import machine
from anyio_mio._bench.curves import (
    CURVES,
    SUPERLINEAR,
    Costs,
    Curve,
    draw,
    growth,
    measure_curve,
    sizes,
)
from anyio_mio._bench.resources import raise_descriptor_limit
from anyio_mio._demo.measurement import MeasurementError
from anyio_mio.cli.names import backends_option
from anyio_mio.cli.progress import steps_shown


def made(context: click.Context, parameter: click.Parameter, folder: Path) -> Path:
    """The folder for the figures, made before anything is measured."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"cannot make {folder}: {error.strerror}") from None
    return folder


NUMBERS: Final = "curves.json"


@click.command()
@click.argument("curves", nargs=-1, type=click.Choice([*CURVES]))
@backends_option()
@click.option("--rounds", type=click.IntRange(1, 99), default=3, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.05, 60),
    default=0.5,
    show_default=True,
    help="How long each measurement takes.",
)
@click.option("--most", type=click.IntRange(1), help="Leave out sizes above this.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, writable=True, path_type=Path),
    callback=made,
    default=Path("figures"),
    show_default=True,
    help="The folder for the figures; it is made.",
)
@click.pass_context
def curves(  # noqa: PLR0913 - one for each option of the command line
    context: click.Context,
    curves: tuple[str, ...],
    names: list[str],
    rounds: int,
    seconds: float,
    most: int | None,
    out: Path,
) -> None:
    """Show how costs grow with connections, bursts, payloads, tasks and timers; CURVES or all.

    Each gives a figure NAME.svg; curves.json has the numbers. The exponent says with which power of
    the size the whole cost grows at the end: 1 is linear.
    """
    console = Console(highlight=False)
    document = read_numbers(out / NUMBERS)
    descriptors = raise_descriptor_limit()
    chosen = [CURVES[name] for name in curves or CURVES]
    plan = [(each, up_to(most, sizes(each, descriptors))) for each in chosen]
    total = sum(len(within) * len(names) * rounds for _, within in plan)
    for line in machine.in_words(machine.facts()):
        console.print(line)
    with steps_shown(console, total) as step:
        for curve, within in plan:
            try:
                costs = measure_curve(curve, within, names, rounds, seconds, step)
            except MeasurementError as error:
                raise click.ClickException(f"{curve.name}: {error}") from error
            (out / f"{curve.name}.svg").write_text(draw(curve, costs), encoding="utf-8")
            document[curve.name] = {"machine": machine.facts(), "cpu_us": costs}
            (out / NUMBERS).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            say_growth(console, curve, costs)
    console.print(f"Figures and numbers are in the folder {escape(str(out))}.")


def up_to(most: int | None, within: list[int]) -> list[int]:
    """The sizes that are wanted."""
    return [size for size in within if most is None or size <= most]


def read_numbers(path: Path) -> dict[str, Any]:
    """The numbers of earlier runs: this one's are put beside them."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise click.ClickException(f"{path} has no numbers of curves\n  right: remove it")
    return document


def in_words(exponent: float) -> str:
    """An exponent, in red if costs grow faster than linearly."""
    return f"[red]{exponent:.2f}[/red]" if exponent > SUPERLINEAR else f"{exponent:.2f}"


def say_growth(console: Console, curve: Curve, costs: Costs) -> None:
    """Print the figures of each backend, and how fast its cost grows at the end."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in (curve.below, *costs):
        table.add_column(title, justify="right")
    for size in next(iter(costs.values())):
        figures = (f"{statistics.median(costs[name][size]):,.1f}" for name in costs)
        table.add_row(f"{size:,}", *figures)
    if table.row_count > 1:
        exponents = [growth(curve, by_size) for by_size in costs.values()]
        table.add_section()
        table.add_row("exponent", *map(in_words, exponents))
    console.print(f"\n[bold]{curve.name}[/bold]: {curve.beside}")
    console.print(table)
