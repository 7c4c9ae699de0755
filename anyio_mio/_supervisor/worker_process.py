"""One worker as its supervisor sees it.

::

    NEW ──▶ STARTING ──▶ SERVING ──▶ STOPPING ──▶ ENDED
     │         │            │                       ▲
     └─────────┴────────────┴───────────────────────┘
      no descriptor, no memory · not ready in time, cannot serve · crash, no sign of life
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from enum import Enum
from typing import Any, Final, final

import anyio
from anyio.abc import Process

from anyio_mio._supervisor.channel import Channel
from anyio_mio._supervisor.configuration import Assignment, Configuration
from anyio_mio._supervisor.log import OUTPUT, Entry, Log
from anyio_mio._supervisor.metric_sums import Family
from anyio_mio._supervisor.recycling import Limits
from anyio_mio._supervisor.search_path import search_path
from anyio_mio._supervisor.worker_log import TRACEBACK_SIGNAL

PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from anyio_mio._supervisor.worker import main; sys.exit(main(sys.argv[2]))"
)
"""The program of a worker. It uses the search path of the supervisor."""

LAST_WORDS: Final = 0.5
"""Seconds to read the last messages of a worker that has ended."""

KILL_AFTER: Final = 5.0
"""Seconds after the grace period at which a worker is killed."""

TRACEBACK_TIME: Final = 0.5
"""Seconds that a stuck worker has to print its stacks before it is killed."""

SUPERSEDED_AFTER: Final = 2.0
"""Seconds that a new worker has to become ready after another reload was requested."""

LONGEST_LINE: Final = 65536


class Phase(Enum):
    """The state of a worker; see the module."""

    NEW = "new"
    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"
    ENDED = "ended"


@final
class WorkerProcess:
    """A worker's process.

    Args:
        number: its number, from 1.
        configuration: the options.
        log: where events go.
        on_figures: called with the worker after each report of figures.

    Attributes:
        phase: its state.
        figures: the figures of its last report.
        families: its metrics, from its last answer.
        was_silent: whether it was killed because it gave no sign of life.
        last_heard: when it last reported, on the run's clock.
        status: exit status; None while it runs, and if it could not be started.
        error: the reason why it does not serve; empty if not known.
        launched: set when its process was started, or could not be.
        settled: set when it is ready, or will never be.
        ended: set when its process is gone.
    """

    def __init__(
        self,
        number: int,
        configuration: Configuration,
        log: Log,
        on_figures: Callable[[WorkerProcess], None],
    ) -> None:
        self.number = number
        self.phase = Phase.NEW
        self.figures: dict[str, Any] = {}
        self.families: list[Family] = []
        self.was_silent = False
        self.last_heard = 0.0
        self.status: int | None = None
        self.error = ""
        self.limits = Limits(configuration.supervision)
        self._configuration = configuration
        self._log = log
        self._on_figures = on_figures
        self._process: Process | None = None
        self._channel: Channel | None = None
        self._is_asked: anyio.Event | None = None
        self._started_at = 0.0
        self._start_limit = anyio.CancelScope()
        self.launched = anyio.Event()
        self.settled = anyio.Event()
        self.ended = anyio.Event()

    @property
    def pid(self) -> int:
        """Its process id; 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_ready(self) -> bool:
        """Whether it serves."""
        return self.phase is Phase.SERVING

    @property
    def lived(self) -> float:
        """Seconds since it was started; 0 if it could not be."""
        return anyio.current_time() - self._started_at if self.pid else 0.0

    async def run(self, sockets: Sequence[socket.socket]) -> None:
        """Start it and follow it to its end. A failed start raises no error."""
        try:
            with ExitStack() as ours:
                try:
                    process, channel, output = await self._launch(sockets, ours)
                finally:
                    self.launched.set()
                self.status = await self._follow(process, channel, output)
        except OSError as error:
            self.error = f"no worker can be started: {error}"
        finally:
            self.phase = Phase.ENDED
            self._take_metrics(self.families)
            self.settled.set()
            self.ended.set()

    async def _launch(
        self, sockets: Sequence[socket.socket], ours: ExitStack
    ) -> tuple[Process, Channel, int]:
        """Start the process.

        Returns:
            The process, our end of its channel, and the reading end of its standard error.
        """
        with ExitStack() as theirs:  # the process has copies
            near, far = socket.socketpair()
            theirs.callback(far.close)
            channel = Channel(near)
            ours.callback(channel.close)
            read, write = os.pipe()
            theirs.callback(os.close, write)
            ours.callback(close_descriptor, read)
            fds = tuple(sock.fileno() for sock in sockets)
            assignment = Assignment(self.number, self._configuration, far.fileno(), fds)
            path = json.dumps(search_path())
            self._process = process = await anyio.open_process(
                [sys.executable, "-P", "-c", PROGRAM, path, assignment.dump()],
                stdin=None,
                stdout=write if self._configuration.captures_output else None,
                stderr=write,
                pass_fds=(*fds, far.fileno()),
                start_new_session=True,  # a signal for the group is the supervisor's alone
            )
        self.phase = Phase.STARTING
        self._channel = channel
        self._started_at = anyio.current_time()
        self._log("worker started", worker=self.number, pid=self.pid)
        return process, channel, read

    async def _follow(self, process: Process, channel: Channel, output: int) -> int:
        """Read its reports until it has ended: a process it forked may keep the channel open."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._limit_start)
            heard = [anyio.Event(), anyio.Event()]
            group.start_soon(self._take_reports, channel, heard[0])
            group.start_soon(self._take_output, output, heard[1])
            status = await process.wait()
            self.settled.set()
            with anyio.move_on_after(LAST_WORDS):
                for event in heard:
                    await event.wait()
            group.cancel_scope.cancel()
        await process.aclose()
        return status

    async def _limit_start(self) -> None:
        """Kill it if it does not become ready in time."""
        seconds = self._configuration.supervision.start_timeout
        self._start_limit.deadline = min(self._start_limit.deadline, self._started_at + seconds)
        with self._start_limit:
            await self.settled.wait()
        if self._start_limit.cancelled_caught:
            lived = round(anyio.current_time() - self._started_at, 1)
            self.error = f"it was not ready after {lived} s"
            self._log("worker not ready", level="error", worker=self.number, seconds=lived)
            await self._print_stacks()
            self.signal(signal.SIGKILL)

    def hurry(self) -> None:
        """Shorten the time of a starting worker, because a newer one was requested."""
        if self.phase is not Phase.STARTING:
            return
        deadline = self._started_at + SUPERSEDED_AFTER
        self._start_limit.deadline = min(self._start_limit.deadline, deadline)

    async def _take_reports(self, channel: Channel, heard: anyio.Event) -> None:
        async for report in channel:
            if report["kind"] == "metrics":
                self._take_metrics(report["families"])
            else:
                self._take(report)
        heard.set()

    async def _take_output(self, output: int, heard: anyio.Event) -> None:
        """Log its standard error, line by line."""
        buffer = b""
        while chunk := await read_from(output):
            *lines, buffer = (buffer + chunk).split(b"\n")
            if len(buffer) > LONGEST_LINE:
                lines, buffer = [*lines, buffer], b""
            for line in lines:
                self._log_output(line)
        if buffer:
            self._log_output(buffer)
        heard.set()

    def _log_output(self, line: bytes) -> None:
        text = line.decode(errors="backslashreplace")
        self._log.add(Entry(text, "warning", OUTPUT, fields={"worker": self.number}))

    async def ask_for_metrics(self) -> None:
        """Request its metrics, and wait for the answer.

        A stuck worker gets only one request; its answer counts when it comes.
        """
        if self._channel is None or self.phase not in (Phase.SERVING, Phase.STOPPING):
            return
        if self._is_asked is None:
            self._is_asked = anyio.Event()
            self._channel.send("metrics")
        await self._is_asked.wait()

    def renew_certificate(self) -> None:
        """Make it load the certificate's files; it logs the result."""
        if self._channel is not None and self.is_ready:
            self._channel.send("certificate")

    def _take_metrics(self, families: list[Family]) -> None:
        self.families = families
        if self._is_asked is not None:
            self._is_asked.set()
            self._is_asked = None

    def stop(self) -> None:
        """Signal it to stop: it closes its listeners and gives its handlers their grace period."""
        if self.phase is not Phase.ENDED:
            self.phase = Phase.STOPPING
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop_and_wait(self) -> None:
        """Stop it and wait. If it does not end soon after the grace period, kill it."""
        self.stop()
        await self.wait_or_kill()

    async def wait_or_kill(self) -> None:
        """Wait until it ends; kill it some time after the grace period."""
        with anyio.move_on_after(self._configuration.serving.grace + KILL_AFTER) as scope:
            await self.ended.wait()
        if scope.cancelled_caught:
            self._log("worker killed", level="warning", worker=self.number, pid=self.pid)
            await self.kill_stuck()

    async def kill_stuck(self) -> None:
        """Kill it, after it has printed where each of its threads is, and wait for its end."""
        self.phase = Phase.STOPPING
        await self._print_stacks()
        self.signal(signal.SIGKILL)
        await self.ended.wait()

    async def _print_stacks(self) -> None:
        self.signal(TRACEBACK_SIGNAL)
        await anyio.sleep(TRACEBACK_TIME)

    def _take(self, report: dict[str, Any]) -> None:
        kind = report.pop("kind")
        if kind == "ready":
            self.last_heard = anyio.current_time()
            self._log("worker ready", worker=self.number, pid=self.pid, **report)
            if self.phase is Phase.STARTING:
                self.phase = Phase.SERVING
            self.settled.set()
        elif kind == "alive":
            self.last_heard = anyio.current_time()
            self.figures = report
            self._on_figures(self)
        elif kind == "log":
            self._log.add(Entry(**report, fields={"worker": self.number}))
        elif kind == "cannot serve":
            self.error = str(report["error"])
        elif kind == "lost":
            self._log("log lines lost", level="warning", worker=self.number, **report)
        elif kind == "stopped":
            self._log("worker stopped", worker=self.number, pid=self.pid, **report)


async def read_from(fd: int) -> bytes:
    """Read the next bytes, and wait if there are none; return no bytes at the end."""
    await anyio.wait_readable(fd)
    return os.read(fd, LONGEST_LINE)


def close_descriptor(fd: int) -> None:
    """Close a descriptor that tasks may wait for."""
    anyio.notify_closing(fd)
    os.close(fd)
