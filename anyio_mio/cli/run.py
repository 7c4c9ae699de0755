"""The command `anyio-mio run`."""

from __future__ import annotations

import json
from typing import Any

import click

import anyio_mio
from anyio_mio import RunOptions
from anyio_mio._supervisor.target import TargetError, in_one_line, load_function, refuse_arguments
from anyio_mio.cli.completion import complete_function
from anyio_mio.cli.observing_options import run_options, take_run_options
from anyio_mio.console import observe_runs, tree_on_signal
from anyio_mio.poll import available_selectors


@click.command()
@click.argument("target", shell_complete=complete_function)
@click.argument("arguments", nargs=-1)
@click.option(
    "--selector",
    type=click.Choice(available_selectors()),
    show_default="the best one here",
    help="How to wait for sockets.",
)
@click.option("--strict", is_flag=True, help="Yield at every checkpoint, without a budget.")
@click.option("--console", metavar="PATH", help="Open a console at PATH for top, tree and stats.")
@run_options
def run(
    target: str,
    arguments: tuple[str, ...],
    selector: str | None,
    strict: bool,
    console: str | None,
    **given: Any,
) -> None:
    """Run an async function on mio.

    TARGET is module:function; it gets ARGUMENTS, as strings. Its result is printed as JSON
    unless it is None. SIGUSR1 prints the task tree.
    """
    options: RunOptions = {**take_run_options(given)}  # type: ignore[typeddict-item]
    if strict:
        options["checkpoints"] = "strict"
    if selector is not None:
        options["selector"] = selector
    try:
        function = load_function(target)
        refuse_arguments(function, target, arguments)
    except TargetError as error:
        raise click.UsageError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - a module may raise anything while it is imported
        raise click.ClickException(f"cannot import {target}: {in_one_line(error)}") from None
    if console is not None:
        observe_runs(console)
    with tree_on_signal():
        result = anyio_mio.run(function, *arguments, **options)
    if result is not None:
        click.echo(json.dumps(result, default=str))
