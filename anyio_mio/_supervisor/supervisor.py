"""The supervisor: keeps its workers running, replaces them on SIGHUP, and stops them in good order.

Facts. A client that connects is queued by the system on a listening socket, before any process has
seen it. When the last process closes that socket, the system resets whoever is in the queue.

Decision. The supervisor makes the sockets and keeps them open; each worker serves a copy. A worker
that ends, by order or by a crash, leaves its queue to the one that comes after it on the same
socket. A reload starts the new worker first, and only when it serves is the old one told to stop.
To stop for good, the supervisor closes its sockets as soon as the workers know: once they have
served what was queued and closed theirs, new clients are refused instead of kept waiting.

With SO_REUSEPORT each worker has a socket, hence a queue of its own, and takes full batches. Where
all workers share one socket (UNIX paths, adopted ones) they accept one at a time, or the quickest
would take everything.
"""

from __future__ import annotations

import signal
import time
from socket import socket
from typing import final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from anyio_mio._supervisor.configuration import Configuration
from anyio_mio._supervisor.log import Log
from anyio_mio._supervisor.worker_process import WorkerProcess

FIRST_DELAY = 0.1
LAST_DELAY = 10.0
"""Seconds before a crashed worker is started again: doubled each time, up to the last."""

STABLE_AFTER = 30.0
"""A worker that ran for so many seconds starts again at the first delay."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

CANNOT_SERVE = 78
"""Exit status of a worker that would fail again: no such handler, no readable certificate
(EX_CONFIG of sysexits.h)."""


@final
class Slot:
    """One place for a worker.

    Attributes:
        sockets: what its worker serves.
        current: the worker that is meant to serve here.
        alive: every process that still runs here; two during a reload.
        delay: seconds to wait after the next crash.
    """

    def __init__(self, number: int, sockets: list[socket]) -> None:
        self.number = number
        self.sockets = sockets
        self.current: WorkerProcess | None = None
        self.alive: set[WorkerProcess] = set()
        self.delay = FIRST_DELAY


@final
class Supervisor:
    """Runs workers until it is told to stop.

    Args:
        configuration: what the workers are told.
        slots: a list of sockets for each worker.
        log: where events go.
    """

    def __init__(self, configuration: Configuration, slots: list[list[socket]], log: Log) -> None:
        self._configuration = configuration
        self._log = log
        self.slots = [Slot(number, sockets) for number, sockets in enumerate(slots, 1)]
        self._group: TaskGroup | None = None
        self._stopping = False
        self._failed = False
        self._reloading = False
        self._reload_again = False

    async def run(self) -> bool:
        """Serve until a stop signal; False if the workers cannot serve at all.

        Checkpoint: always. Cancellation: the workers are killed.
        """
        with anyio.open_signal_receiver(*STOP_SIGNALS, signal.SIGHUP) as signals:
            async with anyio.create_task_group() as self._group:
                for slot in self.slots:
                    slot.current = self._new_worker(slot)
                    self._group.start_soon(self._keep_running, slot, slot.current)
                async for number in signals:
                    self._take_signal(number)
        return not self._failed

    def processes(self) -> list[WorkerProcess]:
        """Every worker that runs now."""
        return [worker for slot in self.slots for worker in slot.alive]

    def _take_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            self._ask_for_reload()
        elif self._stopping:
            self._log("stopping at once")
            for worker in self.processes():
                worker.signal(signal.SIGKILL)
        else:
            self._log("stopping", signal=number.name, grace=self._configuration.grace)
            self._stop()

    def _ask_for_reload(self) -> None:
        """Reload, or once more after the reload that is under way: what changed may be newer."""
        assert self._group is not None
        if self._reloading:
            self._reload_again = True
        elif not self._stopping:
            self._reloading = True
            self._group.start_soon(self._reload_while_asked)

    def _stop(self) -> None:
        self._stopping = True
        assert self._group is not None
        self._group.start_soon(self._stop_all)

    async def _keep_running(
        self,
        slot: Slot,
        worker: WorkerProcess,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run a worker, and another one in its place whenever it ends without being told to."""
        while not self._stopping:
            began = time.monotonic()
            slot.alive.add(worker)
            status = await worker.run(slot.sockets, task_status=task_status)
            slot.alive.discard(worker)
            if self._stopping or worker.stopping or slot.current is not worker:
                return
            if status == CANNOT_SERVE:
                self._log("cannot serve", error=worker.error)
                self._failed = True
                self._stop()
                return
            await self._back_off(slot, status, time.monotonic() - began)
            if slot.current is not worker:  # a reload has filled the place meanwhile
                return
            worker = slot.current = self._new_worker(slot)
            task_status = anyio.TASK_STATUS_IGNORED

    async def _back_off(self, slot: Slot, status: int, lived: float) -> None:
        if lived > STABLE_AFTER:
            slot.delay = FIRST_DELAY
        self._log("worker crashed", worker=slot.number, status=status, restart_in=slot.delay)
        delay, slot.delay = slot.delay, min(slot.delay * 2, LAST_DELAY)
        await anyio.sleep(delay)

    async def _reload_while_asked(self) -> None:
        try:
            await self._reload()
            while self._reload_again and not self._stopping:
                self._reload_again = False
                await self._reload()
        finally:
            self._reloading = self._reload_again = False

    async def _reload(self) -> None:
        """Replace the workers one at a time; the new one serves before the old one stops."""
        self._log("reloading", workers=len(self.slots))
        for slot in self.slots:
            if self._stopping or not await self._replace(slot):
                return
        self._log("reloaded", workers=len(self.slots))

    async def _replace(self, slot: Slot) -> bool:
        new = self._new_worker(slot)
        assert self._group is not None
        try:
            await self._group.start(self._keep_running, slot, new)
        except RuntimeError:  # it ended before it served
            self._log_failed_reload(slot, new)
            return False
        if new.ended.is_set():  # it served, and was gone before it could take the place
            self._log_failed_reload(slot, new)
            return False
        # Only now: the old one may have crashed and been started again in the meantime.
        old, slot.current = slot.current, new
        if old is not None:
            await old.stop_and_wait()
        return True

    def _log_failed_reload(self, slot: Slot, new: WorkerProcess) -> None:
        if not self._stopping:
            why = {"error": new.error} if new.error else {}
            self._log("reload failed, the old worker goes on", worker=slot.number, **why)

    async def _stop_all(self) -> None:
        workers = self.processes()
        for worker in workers:
            await worker.launched.wait()  # it needs the sockets until then
        async with anyio.create_task_group() as stops:
            for worker in workers:
                worker.stop()
                stops.start_soon(worker.wait_or_kill)
            self._close_sockets()
        self._log("stopped")
        assert self._group is not None
        self._group.cancel_scope.cancel()

    def _close_sockets(self) -> None:
        for slot in self.slots:
            for sock in slot.sockets:
                sock.close()

    def _new_worker(self, slot: Slot) -> WorkerProcess:
        return WorkerProcess(slot.number, self._configuration, self._log)
