"""Measure how the cost of an operation grows with connections, bursts, payloads, tasks, timers.

    python -m benchmarks.curves [CURVES] [--out FOLDER]      # from the checkout's folder

Each curve gives a figure NAME.svg; curves.json has the numbers.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anyio_mio._bench import machine
from anyio_mio._bench.inside import measure_program
from anyio_mio._bench.measuring import measure
from anyio_mio._bench.processes import Drive
from anyio_mio._bench.protocol import MeasurementError
from anyio_mio._bench.resources import raise_descriptor_limit
from anyio_mio._bench.rounds import Report, order
from anyio_mio.cli.names import backends_option
from anyio_mio.cli.progress import Steps
from benchmarks.plot import Line, line_chart

NUMBERS: Final = "curves.json"
CROWDS: Final = "benchmarks.crowds"
SUPERLINEAR: Final = 1.15  # n log n has about 1.1 between 10,000 and 100,000
OTHERS: Final = 200  # descriptors that a process needs for other things


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve: the cost of an operation at several sizes.

    Attributes:
        name: Its name on the command line, and of the figure's file.
        title: The figure's title.
        below: The label of the size.
        beside: The label of the cost.
        points: The sizes.
        measure: A function of the backend, the size and the seconds to take. It returns the
            processor time of an operation in microseconds.
        amount: A function from the size to the work of one operation; 1 if that is constant.
        descriptors: Whether each unit of size takes a descriptor.
    """

    name: str
    title: str
    below: str
    beside: str
    points: tuple[int, ...]
    measure: Callable[[str, int, float], float]
    amount: Callable[[int], float] = lambda size: 1.0
    descriptors: bool = False


def connections(backend: str, size: int, seconds: float) -> float:
    return measure(backend, Drive("tcp", size), seconds)["cpu_us"]


def bursts(backend: str, size: int, seconds: float) -> float:
    return measure(backend, Drive("bursts", size), seconds)["cpu_us"]


def payloads(backend: str, size: int, seconds: float) -> float:
    return measure(backend, Drive("tcp", 10, size), seconds)["cpu_us"]


def tasks(backend: str, size: int, seconds: float) -> float:
    return measure_program(backend, "crowd", seconds, size, CROWDS)["cpu_us"]


def timers(backend: str, size: int, seconds: float) -> float:
    return measure_program(backend, "timers", seconds, size, CROWDS)["cpu_us"]


CPU: Final = "CPU time, µs"
DECADES: Final = (1, 10, 100, 1_000, 10_000, 100_000)

CURVES: Final[dict[str, Curve]] = {
    curve.name: curve
    for curve in (
        Curve(
            "connections",
            "A round trip of 64 bytes beside others like it",
            "connections, all of them busy",
            f"{CPU} of the server for each round trip",
            (1, 4, 16, 64, 256, 1_000, 2_000, 4_000, 8_000),
            connections,
            descriptors=True,
        ),
        Curve(
            "bursts",
            "A connection of one round trip, in bursts",
            "connections opened at once",
            f"{CPU} of the server for each connection",
            (1, 4, 16, 64, 256, 1_024, 4_096),
            bursts,
            descriptors=True,
        ),
        Curve(
            "payloads",
            "A round trip of larger and larger payloads, 10 connections",
            "bytes",
            f"{CPU} of the server for each round trip",
            tuple(64 << shift for shift in range(0, 15, 2)),
            payloads,
            amount=float,
        ),
        Curve("tasks", "A task that waits beside others", "tasks", CPU, DECADES, tasks),
        Curve("timers", "A task with a timer beside others", "timers", CPU, DECADES, timers),
    )
}

Costs = dict[str, dict[int, list[float]]]


def sizes(curve: Curve, descriptors: int) -> list[int]:
    """Return the sizes for which this process may have enough descriptors."""
    fit = [size for size in curve.points if size + OTHERS <= descriptors]
    return fit if curve.descriptors else list(curve.points)


def measure_curve(
    curve: Curve,
    within: list[int],
    backends: list[str],
    rounds: int,
    seconds: float,
    report: Report,
) -> Costs:
    """Measure all backends at all sizes, taking turns.

    Returns:
        By backend and by size, the processor time of an operation in each round.
    """
    costs: Costs = {name: {size: [] for size in within} for name in backends}
    for size in within:
        for name in order(backends, rounds):
            report(f"{curve.name} {size:,}", name)
            costs[name][size].append(curve.measure(name, size, seconds))
    return costs


def draw(curve: Curve, costs: Costs) -> str:
    """The figure, as SVG."""
    lines = [
        Line(name, [(float(size), statistics.median(all_)) for size, all_ in by_size.items()])
        for name, by_size in costs.items()
    ]
    return line_chart(curve.title, curve.below, curve.beside, lines)


def growth(curve: Curve, costs: dict[int, list[float]]) -> float:
    """Return the exponent with which the total cost grows with the size at the end; 1 is linear.

    It is computed from the last size and the size that is nearest to a tenth of it.
    """
    last = max(costs)
    tenth = min(costs, key=lambda size: abs(math.log(size * 10 / last)))
    if tenth == last:
        return 1.0
    ratio = statistics.median(costs[last]) / statistics.median(costs[tenth])
    more = last / tenth
    work = more * curve.amount(tenth) / curve.amount(last)
    return math.log(ratio * work) / math.log(more)


def make_folder(context: click.Context, parameter: click.Parameter, folder: Path) -> Path:
    """Make the folder for the figures, before anything is measured."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"cannot make {folder}: {error.strerror}") from None
    return folder


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
    callback=make_folder,
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

    Each makes a figure NAME.svg; curves.json has the numbers. The exponent says how the total cost
    grows with the size at the end: 1 is linear.
    """
    console = Console(highlight=False)
    document = read_numbers(out / NUMBERS)
    descriptors = raise_descriptor_limit()
    chosen = [CURVES[name] for name in curves or CURVES]
    plan = [(each, up_to(most, sizes(each, descriptors))) for each in chosen]
    total = sum(len(within) * len(names) * rounds for _, within in plan)
    for line in machine.in_words(machine.facts()):
        console.print(line)
    with Steps(total) as progress:
        for curve, within in plan:
            try:
                costs = measure_curve(curve, within, names, rounds, seconds, progress.begin)
            except MeasurementError as error:
                raise click.ClickException(f"{curve.name}: {error}") from error
            (out / f"{curve.name}.svg").write_text(draw(curve, costs), encoding="utf-8")
            document[curve.name] = {"machine": machine.facts(), "cpu_us": costs}
            (out / NUMBERS).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            with progress.hidden():
                say_growth(console, curve, costs)
    console.print(f"Figures and numbers are in the folder {escape(str(out))}.")


def up_to(most: int | None, within: list[int]) -> list[int]:
    """The sizes that are wanted."""
    return [size for size in within if most is None or size <= most]


def read_numbers(path: Path) -> dict[str, Any]:
    """Return the numbers of earlier runs, to add new ones to them."""
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
    """Return an exponent, in red if costs grow faster than linearly."""
    return f"[red]{exponent:.2f}[/red]" if exponent > SUPERLINEAR else f"{exponent:.2f}"


def say_growth(console: Console, curve: Curve, costs: Costs) -> None:
    """Print the figures of each backend, and the exponent of its growth."""
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


if __name__ == "__main__":
    curves()
