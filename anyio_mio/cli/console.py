"""The commands `anyio-mio tree` and `anyio-mio stats`."""

from __future__ import annotations

import json

import click

from anyio_mio.cli.completion import complete_console
from anyio_mio.console.client import ConsoleClient, NoConsole, find_consoles
from anyio_mio.console.protocol import tree_from_json
from anyio_mio.console.rendering import render_tree

TARGET_HELP = """TARGET is a process ID, the path of a console's socket, or a directory with such
sockets. Without it, all consoles in the default directory are asked. A program has a console if it
was started with ANYIO_MIO_CONSOLE=1, or with a path in place of the 1."""


@click.command(epilog=TARGET_HELP)
@click.argument("target", required=False, shell_complete=complete_console)
@click.option("--stacks/--no-stacks", default=True, help="Print where each task is.")
def tree(target: str | None, stacks: bool) -> None:
    """Print the task trees of running programs."""
    for client in open_all(target):
        with client:
            answer = ask(client, "tree")
        stuck = " (the loop does not answer)" if answer["is_stuck"] else ""
        click.echo(f"{client.path}{stuck}: {render_tree(tree_from_json(answer), stacks=stacks)}")


@click.command(epilog=TARGET_HELP)
@click.argument("target", required=False, shell_complete=complete_console)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def stats(target: str | None, as_json: bool) -> None:
    """Print the figures of running programs."""
    for client in open_all(target):
        with client:
            answer = ask(client, "stats")
        if as_json:
            click.echo(json.dumps({"console": str(client.path), **answer}))
            continue
        click.echo(f"{client.path}:")
        for name, value in answer.items():
            click.echo(f"  {name:<16} {value}")


def open_all(target: str | None) -> list[ConsoleClient]:
    """Connect to each console that the command line means."""
    try:
        return [ConsoleClient(path) for path in find_consoles(target)]
    except NoConsole as error:
        raise click.ClickException(str(error)) from None


def ask(client: ConsoleClient, question: str) -> dict[str, object]:
    """Ask one console."""
    try:
        answer: dict[str, object] = client.ask(question)
    except NoConsole as error:
        raise click.ClickException(str(error)) from None
    return answer
