"""Waiting for the end of a child process without reaping it.

Linux has descriptors of processes, which become readable when the process has ended. Elsewhere, and
where no descriptor is to be had, a thread waits with ``waitid(WNOWAIT)``: one for each process, for
as long as it lives. Neither takes the exit status; that stays with ``Popen.poll()``.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import Protocol, final

from anyio_mio._backend.synchronization import Event, Lock
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.worker_threads import Job


class ProcessExit(Protocol):
    """The end of one child process."""

    async def wait(self, kernel: Kernel) -> None:
        """Wait until it has probably ended; ask ``Popen.poll()``. Any number of tasks may."""


def process_exit(pid: int) -> ProcessExit:
    """The best way to wait that this system has."""
    return DescriptorExit(pid) if hasattr(os, "pidfd_open") else ThreadExit(pid)


@final
class DescriptorExit:
    """Waits on a descriptor that is open only meanwhile, so none is left if nobody waits."""

    __slots__ = ("_fallback", "_lock", "_pid")

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lock = Lock(fast_acquire=True)
        self._fallback = ThreadExit(pid)

    async def wait(self, kernel: Kernel) -> None:
        """See `ProcessExit`."""
        async with self._lock:  # a descriptor has one waiter; the next finds the process gone
            try:
                fd = os.pidfd_open(self._pid)
            except ProcessLookupError:
                return
            except OSError:  # an old kernel, a sandbox, or no descriptor left
                await self._fallback.wait(kernel)
                return
            try:
                await kernel.reactor.foreign.wait_readable(fd)
            finally:
                kernel.reactor.foreign.notify_closing(fd)
                os.close(fd)


@final
class ThreadExit:
    """Waits for a thread that waits."""

    __slots__ = ("_ended", "_pid")

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended: Event | None = None

    async def wait(self, kernel: Kernel) -> None:
        """See `ProcessExit`."""
        if self._ended is None:
            self._ended = Event()
            # A system task, so that a cancelled waiter leaves no thread behind for each attempt.
            kernel.spawn_system(self._watch(kernel, self._ended), f"wait for process {self._pid}")
        await self._ended.wait()

    async def _watch(self, kernel: Kernel, ended: Event) -> None:
        await Job(kernel, partial(wait_for_exit, self._pid), abandon_on_cancel=True).run()
        ended.set()


def wait_for_exit(pid: int) -> None:
    """Block until the child has ended; at once if it has been reaped."""
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
