"""The command `anyio-mio serve` where one process serves: on Windows, and with ``--threads``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

import anyio_mio
from anyio_mio._supervisor.binding import BindError
from anyio_mio._supervisor.certificate import CertificateError, load_context
from anyio_mio._supervisor.configuration import Observation, TlsFiles
from anyio_mio._supervisor.one_process import Choices, Log, parse_place, serve
from anyio_mio._supervisor.target import TargetError, load_handler
from anyio_mio.console import observe_runs, watch_runs

DEFAULT_ADDRESS: Final = "127.0.0.1:8000"

READABLE_FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@click.command("serve")
@click.argument("target")
@click.option("--bind", "binds", multiple=True, metavar="ADDRESS", help="HOST:PORT.")
@click.option("--backlog", type=click.IntRange(1, 65535), default=4096, show_default=True)
@click.option("--max-connections", type=click.IntRange(1), help="At once.")
@click.option("--grace", type=click.FloatRange(0, 3600), default=10.0, show_default=True)
@click.option("--tls-cert", type=READABLE_FILE, help="Certificate chain, PEM.")
@click.option("--tls-key", type=READABLE_FILE, help="Its key, if it is in another file.")
def serve_on_windows(  # noqa: PLR0913 - one for each option of the command line
    target: str,
    binds: tuple[str, ...],
    backlog: int,
    max_connections: int | None,
    grace: float,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Serve connections with TARGET: echo, discard, http-hello, or module:async_handler.

    On Windows one process serves: workers, reload, UNIX sockets and a service manager's sockets
    need another system. Ctrl-C stops in good order, a second one at once.
    """
    context = None
    if tls_cert is not None:
        files = TlsFiles(os.fspath(tls_cert), os.fspath(tls_key) if tls_key else None)
        try:
            context = load_context(files)
        except CertificateError as error:
            raise click.ClickException(str(error)) from None
    choices = Choices(backlog=backlog, max_connections=max_connections, grace=grace, tls=context)
    serve_here(target, binds, choices, say, Observation())


def serve_here(
    target: str,
    binds: Sequence[str],
    choices: Choices,
    log: Log,
    observation: Observation,
) -> None:
    """Serve in this process until a signal.

    Raises:
        click.ClickException: the target or an address cannot be used.
    """
    try:
        handler = load_handler(target)
        places = [parse_place(text) for text in binds or [DEFAULT_ADDRESS]]
    except (TargetError, BindError) as error:
        raise click.UsageError(str(error)) from None
    if observation.console is not None:
        observe_runs(observation.console)
    if observation.slow_step:
        watch_runs(observation.slow_step)
    try:
        anyio_mio.run(partial(serve, handler, places, choices, log))
    except* OSError as errors:
        raise click.ClickException(f"cannot serve: {first_of(errors)}") from None


def first_of(errors: BaseExceptionGroup[OSError]) -> BaseException:
    """Return the first error in a group."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def say(event: str, /, **fields: Any) -> None:
    """Log an event to standard error."""
    click.echo(" ".join([event, *(f"{name}={value}" for name, value in fields.items())]), err=True)
