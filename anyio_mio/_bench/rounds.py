"""Rounds in which the backends take turns, and their results."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from anyio_mio._bench.measuring import Figures, count_system_calls
from anyio_mio._bench.protocol import MeasurementError
from anyio_mio._bench.rows import Row

COUNTING_SECONDS: Final = 0.5  # a count needs no long run

Report = Callable[[str, str], None]


@dataclass(slots=True)
class Cell:
    """The results of one backend in one row.

    Attributes:
        rounds: The figures of each round.
        system_calls: For each operation, by name; empty where they were not counted.
        problem: Why rounds are missing.
    """

    rounds: list[Figures] = field(default_factory=list)
    system_calls: dict[str, float] = field(default_factory=dict)
    problem: str = ""

    def median(self, figure: str) -> float | None:
        """Return the median of a figure over the rounds; None where the row does not have it."""
        values = self.values(figure)
        return statistics.median(values) if values else None

    def spread(self, figure: str) -> float:
        """Return the largest round less the smallest, as a share of the median."""
        values = self.values(figure)
        middle = statistics.median(values) if values else 0.0
        return (max(values) - min(values)) / middle if middle else 0.0

    def values(self, figure: str) -> list[float]:
        return [each[figure] for each in self.rounds if figure in each]

    def system_calls_each(self) -> float | None:
        """Return all system calls for each operation; None where they were not counted."""
        return sum(self.system_calls.values()) or None

    def as_document(self, figures: list[str]) -> dict[str, Any]:
        """Return the cell in the form that `--json` writes."""
        return {
            "median": {name: self.median(name) for name in figures},
            "spread": {name: self.spread(name) for name in figures},
            "rounds": self.rounds,
            "system_calls": self.system_calls,
            "problem": self.problem,
        }


Cells = dict[str, Cell]


def steps(backends: list[str], rounds: int, row: Row, *, count: bool) -> int:
    """Return how many steps `measure_row()` reports."""
    return len(backends) * (rounds + bool(count and row.drive))


def measure_row(
    row: Row, backends: list[str], rounds: int, seconds: float, report: Report, *, count: bool
) -> Cells:
    """Measure all backends in one row, round by round.

    Args:
        row: What to measure.
        backends: Names that `backends.installed()` gives.
        rounds: How often each is measured; in every other round in the reverse order.
        seconds: How long each measurement takes.
        report: Called before each step with the names of the row and of the backend.
        count: Whether to count system calls too.
    """
    cells = {name: Cell() for name in backends}
    for name in order(backends, rounds):
        report(row.name, name)
        with noting(cells[name]) as cell:
            cell.rounds.append(row.measure(name, seconds))
    if count and row.drive is not None:
        for name in backends:
            report(row.name, name)
            with noting(cells[name]) as cell:
                cell.system_calls = count_system_calls(name, row.drive, COUNTING_SECONDS)
    return cells


def order(backends: list[str], rounds: int) -> Iterator[str]:
    """Yield each backend once in each round, so that none always follows the same one."""
    for number in range(rounds):
        yield from reversed(backends) if number % 2 else backends


@contextmanager
def noting(cell: Cell) -> Iterator[Cell]:
    """Note in the cell why something could not be measured, and go on."""
    try:
        yield cell
    except MeasurementError as problem:
        cell.problem = str(problem)
