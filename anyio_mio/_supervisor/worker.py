"""A worker: a process that the supervisor starts, and that serves its sockets until SIGTERM."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

import os
import resource
import signal
import ssl
from dataclasses import asdict
from socket import socket
from typing import TYPE_CHECKING, Any, Final, final

import anyio
from anyio.abc import SocketListener, TaskGroup, TaskStatus

import anyio_mio
from anyio_mio._supervisor.application import Target, load_target, why_it_failed
from anyio_mio._supervisor.certificate import CertificateError, CertificateWatch, load_context
from anyio_mio._supervisor.channel import Channel
from anyio_mio._supervisor.configuration import Assignment
from anyio_mio._supervisor.target import TargetError, in_one_line
from anyio_mio._supervisor.worker_log import LOGGER, send_logs
from anyio_mio.console import observe_runs, tree_on_signal
from anyio_mio.lowlevel import current_task

if TYPE_CHECKING:  # they need extras
    from anyio_mio._supervisor.worker_metrics import WorkerMetrics
    from anyio_mio.asgi import RequestStatistics

CANNOT_SERVE: Final = 78
"""Exit status of a worker that would fail again, such as without a handler or a readable
certificate (EX_CONFIG of sysexits.h)."""

PAUSE: Final = 0.01
"""Seconds before the rest of a message is sent that the supervisor could not read at once."""

LONGEST_SILENCE: Final = 1.0
"""The most seconds between two signs of life."""


def main(text: str) -> int:
    """Run the worker of an `Assignment`; return the exit status."""
    assignment = Assignment.load(text)
    sockets = take_sockets(assignment)
    channel = Channel(socket(fileno=assignment.channel))
    os.set_inheritable(assignment.channel, False)
    # A service manager may send these to every process; the supervisor alone decides on them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    configuration = assignment.configuration
    send_logs(channel, configuration.log_level)
    try:
        target = load_target(configuration.target, configuration.application)
        context = load_context(configuration.tls) if configuration.tls else None
    except (TargetError, CertificateError) as error:
        return refuse(channel, "; ".join(map(str.strip, str(error).splitlines())))
    except BaseException as error:  # noqa: BLE001 - a module may raise anything while it is imported
        return refuse(channel, in_one_line(error))
    seen = configuration.observation
    if seen.console is not None:
        observe_runs(seen.console)
    with tree_on_signal():
        failure = anyio_mio.run(
            serve, assignment, target, context, sockets, channel, **seen.run_options
        )
    if failure is not None:
        return refuse(channel, failure)
    channel.deliver()
    return 0


def take_sockets(assignment: Assignment) -> list[socket]:
    """Take over the listening sockets, so that child processes do not inherit them."""
    sockets = [socket(fileno=fd) for fd in assignment.sockets]
    for sock in sockets:
        sock.set_inheritable(False)  # for a process with another program

    def close_in_child() -> None:
        for sock in sockets:
            sock.close()

    os.register_at_fork(after_in_child=close_in_child)
    return sockets


def refuse(channel: Channel, reason: str) -> int:
    """Report why this worker cannot serve; return its exit status."""
    channel.send("cannot serve", must_be_kept=True, error=reason)
    channel.deliver()
    return CANNOT_SERVE


async def serve(
    assignment: Assignment,
    target: Target,
    context: ssl.SSLContext | None,
    sockets: list[socket],
    channel: Channel,
) -> str | None:
    """Serve the supervisor's sockets until SIGTERM, then shut down gracefully.

    Returns:
        The reason why the application could not start; None if it was served.
    """
    name = f"worker {assignment.worker}: {assignment.configuration.target}"
    current_task().name = name  # type: ignore[misc] # for the console; the task is ours
    listeners = [await SocketListener.from_socket(sock) for sock in sockets]
    async with anyio.create_task_group() as group:
        stop = anyio.Event()
        await group.start(watch_signals, stop)
        status = Readiness(group, assignment, target, channel)
        group.start_soon(watch_supervisor, channel, stop, status)
        options: dict[str, Any] = {
            "accept_batch": assignment.configuration.serving.accept_batch,
            "max_connections": assignment.configuration.serving.max_connections,
            "ssl_context": context,
            "grace": assignment.configuration.serving.grace,
            "stop": stop,
        }
        if context is not None and assignment.configuration.tls is not None:
            status.certificate = CertificateWatch(context, assignment.configuration.tls)
            group.start_soon(renew_certificate, status.certificate)
        if target.is_application:
            failure = await serve_application(assignment, target, listeners, options, status)
        else:
            failure = None
            summary = await anyio_mio.serve_listeners(
                target.call, listeners, task_status=status, **options
            )
            status.send_last(asdict(summary))
        group.cancel_scope.cancel()
    return failure


def counts_requests(assignment: Assignment) -> bool:
    """Return whether the worker is replaced after a number of requests, or has metrics."""
    configuration = assignment.configuration
    return "requests" in configuration.supervision.recycle or configuration.observation.metrics


async def serve_application(
    assignment: Assignment,
    target: Target,
    listeners: list[Any],
    options: dict[str, Any],
    status: Readiness,
) -> str | None:
    """Serve an ASGI application; return why it could not start, or None."""
    import anyio_mio.asgi  # an extra
    from anyio_mio.asgi.access_log import write_to_standard_output

    if counts_requests(assignment):
        status.requests = anyio_mio.asgi.RequestStatistics()
    if "access_log" in assignment.configuration.application.http:
        write_to_standard_output()  # past the supervisor: it may have many lines
    try:
        summary = await anyio_mio.asgi.serve(
            target.call,
            task_status=status,
            listeners=listeners,
            statistics=status.requests,
            **options,
            **assignment.configuration.application.http,
        )
    except anyio_mio.asgi.ApplicationError as error:
        return why_it_failed(error)
    status.send_last(asdict(summary))
    return None


@final
class Readiness(TaskStatus[Any]):
    """Reports to the supervisor that this worker serves, and then its figures.

    Attributes:
        channel: the channel to the supervisor.
        requests: the counters of the server; None if nothing reads them.
        certificate: uses a renewed certificate; None without TLS.
    """

    def __init__(
        self, group: TaskGroup, assignment: Assignment, target: Target, channel: Channel
    ) -> None:
        self.channel = channel
        self.requests: RequestStatistics | None = None
        self.certificate: CertificateWatch | None = None
        self._metrics: WorkerMetrics | None = None
        self._group = group
        self._assignment = assignment
        self._target = target

    def started(self, value: Any = None) -> None:
        """Report that it serves; ``value`` are the listeners."""
        self.channel.send("ready", must_be_kept=True, serves=self._target.kind)
        if self._assignment.configuration.observation.metrics:
            from anyio_mio._supervisor.worker_metrics import WorkerMetrics  # it needs an extra

            self._metrics = WorkerMetrics(value, self.requests)
        self._group.start_soon(self._send_figures, value)

    async def _send_figures(self, listeners: list[Any]) -> None:
        """Send figures regularly; they show that this loop still runs."""
        timeout = self._assignment.configuration.supervision.worker_timeout
        pause = min(LONGEST_SILENCE, timeout / 4) if timeout else LONGEST_SILENCE
        while True:
            self._send_alive(listeners)
            due = anyio.current_time() + pause
            await anyio.sleep_until(due)
            if self._metrics is not None:
                self._metrics.lag = anyio.current_time() - due

    def _send_alive(self, listeners: list[Any]) -> None:
        every = [listener.statistics() for listener in listeners]
        self.channel.send(
            "alive",
            accepted=sum(each.accepted for each in every),
            open=sum(each.open for each in every),
            memory=resident_bytes(),
            requests=0 if self.requests is None else self.requests.requests,
        )

    def send_metrics(self) -> None:
        """Send the metrics, if there are any."""
        if self._metrics is not None:
            families = self._metrics.families()
            self.channel.send("metrics", must_be_kept=True, families=families)

    def send_last(self, summary: dict[str, int]) -> None:
        """Send the metrics once more, and the summary of the server."""
        self.send_metrics()
        self.channel.send("stopped", must_be_kept=True, **summary)


async def watch_signals(
    stop: anyio.Event, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Stop at the first SIGTERM, and ignore further ones.

    A service manager may signal every process repeatedly. Only the supervisor stops a worker at
    once.
    """
    with anyio.open_signal_receiver(signal.SIGTERM) as received:
        task_status.started()
        async for _ in received:
            stop.set()


async def watch_supervisor(channel: Channel, stop: anyio.Event, status: Readiness) -> None:
    """Answer the supervisor. Stop when it is gone, because nothing else could stop this process."""
    async for message in channel:
        if message["kind"] == "metrics":
            status.send_metrics()
            while not channel.writer.flush():  # it may be more than the socket takes at once
                await anyio.sleep(PAUSE)
        elif message["kind"] == "certificate" and status.certificate is not None:
            load_certificate(status.certificate, at_once=True)
    stop.set()


async def renew_certificate(watch: CertificateWatch) -> None:
    """Use a renewed certificate for new connections."""
    while True:
        await anyio.sleep(LONGEST_SILENCE)
        load_certificate(watch, at_once=False)


def load_certificate(watch: CertificateWatch, *, at_once: bool) -> None:
    """Load the files of a certificate, always or only if they were renewed, and log it."""
    try:
        if watch.renew(at_once=at_once):
            LOGGER.warning("certificate renewed: %s", watch.files.certificate)
    except CertificateError as error:
        LOGGER.error("certificate not renewed, the old one is used: %s", error)


def resident_bytes() -> int:
    """Return this process's memory in bytes; its peak if the system only reports that."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
