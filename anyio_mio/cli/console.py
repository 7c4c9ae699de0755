"""The commands `anyio-mio tree` and `anyio-mio stats`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import click

from anyio_mio.cli.completion import complete_console
from anyio_mio.console.client import ConsoleClient, NoConsole, find_consoles
from anyio_mio.console.rendering import printable, render_tree

T = TypeVar("T")

TARGET_HELP = """TARGET is a process ID, the path of a console's socket, or a directory with such
sockets. The process ID of a server stands for its workers too. Without a TARGET, all consoles in
the default directory are asked. A program has a console if it was started with ANYIO_MIO_CONSOLE=1,
or with a path in place of the 1."""


@click.command(epilog=TARGET_HELP)
@click.argument("target", required=False, shell_complete=complete_console)
@click.option("--stacks/--no-stacks", default=True, help="Print the stack of each task.")
def tree(target: str | None, stacks: bool) -> None:
    """Print the task trees of running programs."""
    for path, (found, is_stuck) in ask_all(target, ConsoleClient.tree):
        stuck = " (the loop does not answer)" if is_stuck else ""
        click.echo(f"{path}{stuck}: {render_tree(found, stacks=stacks)}")


@click.command(epilog=TARGET_HELP)
@click.argument("target", required=False, shell_complete=complete_console)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def stats(target: str | None, as_json: bool) -> None:
    """Print the figures of running programs."""
    for path, answer in ask_all(target, ConsoleClient.stats):
        if as_json:
            click.echo(json.dumps({"console": str(path), **answer}))
            continue
        click.echo(f"{path}:")
        for name, value in answer.items():
            click.echo(printable(f"  {name:<16} {value}"))


def ask_all(target: str | None, question: Callable[[ConsoleClient], T]) -> Iterator[tuple[Path, T]]:
    """Ask each console that the command line names; yield its place and its answer.

    If a console does not answer, write a line to standard error and ask the next one.

    Raises:
        click.ClickException: there is no console.
        click.exceptions.Exit: at the end, if a console did not answer.
    """
    try:
        paths = find_consoles(target)
    except NoConsole as error:
        raise click.ClickException(printable(str(error))) from None
    failed = False
    for path in paths:
        try:
            with ConsoleClient(path) as client:
                answer = question(client)
        except NoConsole as error:
            failed = True
            click.echo(printable(f"Error: {error}"), err=True)
        else:
            yield path, answer
    if failed:
        raise click.exceptions.Exit(1)
