"""Tables of results, which a narrow terminal gets as lists."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text


def print_table(console: Console, table: Table) -> None:
    """Print a table; where it does not fit, each of its rows as a list."""
    widest = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    if widest <= console.width:
        console.print(table)
    else:
        print_lists(console, table)


def print_lists(console: Console, table: Table) -> None:
    """Print each row as a list: its first cell, and below it the others with their titles."""
    first, *others = [list(column.cells) for column in table.columns]
    titles = [plain(column.header) for column in table.columns[1:]]
    margin = max(map(len, titles), default=0)
    if table.title:
        console.print(table.title, highlight=False)
    for number, name in enumerate(first):
        console.print(plain(name) or "–", style="bold", highlight=False)
        for title, cells in zip(titles, others, strict=True):
            if value := plain(cells[number]):
                console.print(f"  {title:{margin}}  {value}", highlight=False, markup=False)
    if table.caption:
        console.print(table.caption, highlight=False)


def plain(cell: object) -> str:
    """Return the text of a cell."""
    return cell.plain if isinstance(cell, Text) else str(cell)
