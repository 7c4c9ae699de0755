"""The option `--backends`, which several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from anyio_mio._bench import backends
from anyio_mio.cli.completion import complete_backends


def split_names(context: click.Context, parameter: click.Parameter, given: str) -> list[str]:
    """Split a comma-separated list of backends and refuse what cannot run here."""
    known = [*backends.installed(), *backends.variants()]
    names = [name.strip() for name in given.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"{unknown[0]} is not a backend that can run here" if unknown else "no name is given"
        right = ",".join(backends.installed())
        raise click.BadParameter(
            f"{what}\n  wrong: --backends {given}\n  right: --backends {right}"
        )
    return list(dict.fromkeys(names))


def backends_option() -> Callable[[Any], Any]:
    """Return the option itself; the command's function gets it as `names`."""
    return click.option(
        "--backends",
        "names",
        callback=split_names,
        shell_complete=complete_backends,
        default=lambda: ",".join(backends.installed()),
        show_default="all that are installed",
        metavar="NAMES",
        help="Backends to compare, separated by commas; ratios refer to the first.",
    )
