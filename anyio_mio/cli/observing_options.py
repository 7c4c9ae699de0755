"""The options of `anyio-mio serve` that let others see inside: console, watchdog, metrics."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click

from anyio_mio._supervisor.configuration import Observation
from anyio_mio.cli.numbers import Number
from anyio_mio.cli.options import add_options
from anyio_mio.console.observing import VARIABLE

SECONDS: Final = Number(0, 1_000_000)

LONGEST_DIRECTORY: Final = 90
"""Characters; the system takes about 107 for a socket's path, and a name is appended."""

RUN: Final = {
    "slow_step": click.option(
        "--slow-step",
        type=SECONDS,
        help="Log a step that blocks the loop longer, with its stack.",
    ),
    "old_connection": click.option(
        "--old-connection",
        type=SECONDS,
        help="Log connections that are open longer, and where they were made.",
    ),
    "debug": click.option(
        "--debug",
        is_flag=True,
        default=None,
        help="Log sockets that are never closed, and steps of more than 0.1 s.",
    ),
}
"""Options of a run, by the names that `anyio_mio.run()` has for them."""

OPTIONS: Final = (
    click.option(
        "--console",
        metavar="DIRECTORY",
        help="Folder for the workers' consoles (top, tree, stats); 1: the default folder.",
    ),
    click.option(
        "--metrics",
        metavar="ADDRESS",
        help="HOST:PORT for /metrics of all workers, for Prometheus, and for /healthz and /readyz.",
    ),
    click.option("--health", metavar="ADDRESS", help="HOST:PORT for /healthz and /readyz alone."),
)


run_options = add_options(*RUN.values())
"""Adds the options of a run to a command; they come in its keyword arguments."""

observing_options = add_options(*OPTIONS, *RUN.values())
"""Adds all of these options to a command; they come in its keyword arguments."""


def take_run_options(given: dict[str, Any]) -> dict[str, Any]:
    """Take the options of a run out of a command's arguments, as far as they were given."""
    options = {name: given.pop(name) for name in RUN}
    return {name: value for name, value in options.items() if value is not None}


def take_observation(given: dict[str, Any]) -> Observation:
    """Take what concerns the workers out of a command's arguments.

    Raises:
        click.UsageError: the console's directory cannot be one, or metrics need a package.
    """
    if given["metrics"] is not None and find_spec("prometheus_client") is None:
        raise click.UsageError(
            "--metrics needs the package prometheus_client\n"
            "  right: pip install 'anyio-mio[prometheus]', or --health, which needs nothing"
        )
    console = given.pop("console")
    if console is not None:
        console = check_directory(console)
        os.environ.pop(VARIABLE, None)  # or each worker would open two
    return Observation(console, take_run_options(given), given["metrics"] is not None)


def check_directory(path: str) -> str:
    """Return the directory of the consoles as `anyio_mio.console.observe_runs()` takes it.

    Raises:
        click.UsageError: it is no directory, or its path is too long for sockets.
    """
    if path == "1":
        return path
    absolute = str(Path(path).absolute())
    if Path(path).exists() and not Path(path).is_dir():
        raise click.UsageError(
            f"--console {path} is not a directory, and each worker needs a socket of its own\n"
            "  right: --console /run/user/1000/my-app"
        )
    if len(absolute) > LONGEST_DIRECTORY:
        raise click.UsageError(
            f"--console {path} is too long for a socket's path\n"
            f"  right: a directory of at most {LONGEST_DIRECTORY} characters, or --console 1"
        )
    return f"{absolute}/"
