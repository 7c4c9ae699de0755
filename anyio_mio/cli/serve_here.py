"""The command `anyio-mio serve` where one process serves: on Windows, and with ``--threads``."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

import anyio_mio
from anyio_mio._supervisor.application import Target, load_target
from anyio_mio._supervisor.binding import BindError
from anyio_mio._supervisor.certificate import CertificateError, CertificateWatch, load_context
from anyio_mio._supervisor.configuration import ApplicationOptions, Observation, TlsFiles
from anyio_mio._supervisor.one_process import Choices, Log, StartError, parse_place, serve
from anyio_mio._supervisor.target import TargetError, in_one_line
from anyio_mio.cli.application_options import application_options, take_application
from anyio_mio.cli.completion import complete_target
from anyio_mio.cli.options import DEFAULT_ADDRESS, listening_options
from anyio_mio.console import observe_runs, watch_runs

NEED_WORKERS: Final = (
    "reload",
    "max_requests",
    "share",
    "recycle_connections",
    "recycle_memory",
    "show_live",
)

ONE_PROCESS: Final = (
    "on Windows one process serves\n"
    "  right: without --workers; several programs behind a proxy use several processors"
)


@click.command("serve")
@click.argument("target", shell_complete=complete_target)
@click.option(
    "--bind",
    "binds",
    multiple=True,
    metavar="ADDRESS",
    show_default=DEFAULT_ADDRESS,
    help="HOST:PORT. Repeatable.",
)
@listening_options
@click.option("--workers", type=int, hidden=True)
@application_options
@click.pass_context
def serve_on_windows(  # noqa: PLR0913 - one for each option of the command line
    context: click.Context,
    /,
    target: str,
    binds: tuple[str, ...],
    backlog: int,
    max_connections: int | None,
    grace: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    workers: int | None,
    **given: Any,
) -> None:
    """Serve an application, or a handler of streams.

    TARGET is module:name, or one of echo, discard and http-hello. Three arguments (scope, receive,
    send) make it an ASGI application, one a handler of streams.

    On Windows one process serves: workers, reload, UNIX sockets and a service manager's sockets
    need another system. Ctrl-C stops the server gracefully, a second one at once.
    """
    if workers not in (None, 1):
        raise click.UsageError(ONE_PROCESS)
    refuse_what_needs_workers(given)
    application = take_application(context, given, "plain")
    tls = watch = None
    if tls_cert is not None:
        files = TlsFiles(os.fspath(tls_cert), os.fspath(tls_key) if tls_key else None)
        try:
            tls = load_context(files)
            watch = CertificateWatch(tls, files)
        except CertificateError as error:
            raise click.ClickException(str(error)) from None
    choices = Choices(backlog=backlog, max_connections=max_connections, grace=grace, tls=tls)
    choices = replace(choices, http=application.http, certificate=watch)
    serve_here(load_here(target, application), binds, choices, say, Observation())


def refuse_what_needs_workers(given: Mapping[str, Any]) -> None:
    """Refuse options that replace one worker by another: here is none.

    Args:
        given: options of the command line, by their names.

    Raises:
        click.UsageError: one of them is there.
    """
    for name in NEED_WORKERS:
        if given.get(name):
            option = name.replace("_", "-")
            raise click.UsageError(
                f"--{option} needs workers, and here one process serves\n"
                f"  right: without --{option}; or on Linux or macOS, without --threads"
            )


def load_here(target: str, application: ApplicationOptions) -> Target:
    """Import what is to be served.

    Raises:
        click.ClickException: it cannot be used.
    """
    try:
        loaded = load_target(target, application)
    except TargetError as error:
        raise click.UsageError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - a module may raise anything while it is imported
        raise click.ClickException(in_one_line(error)) from None
    if loaded.is_application and "access_log" in application.http:
        from anyio_mio.asgi.access_log import write_to_standard_output  # an extra

        write_to_standard_output()
    return loaded


def serve_here(
    target: Target,
    binds: Sequence[str],
    choices: Choices,
    log: Log,
    observation: Observation,
) -> None:
    """Serve in this process until a signal.

    Raises:
        click.ClickException: an address cannot be used, or an application cannot start.
    """
    try:
        places = [parse_place(text) for text in binds or [DEFAULT_ADDRESS]]
    except BindError as error:
        raise click.UsageError(str(error)) from None
    if observation.console is not None:
        observe_runs(observation.console)
    watch_runs(**observation.run_options)  # those of all threads
    log("loaded", serves=target.kind)
    try:
        anyio_mio.run(partial(serve, target, places, choices, log))
    except* (OSError, StartError) as errors:
        raise click.ClickException(f"cannot serve: {explain(first_of(errors))}") from None


def explain(error: BaseException) -> str:
    """Return what went wrong, and what helps if a port is in use."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"{error}\n  right: --bind with another port, or stop the program that listens there"
    return str(error)


def first_of(errors: BaseExceptionGroup[Exception]) -> BaseException:
    """Return the first error in a group."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def say(event: str, /, **fields: Any) -> None:
    """Log an event to standard error."""
    click.echo(" ".join([event, *(f"{name}={value}" for name, value in fields.items())]), err=True)
