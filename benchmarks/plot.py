"""Charts as SVG, without a library.

A chart has its own background, and its colours follow the reader's light or dark scheme, so it is
legible on any page. The names stand beside their lines, so colour is never the only difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 760
HEIGHT: Final = 420
LEFT, RIGHT, TOP, BOTTOM = 64, 96, 56, 56
LABEL_HEIGHT: Final = 15  # pixels between two names, at the least
BAR: Final = 12  # pixels

STYLE: Final = """
  svg { --paper: #ffffff; --ink: #1f2328; --faint: #d0d7de;
        --c0: #c2410c; --c1: #1668b3; --c2: #22803f; --c3: #7d4cb0; --c4: #57606a; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #14171c; --ink: #e6edf3; --faint: #3a424d;
          --c0: #ff9b5e; --c1: #6cb6ff; --c2: #6fd08c; --c3: #c9a0f5; --c4: #9aa4af; } }
  text { font: 12px system-ui, sans-serif; fill: var(--ink); }
  .small { font-size: 10px; }
  .title { font-size: 15px; font-weight: 600; }
  .paper { fill: var(--paper); } .grid { stroke: var(--faint); stroke-width: 1; }
  .line { fill: none; stroke-width: 2; } .first { stroke-width: 3; }
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes:
        name: The text beside it.
        points: From left to right; both coordinates are greater than 0.
    """

    name: str
    points: list[tuple[float, float]]


class Axis:
    """A logarithmic axis.

    Args:
        values: The values to show, all greater than 0.
        start: The pixel of the smallest.
        end: The pixel of the largest.
    """

    def __init__(self, values: list[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        if low == high:
            low, high = low / 2, high * 2
        self.low, self.high = low, high
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        """The pixel of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self) -> list[float]:
        """Return round numbers on it: powers of ten if enough, else 1, 2 and 5 of each."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1,), (1, 2, 5)):
            found = [f * 10.0**d for d in decades for f in factors]
            found = [each for each in found if self.low * 0.999 <= each <= self.high * 1.001]
            if len(found) >= 4:
                break
        return found


def short(number: float) -> str:
    """Return a number in a few characters: 0.5, 20, 4k, 1M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return f"{number:.3g}"


def text(x: float, y: float, content: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(content)}</text>'


def document(height: float, title: str, parts: Iterator[str]) -> str:
    """A whole file around the parts of a chart."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f'<rect class="paper" width="{WIDTH}" height="{height:g}"/>'
    )
    heading = text(LEFT, 24, title, more=' class="title"')
    return "\n".join([head, heading, *parts, "</svg>\n"])


def line_chart(title: str, below: str, beside: str, lines: list[Line]) -> str:
    """Return a chart with two logarithmic axes.

    Args:
        title: The title.
        below: The label of the horizontal axis.
        beside: The label of the vertical axis.
        lines: The first is the one that matters.
    """
    across = Axis([x for line in lines for x, _ in line.points], LEFT, WIDTH - RIGHT)
    heights = [y for line in lines for _, y in line.points]
    up = Axis([min(heights) * 0.8, max(heights) * 1.2], HEIGHT - BOTTOM, TOP)
    parts = [*grid(across, up), text(LEFT - 40, 44, beside)]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, below, "middle"))
    parts.extend(curve(number, line, across, up) for number, line in enumerate(lines))
    parts.extend(names(lines, up))
    return document(HEIGHT, title, iter(parts))


def grid(across: Axis, up: Axis) -> Iterator[str]:
    """The thin lines and the numbers at their ends."""
    for tick in across.ticks():
        x = across.place(tick)
        yield f'<path class="grid" d="M{x} {TOP}V{HEIGHT - BOTTOM}"/>'
        yield text(x, HEIGHT - BOTTOM + 18, short(tick), "middle")
    for tick in up.ticks():
        y = up.place(tick)
        yield f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>'
        yield text(LEFT - 8, y + 4, short(tick), "end")


def curve(number: int, line: Line, across: Axis, up: Axis) -> str:
    """One line with a dot at each point."""
    places = [(across.place(x), up.place(y)) for x, y in line.points]
    path = "M" + "L".join(f"{x} {y}" for x, y in places)
    colour = f"var(--c{number % 5})"
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places)
    kind = "line first" if number == 0 else "line"
    return f'<path class="{kind}" stroke="{colour}" d="{path}"/>{dots}'


def names(lines: list[Line], up: Axis) -> Iterator[str]:
    """Return the lines' names at their right ends, with space between them."""
    ends = sorted((up.place(line.points[-1][1]), number) for number, line in enumerate(lines))
    lowest = float(TOP)
    for y, number in ends:
        lowest = max(y, lowest)
        style = f' style="fill: var(--c{number % 5})"'
        yield text(WIDTH - RIGHT + 10, lowest + 4, lines[number].name, more=style)
        lowest += LABEL_HEIGHT


def bar_chart(title: str, rows: list[tuple[str, dict[str, float]]]) -> str:
    """Return a chart of bars: each backend's figure as a multiple of the first one's.

    Args:
        title: The title.
        rows: The name of each row, and by backend its multiple of the first backend's figure.
    """
    room = WIDTH - 2 * LEFT - RIGHT
    widest = max((value for _, values in rows for value in values.values()), default=1.0)
    bars = [len(values) for _, values in rows]
    height = TOP + sum(count * BAR + 14 for count in bars) + 10
    return document(height, title, all_bars(rows, room / max(widest, 1.0)))


def all_bars(rows: list[tuple[str, dict[str, float]]], unit: float) -> Iterator[str]:
    """The rows of bars, from the top down."""
    backends = list(dict.fromkeys(name for _, values in rows for name in values))
    for number, name in enumerate(backends):
        style = f' style="fill: var(--c{number % 5}); font-weight: 600"'
        yield text(2 * LEFT + 90 * number, 44, name, more=style)
    y = float(TOP)
    for name, values in rows:
        yield text(2 * LEFT - 8, y + len(values) * BAR / 2 + 4, name, "end")
        for backend, value in values.items():
            colour = f"var(--c{backends.index(backend) % 5})"
            width = round(value * unit, 1)
            where = f'x="{2 * LEFT}" y="{y:g}" width="{width}" height="{BAR - 2}"'
            yield f'<rect {where} fill="{colour}"/>'
            yield text(2 * LEFT + width + 4, y + BAR - 2, f"{value:.2f}", more=' class="small"')
            y += BAR
        y += 14
