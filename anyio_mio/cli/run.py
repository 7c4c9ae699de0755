"""The command `anyio-mio run`."""

from __future__ import annotations

import json

import click

import anyio_mio
from anyio_mio._supervisor.target import TargetError, load_function, refuse_arguments
from anyio_mio.console import tree_on_signal


@click.command()
@click.argument("target")
@click.argument("arguments", nargs=-1)
@click.option("--selector", type=click.Choice(["epoll", "kqueue", "level"]), help="For tests.")
@click.option("--strict", is_flag=True, help="Every checkpoint yields.")
@click.pass_context
def run(
    context: click.Context,
    target: str,
    arguments: tuple[str, ...],
    selector: str | None,
    strict: bool,
) -> None:
    """Run the async function TARGET (module:function) on mio, with ARGUMENTS as strings.

    What it returns is printed as JSON if it is not None. SIGUSR1 prints the task tree.
    """
    try:
        function = load_function(target)
        refuse_arguments(function, target, arguments)
    except TargetError as error:
        raise click.UsageError(str(error)) from None
    options: dict[str, str] = {"checkpoints": "strict"} if strict else {}
    if selector is not None:
        options["selector"] = selector
    try:
        with tree_on_signal():
            result = anyio_mio.run(function, *arguments, **options)
    except KeyboardInterrupt:
        context.exit(130)
    if result is not None:
        click.echo(json.dumps(result, default=str))
