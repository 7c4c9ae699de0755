"""Numbers on the command line, whose unit and range ``--help`` describes in words.

click writes ``INTEGER RANGE`` and ``1<=x<=256``. These types override a method that click does not
document. If click drops the method, ``--help`` shows click's own form again.
"""

from __future__ import annotations

import math
from typing import Any, final

import click


@final
class Count(click.IntRange):
    """A whole number.

    Args:
        least: the smallest that is allowed.
        most: the largest; None for no limit.
        unit: what is counted, as ``--help`` shows it.
    """

    name = "whole number"

    def __init__(self, least: int, most: int | None = None, unit: str = "N") -> None:
        super().__init__(least, most)
        self.unit = unit

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what stands for the value in ``--help``."""
        return self.unit

    def _describe_range(self) -> str:
        return describe_range(self.min, self.max)


@final
class Number(click.FloatRange):
    """A number that may have a fraction, such as a time.

    Args:
        least: the smallest that is allowed.
        most: the largest.
        unit: what it counts, as ``--help`` shows it.
    """

    name = "number"

    def __init__(self, least: float, most: float, unit: str = "SECONDS") -> None:
        super().__init__(least, most)
        self.unit = unit

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what stands for the value in ``--help``."""
        return self.unit

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; "nan" is none, though no comparison with a range refuses it."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return number

    def _describe_range(self) -> str:
        return describe_range(self.min, self.max)


def describe_range(least: float | None, most: float | None) -> str:
    """Return a range in words."""
    return f"{least} or more" if most is None else f"{least} to {most}"
