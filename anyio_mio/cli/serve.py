"""The command `anyio-mio serve`."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

import os
import resource
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

import anyio_mio
from anyio_mio._supervisor import live
from anyio_mio._supervisor.adopted import AdoptionError, adopt_sockets
from anyio_mio._supervisor.binding import BindError, parse
from anyio_mio._supervisor.certificate import CertificateError, CertificateWatch, load_context
from anyio_mio._supervisor.configuration import (
    ApplicationOptions,
    Configuration,
    Observation,
    ServingOptions,
    Supervision,
    TlsFiles,
)
from anyio_mio._supervisor.file_watch import reload_on_change
from anyio_mio._supervisor.listening import ListeningSockets
from anyio_mio._supervisor.log import FORMATS, Log, open_standard_descriptors
from anyio_mio._supervisor.one_process import Choices
from anyio_mio._supervisor.service_manager import ServiceManager
from anyio_mio._supervisor.supervisor import Supervisor
from anyio_mio._supervisor.target import TargetError, load_handler, refuse_path
from anyio_mio._supervisor.worker import CANNOT_SERVE
from anyio_mio.cli.application_options import application_options, take_application
from anyio_mio.cli.completion import complete_target
from anyio_mio.cli.management import ManagementAddresses
from anyio_mio.cli.numbers import Count, Number
from anyio_mio.cli.observing_options import observing_options, take_observation
from anyio_mio.cli.options import DEFAULT_ADDRESS, READABLE_FILE, listening_options
from anyio_mio.cli.serve_here import load_here, refuse_what_needs_workers, serve_here
from anyio_mio.serving.threads import check_threads

OTHER_DESCRIPTORS: Final = 32
"""About how many descriptors a worker has besides its connections."""

MIB: Final = 1024 * 1024

SECONDS: Final = Number(0, 3600)
LEVELS: Final = click.Choice(["debug", "info", "warning", "error", "critical"])


@click.command()
@click.argument("target", shell_complete=complete_target)
@click.option(
    "--bind",
    "binds",
    multiple=True,
    metavar="ADDRESS",
    show_default=DEFAULT_ADDRESS,
    help="HOST:PORT or unix:PATH. Repeatable.",
)
@click.option("--workers", type=Count(1, 256), default=1, help="Number of worker processes.")
@click.option(
    "--threads",
    type=Count(1, 256),
    default=1,
    help="Serve in threads, without workers; for free-threaded Python.",
)
@listening_options
@click.option(
    "--tls-key-password-file",
    type=READABLE_FILE,
    help="Pass phrase of the key; or set ANYIO_MIO_TLS_KEY_PASSWORD.",
)
@click.option(
    "--share",
    is_flag=True,
    help="Let all workers accept from one socket, not one each (SO_REUSEPORT).",
)
@click.option(
    "--start-timeout",
    type=Number(0.1, 3600),
    default=60.0,
    help="Seconds for a worker to become ready.",
)
@click.option(
    "--worker-timeout",
    type=SECONDS,
    default=30.0,
    help="Seconds after which a blocked worker is replaced; 0: never.",
)
@click.option(
    "--recycle-connections",
    type=Count(1),
    show_default="no limit",
    help="Replace a worker after it has accepted this many.",
)
@click.option(
    "--recycle-memory",
    type=Count(1, unit="MIB"),
    show_default="no limit",
    help="Replace a worker that uses this much memory.",
)
@click.option(
    "--recycle-jitter",
    type=Number(0, 10, "FRACTION"),
    default=0.1,
    help="Random fraction to add to these limits, for each worker.",
)
@click.option(
    "--log-format",
    type=click.Choice([*FORMATS]),
    default="plain",
    help="Format of log lines on standard error.",
)
@click.option(
    "--log-level",
    type=LEVELS,
    default="warning",
    help="Lowest level of the workers' log records.",
)
@click.option(
    "--live/--no-live",
    "show_live",
    default=False,
    help="Show a table of the workers, on a terminal.",
)
@observing_options
@application_options
@click.pass_context
def serve(context: click.Context, /, **given: Any) -> None:
    """Serve an application or a handler of streams.

    TARGET is module:name, or one of echo, discard and http-hello. Three arguments (scope, receive,
    send) make it an ASGI application, one a handler of streams.

    Each worker is a process. SIGTERM or Ctrl-C stops the server gracefully, a second one at once.
    SIGHUP replaces the workers one by one without refusing a client. SIGUSR1 prints the task trees,
    and SIGUSR2 loads a renewed certificate. The server also serves the sockets of a service manager
    (LISTEN_FDS).
    """
    application = take_application(context, given, given["log_format"])
    observation = take_observation(given)
    options = CommandLine(**given, application=application, observation=observation)
    options.check()
    open_standard_descriptors()
    log = Log(FORMATS[options.log_format])
    if options.threads > 1:
        refuse_what_needs_workers(given)
        choices = options.choices()
        target = load_here(options.target, application)
        serve_here(target, options.binds, choices, log, observation)
        log.close()
        return
    try:
        status = run(options, log)
    except (AdoptionError, BindError, CertificateError) as error:
        log("cannot serve", level="error", error="; ".join(map(str.strip, str(error).splitlines())))
        status = CANNOT_SERVE if isinstance(error, AdoptionError) else 1
    log.close()
    context.exit(status)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The command line, as click has parsed it."""

    target: str
    binds: tuple[str, ...]
    workers: int
    threads: int
    backlog: int
    max_connections: int | None
    grace: float
    tls_cert: Path | None
    tls_key: Path | None
    tls_key_password_file: Path | None
    share: bool
    start_timeout: float
    worker_timeout: float
    recycle_connections: int | None
    recycle_memory: int | None
    recycle_jitter: float
    log_format: str
    log_level: str
    show_live: bool
    metrics: str | None
    health: str | None
    reload: bool
    max_requests: int | None
    application: ApplicationOptions
    observation: Observation

    def check(self) -> None:
        """Refuse what no worker could serve; a module of the user's is imported by the workers.

        Raises:
            click.UsageError: with the right line.
        """
        if self.tls_cert is None and (self.tls_key or self.tls_key_password_file):
            raise click.UsageError(
                "--tls-key needs --tls-cert\n  right: --tls-cert c.pem --tls-key k.pem"
            )
        try:
            refuse_path(self.target)
            if ":" not in self.target:
                load_handler(self.target)
            for text in (*self.binds, self.metrics, self.health):
                if text is not None:
                    parse(text)
        except (TargetError, BindError) as error:
            raise click.UsageError(str(error)) from None

    def choices(self) -> Choices:
        """Return the options of a server without workers.

        Raises:
            click.UsageError: threads and workers together, or threads that would take turns.
            click.ClickException: the certificate cannot be used.
        """
        if self.workers > 1:
            raise click.UsageError(
                "threads serve without workers\n  right: --threads 4, or --workers 4"
            )
        if (self.metrics, self.health) != (None, None):
            raise click.UsageError(
                "--metrics and --health are answered by the supervisor of workers\n"
                "  right: --workers 4, or anyio_mio.metrics.RunCollector in your own program"
            )
        files = self.tls()
        try:
            check_threads(self.threads)
            context = load_context(files) if files else None
            watch = CertificateWatch(context, files) if context and files else None
        except RuntimeError as error:
            raise click.UsageError(str(error)) from None
        except CertificateError as error:
            raise click.ClickException(str(error)) from None
        return Choices(
            self.threads,
            self.backlog,
            self.max_connections,
            self.grace,
            context,
            self.application.http,
            watch,
        )

    def tls(self) -> TlsFiles | None:
        """Return the files of the certificate; None for no TLS."""
        if self.tls_cert is None:
            return None
        key, password = self.tls_key, self.tls_key_password_file
        return TlsFiles(
            os.fspath(self.tls_cert),
            os.fspath(key) if key else None,
            os.fspath(password) if password else None,
        )

    def configuration(self, *, are_shared: bool) -> Configuration:
        """Return the options in the form that the supervisor takes.

        Args:
            are_shared: whether workers share a listening socket.
        """
        memory = self.recycle_memory
        limits = {
            "accepted": self.recycle_connections,
            "memory": memory * MIB if memory else None,
            "requests": self.max_requests,
        }
        return Configuration(
            target=self.target,
            serving=ServingOptions(
                grace=self.grace,
                max_connections=self.max_connections,
                accept_batch=1 if are_shared else None,
            ),
            tls=self.tls(),
            supervision=Supervision(
                start_timeout=self.start_timeout,
                worker_timeout=self.worker_timeout,
                recycle={name: limit for name, limit in limits.items() if limit},
                recycle_jitter=self.recycle_jitter,
            ),
            application=self.application,
            observation=self.observation,
            log_level=self.log_level,
            captures_output=self.show_live and sys.stdout.isatty(),
        )


def run(options: CommandLine, log: Log) -> int:
    """Serve until a stop signal; return the exit status.

    Raises:
        AdoptionError: the service manager passed something that cannot be served.
        BindError: an address cannot be bound.
        CertificateError: the certificate cannot be used.
    """
    manager = ServiceManager.from_environment(os.environ)
    adopted = adopt_sockets(os.environ)
    files = options.tls()
    if files is not None:
        load_context(files)  # said once here, instead of by each worker
    with (
        ListeningSockets(options.workers, options.backlog, share=options.share) as sockets,
        ManagementAddresses(options.metrics, options.health) as management,
    ):
        for sock in adopted:
            sockets.add(sock)
        for text in options.binds or ([] if adopted else [DEFAULT_ADDRESS]):
            sockets.bind(text)
        management.bind(log)
        warn_of_descriptors(options, log)
        for address in sockets.addresses():
            log("listening", address=address, workers=options.workers, target=options.target)
        configuration = options.configuration(are_shared=sockets.are_shared)
        supervisor = Supervisor(configuration, sockets, log, manager)
        beside = [*management.tasks(supervisor)]
        if options.reload:
            beside.append(partial(reload_on_change, Path.cwd()))
        succeeded = anyio_mio.run(live.run, supervisor, log, options.show_live, beside)
    return 0 if succeeded else 1


def warn_of_descriptors(options: CommandLine, log: Log) -> None:
    """Say so if the descriptor limit is reached before ``--max-connections`` is."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = (options.max_connections or 0) + OTHER_DESCRIPTORS
    if limit != resource.RLIM_INFINITY and options.max_connections and wanted > limit:
        log(
            "--max-connections is above the limit of open descriptors (RLIMIT_NOFILE)",
            level="warning",
            max_connections=options.max_connections,
            limit=limit,
            right=f"ulimit -n {wanted}, or LimitNOFILE={wanted} under systemd",
        )
