"""One worker as the supervisor sees it: started, ready, stopping, gone."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from socket import socket
from typing import Any, final

import anyio
from anyio.abc import Process, TaskStatus

from anyio_mio._supervisor.configuration import Configuration
from anyio_mio._supervisor.log import Log
from anyio_mio._supervisor.reports import ReportReader

LAST_WORDS = 0.5
"""Seconds to read what a worker said before it ended."""

KILL_AFTER = 5.0
"""Seconds past the grace period after which a worker that does not end is killed."""


@final
class WorkerProcess:
    """A worker's process.

    Attributes:
        number: which of the workers it is, from 1.
        figures: what it last reported.
        stopping: True once it was told to end.
        error: why it says it cannot serve; empty if it says nothing.
        launched: set when its process was started, or could not be.
        ended: set when its process is gone.
    """

    def __init__(self, number: int, configuration: Configuration, log: Log) -> None:
        self.number = number
        self.figures: dict[str, Any] = {}
        self.stopping = False
        self.error = ""
        self._configuration = configuration
        self._log = log
        self._process: Process | None = None
        self.launched = anyio.Event()
        self.ended = anyio.Event()

    @property
    def pid(self) -> int:
        """Its process id; 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    async def run(
        self, sockets: list[socket], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> int:
        """Start it, follow it to its end, and return its exit status.

        ``task_status.started()`` is called when it serves.
        """
        read, write = os.pipe()
        try:
            process = await self._start(sockets, write)
        except BaseException:
            os.close(read)
            raise
        finally:
            self.launched.set()
            os.close(write)
        try:
            return await self._follow(process, read, task_status)
        finally:
            self.ended.set()
            await process.aclose()

    async def _follow(self, process: Process, read: int, task_status: TaskStatus[None]) -> int:
        """Take its reports until it is gone: processes that it forked may hold the pipe open."""
        async with anyio.create_task_group() as group:
            reading = anyio.Event()
            group.start_soon(self._take_reports, read, reading, task_status)
            status = await process.wait()
            with anyio.move_on_after(LAST_WORDS):
                await reading.wait()
            group.cancel_scope.cancel()
        return status

    async def _take_reports(
        self, read: int, ended: anyio.Event, task_status: TaskStatus[None]
    ) -> None:
        async for report in ReportReader(read):
            self._take(report, task_status)
        ended.set()

    def stop(self) -> None:
        """Ask it to end: it closes its listeners and gives its handlers their grace period."""
        self.stopping = True
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still lives."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop_and_wait(self) -> None:
        """Ask it to end and wait; one that does not listen is killed after grace and some."""
        self.stop()
        await self.wait_or_kill()

    async def wait_or_kill(self) -> None:
        """Wait until it ends; kill it when the grace period is well over."""
        with anyio.move_on_after(self._configuration.grace + KILL_AFTER) as scope:
            await self.ended.wait()
        if scope.cancelled_caught:
            self._log("worker killed", worker=self.number, pid=self.pid)
            self.signal(signal.SIGKILL)
            await self.ended.wait()

    async def _start(self, sockets: list[socket], write: int) -> Process:
        fds = tuple(sock.fileno() for sock in sockets)
        configuration = replace(self._configuration, sockets=fds, reports=write)
        command = [sys.executable, "-m", "anyio_mio._supervisor.worker", configuration.dump()]
        self._process = await anyio.open_process(
            command,
            stdin=None,
            stdout=None,
            stderr=None,
            pass_fds=(*fds, write),
            start_new_session=True,  # a signal for the group is the supervisor's alone
        )
        self._log("worker started", worker=self.number, pid=self.pid)
        return self._process

    def _take(self, report: dict[str, Any], task_status: TaskStatus[None]) -> None:
        kind = report.pop("kind")
        if kind == "ready":
            self._log("worker ready", worker=self.number, pid=self.pid)
            task_status.started()
        elif kind == "cannot serve":
            self.error = str(report["error"])
        elif kind == "figures":
            self.figures = report
        else:
            self._log(f"worker {kind}", worker=self.number, pid=self.pid, **report)
