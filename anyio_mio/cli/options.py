"""Options that several commands have, and how a group of options is added to a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from anyio_mio.cli.numbers import Count, Number

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_ADDRESS: Final = "127.0.0.1:8000"

READABLE_FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


def add_options(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Return a decorator that adds options to a command, in the order of its ``--help``."""

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


listening_options = add_options(
    click.option(
        "--backlog",
        type=Count(1, 65535),
        default=4096,
        help="Most connections that wait to be accepted.",
    ),
    click.option(
        "--max-connections",
        type=Count(1),
        show_default="no limit",
        help="Most connections of a process at once; more wait to be accepted.",
    ),
    click.option(
        "--grace",
        type=Number(0, 3600),
        default=10.0,
        help="Seconds for open connections to end when a process stops.",
    ),
    click.option(
        "--tls-cert", type=READABLE_FILE, help="Certificate chain, PEM; without it, no TLS."
    ),
    click.option(
        "--tls-key", type=READABLE_FILE, help="Key of the certificate, if it is in another file."
    ),
)
"""The options of each `serve` for its connections; they come in the command's arguments."""
