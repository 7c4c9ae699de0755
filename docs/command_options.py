"""Writes what `anyio-mio` takes into the page docs/reference/command-line.md.

    python docs/command_options.py

tests/docs/test_command_options.py fails where the page is older than the command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from anyio_mio.cli.group import SETTINGS, group

PAGE = Path(__file__).parent / "reference" / "command-line.md"
PART = re.compile(
    r"(?P<begin><!-- options of (?P<name>\w+): begin -->\n)"
    r".*?"
    r"(?P<end><!-- options of \w+: end -->)",
    re.DOTALL,
)


def write(text: str) -> str:
    """Return the page with the tables of today's commands in their places."""
    return PART.sub(
        lambda match: match["begin"] + table(group.commands[match["name"]]) + match["end"], text
    )


def table(command: click.Command) -> str:
    """Return the usage of a command and a table of its options, as Markdown."""
    context = click.Context(command, info_name=f"anyio-mio {command.name}", **SETTINGS)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = ["", f"`anyio-mio {command.name} {usage}`".replace("|", "\\|"), ""]
    rows = [row(option, context) for option in options(command)]
    if rows:
        lines += ["| option | default | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines) + "\n"


def options(command: click.Command) -> Iterator[click.Option]:
    """Return the options in the order of the help text."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            yield parameter


def row(option: click.Option, context: click.Context) -> str:
    """Return the table's row of an option."""
    is_choice = isinstance(option.type, click.Choice)  # its values are in the last column
    value = "" if option.is_flag or is_choice else f" {option.make_metavar(context)}"
    names = ", ".join(f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts))
    if not option.is_flag and is_choice:
        values = ", ".join(f"`{choice}`" for choice in option.type.choices)
        about = f"{option.help} One of {values}."
    else:
        about = f"{option.help}{limits(option)}"
    cells = (names, default(option, context), about.replace("*", "\\*").replace("|", "\\|"))
    return f"| {' | '.join(cells)} |"


def limits(option: click.Option) -> str:
    """Return the range of a number, in words."""
    if not isinstance(option.type, click.IntRange | click.FloatRange):
        return ""
    least, most = option.type.min, option.type.max
    if most is None:
        return f" At least {least}."
    return f" From {least} to {most}."


def default(option: click.Option, context: click.Context) -> str:
    """Return what holds without the option."""
    if isinstance(option.show_default, str):
        return option.show_default
    value = option.get_default(context, call=True)
    if option.secondary_opts:
        return f"`{(option.opts if value else option.secondary_opts)[0]}`"
    if option.is_flag or value == "" or not isinstance(value, str | int | float):
        return ""
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(write(PAGE.read_text()))
