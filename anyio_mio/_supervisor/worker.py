"""A worker: ``python -m anyio_mio._supervisor.worker CONFIGURATION``, started by the supervisor."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import anyio
from anyio.abc import SocketListener, TaskStatus

import anyio_mio
from anyio_mio._supervisor.configuration import Configuration
from anyio_mio._supervisor.reports import ReportWriter
from anyio_mio._supervisor.supervisor import CANNOT_SERVE
from anyio_mio._supervisor.target import TargetError, load_handler


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    configuration = Configuration.load(sys.argv[1])
    report = ReportWriter(configuration.reports)
    os.set_inheritable(configuration.reports, False)
    # A service manager may send these to every process; the supervisor alone decides on them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handler = load_handler(configuration.target)
        context = tls_context(configuration)
    except TargetError as error:
        report("cannot serve", error="; ".join(map(str.strip, str(error).splitlines())))
        return CANNOT_SERVE
    except Exception as error:  # noqa: BLE001 - a module may raise anything while it is imported
        report("cannot serve", error=in_one_line(error))
        return CANNOT_SERVE
    anyio_mio.run(serve, configuration, handler, context, report)
    return 0


def in_one_line(error: Exception) -> str:
    """What was raised, and the line that raised it, or the one that Python cannot read."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = " ".join(traceback.format_exception_only(error)[-1].split())
    return f"{what} ({frame.filename}:{frame.lineno})"


def tls_context(configuration: Configuration) -> ssl.SSLContext | None:
    """The TLS context for the certificate, if there is one."""
    if configuration.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(configuration.tls_cert, configuration.tls_key)
    except OSError as error:  # an SSLError is one
        key = configuration.tls_key or configuration.tls_cert
        raise TargetError(
            f"{configuration.tls_cert} and {key} are not a certificate and its key: {error}\n"
            "right: --tls-cert chain.pem --tls-key key.pem, both PEM"
        ) from None
    return context


async def serve(
    configuration: Configuration,
    handler: Callable[..., Any],
    context: ssl.SSLContext | None,
    report: ReportWriter,
) -> None:
    """Serve the supervisor's sockets until SIGTERM, then stop in good order."""
    listeners = [await listener_on(fd) for fd in configuration.sockets]
    async with anyio.create_task_group() as group:
        if configuration.statistics_every:
            group.start_soon(report_figures, configuration, listeners, report)
        stop = anyio.Event()
        await group.start(watch_signals, stop)
        group.start_soon(watch_supervisor, configuration, stop)
        report("ready")
        summary = await anyio_mio.serve_listeners(
            handler,
            listeners,
            accept_batch=configuration.accept_batch,
            max_connections=configuration.max_connections,
            ssl_context=context,
            grace=configuration.grace,
            stop=stop,
        )
        report("stopped", **asdict(summary))
        group.cancel_scope.cancel()


async def watch_signals(
    stop: anyio.Event, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """SIGTERM stops in good order, however often it comes: a service manager signals every process.

    To stop at once is the supervisor's business.
    """
    with anyio.open_signal_receiver(signal.SIGTERM) as received:
        task_status.started()
        async for _ in received:
            stop.set()


async def watch_supervisor(configuration: Configuration, stop: anyio.Event) -> None:
    """Stop when nobody reads the reports any more: without a supervisor nobody could stop us."""
    await anyio.wait_readable(configuration.reports)  # the system tells this end of the pipe too
    stop.set()


async def listener_on(fd: int) -> SocketListener:
    """A listener on an inherited descriptor."""
    os.set_inheritable(fd, False)
    return await SocketListener.from_socket(socket.socket(fileno=fd))


async def report_figures(
    configuration: Configuration, listeners: list[Any], report: ReportWriter
) -> None:
    """Tell the supervisor the listeners' figures from time to time."""
    while True:
        await anyio.sleep(configuration.statistics_every)
        every = [listener.statistics() for listener in listeners]
        report(
            "figures",
            accepted=sum(each.accepted for each in every),
            open=sum(each.open for each in every),
        )


if __name__ == "__main__":
    sys.exit(main())
