"""How `--help` is laid out: as click does it, and readable on a narrow terminal as well."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Final

import click

WIDEST: Final = 80
NARROW: Final = 60
"""Below so many columns, what an option does stands under its name instead of beside it."""


class HelpFormatter(click.HelpFormatter):
    """Lays a help text out for the terminal; click's own is never narrower than 50 columns."""

    def __init__(
        self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None
    ) -> None:
        if width is None:
            width = max(20, min(shutil.get_terminal_size().columns, max_width or WIDEST) - 2)
        super().__init__(indent_increment, width, max_width)

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write names and what they mean."""
        if self.width >= NARROW:
            super().write_dl(rows, col_max, col_spacing)
            return
        for name, meaning in rows:
            self.write_text(name)
            with self.indentation():
                self.write_text(meaning)


class HelpContext(click.Context):
    """The context of every command."""

    formatter_class = HelpFormatter
