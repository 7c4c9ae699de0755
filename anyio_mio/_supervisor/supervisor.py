"""The supervisor: keeps its workers running, replaces them on request, and stops them gracefully.

Facts. The system queues a new connection on a listening socket before a process accepts it. When
the last process closes that socket, the system resets the clients in its queue.

Decision. The supervisor makes the sockets and keeps them open; each worker serves a copy. A worker
that ends, on request or by a crash, leaves its queue to the next worker on the same socket. To
replace a worker, the supervisor starts the new one first, and stops the old one only when the new
one serves. To stop the server, it signals the workers and closes its own sockets. When the workers
have accepted the queued connections and closed their copies, new clients are refused and do not
wait.

With SO_REUSEPORT each worker has its own socket and queue, and accepts in full batches. If all
workers share one socket (UNIX paths, adopted sockets), they accept one connection at a time, or the
fastest worker would take all.

The state of the supervisor consists of its `State` and the queue of requests::

                      SIGHUP, a recycling limit
             ┌───────────┐ ──────────────▶ ┌───────────┐ ──┐ the next request
    start ──▶│  SERVING  │                 │ REPLACING │   │
             └───────────┘ ◀────────────── └───────────┘ ◀─┘
                   │       all replaced, or      │
    SIGTERM,       │       one failed            │  SIGTERM,
    SIGINT,        ▼                             ▼  SIGINT
    cannot   ┌─────────────────────────────────────────┐   all workers ended
    serve    │                STOPPING                 │ ──────────────────────▶ the run ends
             └─────────────────────────────────────────┘
                SIGTERM, SIGINT: kill the workers

A request that comes during another one waits in the queue; SIGHUP is queued only once. It also
shortens the time that a starting worker has to become ready, because the worker may hang in code
that has been repaired since. `worker_process` shows the states of a single worker.

A crash does not change this state. Each slot has a task that waits for the end of the slot's
current worker. If the worker was replaced, the task waits for the next one; if it ended otherwise,
the task starts another one, after a pause that doubles. So if one worker cannot be started, because
there is no descriptor, memory or process left, the other workers are not affected.
"""

from __future__ import annotations

import signal
import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from socket import socket
from typing import Final, final

import anyio
from anyio.abc import TaskGroup

from anyio_mio._net.accept_queue import HANDSHAKE_TIME
from anyio_mio._supervisor.configuration import Configuration
from anyio_mio._supervisor.listening import ListeningSockets
from anyio_mio._supervisor.log import Log
from anyio_mio._supervisor.metric_sums import MetricSums
from anyio_mio._supervisor.recycling import RETRY_AFTER
from anyio_mio._supervisor.service_manager import ServiceManager
from anyio_mio._supervisor.worker import CANNOT_SERVE
from anyio_mio._supervisor.worker_process import WorkerProcess

FIRST_DELAY: Final = 0.1
LAST_DELAY: Final = 10.0
"""Seconds before a crashed worker is started again: doubled each time, up to the last."""

STABLE_AFTER: Final = 30.0
"""A worker that ran for so many seconds starts again at the first delay."""

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""The signals that the supervisor handles."""

CHECKS_PER_TIMEOUT: Final = 4
"""How many times the silence of a worker is measured within `worker_timeout`."""


class State(Enum):
    """The state of the supervisor; see the module."""

    SERVING = "serving"
    REPLACING = "replacing"
    STOPPING = "stopping"


@final
class Slot:
    """One place for a worker.

    Args:
        number: its number, from 1.
        sockets: the sockets that its worker serves.

    Attributes:
        current: the worker that should serve here.
        alive: every process that still runs here; two while one is replaced.
        delay: seconds to wait after the next crash.
        has_served: set when a worker has become ready here.
    """

    def __init__(self, number: int, sockets: Sequence[socket]) -> None:
        self.number = number
        self.sockets = sockets
        self.current: WorkerProcess | None = None
        self.alive: set[WorkerProcess] = set()
        self.delay = FIRST_DELAY
        self.has_served = anyio.Event()

    def shown(self) -> set[WorkerProcess]:
        """Return the processes that run here, or the last one if none does."""
        return self.alive or ({self.current} if self.current else set())


@dataclass(frozen=True, slots=True)
class Reload:
    """A request to replace every worker."""


@dataclass(frozen=True, slots=True)
class Recycle:
    """A request to replace one worker.

    Attributes:
        worker: the worker.
        reason: the figure that has reached its limit.
    """

    worker: WorkerProcess
    reason: str


@final
class Supervisor:
    """Runs workers until it is stopped.

    Args:
        configuration: the options.
        sockets: the sockets that the workers serve; the supervisor closes them when it stops.
        log: the log of its events.
        manager: the service manager, which gets notifications.

    Attributes:
        state: its state.
        slots: the workers' places.
        ended: the metrics of the workers that have ended.
        replaced: how many workers were replaced, by the reason.
    """

    def __init__(
        self,
        configuration: Configuration,
        sockets: ListeningSockets,
        log: Log,
        manager: ServiceManager,
    ) -> None:
        self._configuration = configuration
        self._sockets = sockets
        self._log = log
        self._manager = manager
        self._requests: deque[Reload | Recycle] = deque()
        self._requested = anyio.Event()
        self._group: TaskGroup | None = None
        self._has_failed = False
        self.state = State.SERVING
        self.ended = MetricSums()
        self.replaced = dict.fromkeys(("crash", "silence", "recycling", "reload"), 0)
        self.slots = [Slot(number, sockets) for number, sockets in enumerate(sockets.slots, 1)]

    async def run(self) -> bool:
        """Serve until a stop signal.

        Returns:
            False if the workers cannot serve at all.

        Checkpoint: always. Cancellation: the workers are killed.
        """
        with anyio.open_signal_receiver(*SIGNALS) as signals:
            async with anyio.create_task_group() as self._group:
                for slot in self.slots:
                    slot.current = self._start_worker(slot)
                    self._group.start_soon(self._keep_running, slot)
                for task in (
                    self._tell_when_ready,
                    self._serve_requests,
                    self._replace_silent_workers,
                    self._manager.feed_watchdog,
                    self._log.flush_when_late,
                ):
                    self._group.start_soon(task)
                async for number in signals:
                    self._take_signal(number)
        return not self._has_failed

    def processes(self) -> list[WorkerProcess]:
        """Return every worker that runs now."""
        return [worker for slot in self.slots for worker in slot.alive]

    def what_is_missing(self) -> str:
        """Return why the server is not ready for clients; empty if it is.

        A reload leaves it ready, since the old worker serves until the new one does.
        """
        if self.state is State.STOPPING:
            return "the server stops"
        for slot in self.slots:
            if slot.current is None or not slot.current.is_ready:
                phase = "starting" if slot.current is None else slot.current.phase.value
                return f"worker {slot.number} is {phase}"
        return ""

    # Signals.

    def _take_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            self._ask_for_reload()
        elif number is signal.SIGUSR2:
            self._renew_certificates()
        elif number is signal.SIGUSR1:
            for worker in self.processes():
                if worker.is_ready:
                    worker.signal(number)  # it prints its task tree
        elif self.state is not State.STOPPING:
            self._log("stopping", signal=number.name, grace=self._configuration.serving.grace)
            self._stop()
        else:
            self._log("stopping at once", level="warning")
            for worker in self.processes():
                worker.signal(signal.SIGKILL)

    def _renew_certificates(self) -> None:
        """Make each worker load the certificate again. Open connections continue."""
        if self._configuration.tls is None:
            self._log("no certificate to renew", level="warning", right="--tls-cert chain.pem")
        for worker in self.processes():
            worker.renew_certificate()

    def _ask_for_reload(self) -> None:
        self._request(Reload())
        for slot in self.slots:
            for worker in slot.alive - {slot.current}:
                worker.hurry()

    # Keeping workers running.

    def _start_worker(self, slot: Slot) -> WorkerProcess:
        assert self._group is not None
        worker = WorkerProcess(slot.number, self._configuration, self._log, self._check_limits)
        slot.alive.add(worker)
        self._group.start_soon(self._run_worker, slot, worker)
        return worker

    async def _run_worker(self, slot: Slot, worker: WorkerProcess) -> None:
        await worker.run(slot.sockets)
        slot.alive.discard(worker)
        self.ended.add(worker.families)

    async def _keep_running(self, slot: Slot) -> None:
        """Start another worker each time that the current one ends without a request."""
        while self.state is not State.STOPPING:
            worker = slot.current
            assert worker is not None
            await worker.settled.wait()
            if worker.is_ready:
                slot.has_served.set()
            await worker.ended.wait()
            if self._ended_unasked(slot, worker):
                await self._recover(slot, worker)

    def _ended_unasked(self, slot: Slot, worker: WorkerProcess) -> bool:
        """Return whether another worker is needed, because no other one has replaced it."""
        return slot.current is worker and self.state is not State.STOPPING

    async def _recover(self, slot: Slot, worker: WorkerProcess) -> None:
        """Wait and start another worker, unless every worker would fail in the same way."""
        if worker.status == CANNOT_SERVE and not any(s.has_served.is_set() for s in self.slots):
            self._log("cannot serve", level="error", error=worker.error)
            self._has_failed = True
            self._stop()
            return
        await self._back_off(slot, worker)
        if self._ended_unasked(slot, worker):
            slot.current = self._start_worker(slot)

    async def _back_off(self, slot: Slot, worker: WorkerProcess) -> None:
        if worker.lived > STABLE_AFTER:
            slot.delay = FIRST_DELAY
        why = {"error": worker.error} if worker.error else {}
        event = "worker not started" if worker.status is None else "worker crashed"
        status = {} if worker.status is None else {"status": worker.status}
        self._log(event, level="error", worker=slot.number, **status, **why, restart_in=slot.delay)
        self.replaced["crash"] += not worker.was_silent
        delay, slot.delay = slot.delay, min(slot.delay * 2, LAST_DELAY)
        await anyio.sleep(delay)

    async def _replace_silent_workers(self) -> None:
        """Kill workers that no longer report: they are stopped, or something blocks their loop."""
        timeout = self._configuration.supervision.worker_timeout
        while timeout:
            before = anyio.current_time()
            await anyio.sleep(timeout / CHECKS_PER_TIMEOUT)
            now = anyio.current_time()
            was_suspended = now - before > timeout / 2  # this process itself: nothing is proved
            for worker in self.processes():
                if was_suspended:
                    worker.last_heard = now
                elif worker.is_ready and now - worker.last_heard > timeout:
                    self._replace_silent(worker)

    def _replace_silent(self, worker: WorkerProcess) -> None:
        assert self._group is not None
        silence = round(anyio.current_time() - worker.last_heard, 1)
        worker.error = f"it gave no sign of life for {silence} s"
        worker.was_silent = True
        self.replaced["silence"] += 1
        self._log(
            "worker silent", level="error", worker=worker.number, pid=worker.pid, seconds=silence
        )
        self._group.start_soon(worker.kill_stuck)

    async def _tell_when_ready(self) -> None:
        """Notify the log and the service manager when every slot has served."""
        for slot in self.slots:
            await slot.has_served.wait()
        for address in self._sockets.addresses():
            self._log("serving", address=address, target=self._configuration.target)
        if self.state is State.SERVING:
            self._tell_ready()

    def _tell_ready(self) -> None:
        self._manager.ready(f"serving with {len(self.slots)} workers")

    # Replacing workers.

    def _request(self, request: Reload | Recycle) -> None:
        if request not in self._requests and self.state is not State.STOPPING:
            self._requests.append(request)
            self._requested.set()

    def _check_limits(self, worker: WorkerProcess) -> None:
        reason = worker.limits.exceeded_by(worker.figures, anyio.current_time())
        if reason and worker.is_ready:
            self._request(Recycle(worker, reason))

    async def _serve_requests(self) -> None:
        """Handle one request after the other."""
        while True:
            await self._requested.wait()
            self._requested = anyio.Event()
            while self._requests and self.state is not State.STOPPING:
                self.state = State.REPLACING
                request = self._requests.popleft()
                if isinstance(request, Reload):
                    await self._reload()
                else:
                    await self._recycle(request)
            if self.state is State.REPLACING:
                self.state = State.SERVING

    async def _reload(self) -> None:
        """Replace the workers one at a time, until one fails."""
        self._log("reloading", workers=len(self.slots))
        self._manager.reloading()
        for slot in self.slots:
            if not await self._replace(slot, "reload"):
                break
        else:
            self._log("reloaded", workers=len(self.slots))
        if self.state is not State.STOPPING:
            self._tell_ready()

    async def _recycle(self, request: Recycle) -> None:
        """Replace one worker, if it still serves."""
        worker = request.worker
        slot = self.slots[worker.number - 1]
        if slot.current is not worker or not worker.is_ready:
            return
        figures = worker.figures
        self._log("recycling", worker=worker.number, reason=request.reason, **figures)
        if not await self._replace(slot, "recycling"):
            worker.limits.suspend(anyio.current_time() + RETRY_AFTER)

    async def _replace(self, slot: Slot, reason: str) -> bool:
        """Replace one worker: the new one serves before the old one stops.

        Returns:
            False if the new one does not serve; the old one then continues.
        """
        if self.state is State.STOPPING:
            return False
        new = self._start_worker(slot)
        await new.settled.wait()
        if not new.is_ready:
            self._log_failed_replacement(slot, new)
            return False
        self.replaced[reason] += 1
        # Only now: the old one may have crashed and been started again in the meantime.
        old, slot.current = slot.current, new
        if old is not None:
            await old.stop_and_wait()
        return True

    def _log_failed_replacement(self, slot: Slot, new: WorkerProcess) -> None:
        if self.state is not State.STOPPING:
            why = {"error": new.error or f"it ended with status {new.status}"}
            self._log(
                "reload failed, the old worker goes on", level="error", worker=slot.number, **why
            )

    # Stopping.

    def _stop(self) -> None:
        assert self._group is not None
        self.state = State.STOPPING
        self._manager.stopping()
        self._group.start_soon(self._stop_all)

    async def _stop_all(self) -> None:
        workers = self.processes()
        for worker in workers:
            await worker.launched.wait()  # it needs the sockets until then
        if self._sockets.refuse_new():
            await anyio.sleep(HANDSHAKE_TIME)
        self._sockets.close()  # first: the workers accept what is queued and close the last copy
        async with anyio.create_task_group() as stops:
            for worker in workers:
                worker.stop()
                stops.start_soon(worker.wait_or_kill)
        self._log("stopped")
        assert self._group is not None
        self._group.cancel_scope.cancel()
