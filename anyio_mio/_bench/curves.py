"""How costs grow: the same operation with more and more of something around it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from anyio_mio._bench.inside import measure_program
from anyio_mio._bench.measuring import Drive, measure
from anyio_mio._bench.plot import Line, line_chart
from anyio_mio._bench.rounds import Report, order

SUPERLINEAR: Final = 1.15  # n log n has about 1.1 between 10,000 and 100,000
OTHERS: Final = 200  # descriptors that a process needs for other things


@dataclass(frozen=True, slots=True)
class Curve:
    """One way to grow.

    Attributes:
        name: As the command line has it; the figure's file is named after it.
        title: What the figure shows.
        below: What grows.
        beside: What is measured.
        points: The sizes.
        measure: Gives the processor time of an operation in microseconds, from the backend, the
            size and how many seconds to take.
        amount: How much work one operation is, from the size; 1 unless it grows along.
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
    return measure_program(backend, "crowd", seconds, size)["cpu_us"]


def timers(backend: str, size: int, seconds: float) -> float:
    return measure_program(backend, "timers", seconds, size)["cpu_us"]


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
    """The sizes that this process may have descriptors for."""
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
    """With which power of the size the whole cost grows at the end; 1 is linear.

    It is taken between the last size and the one that is nearest to a tenth of it.
    """
    last = max(costs)
    tenth = min(costs, key=lambda size: abs(math.log(size * 10 / last)))
    if tenth == last:
        return 1.0
    ratio = statistics.median(costs[last]) / statistics.median(costs[tenth])
    more = last / tenth
    work = more * curve.amount(tenth) / curve.amount(last)
    return math.log(ratio * work) / math.log(more)
