"""Pipes: the parent's ends of a child process's standard streams.

Only our end is switched to non-blocking mode. The two ends of a pipe do not share that flag, so the
child keeps the blocking streams that programs expect.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from anyio.abc import ByteReceiveStream, ByteSendStream

from anyio_mio._net.socket_base import MAX_RECEIVE, MAX_SEND, Descriptor
from anyio_mio._net.streams import MAX_BYTES_ERROR
from anyio_mio._reactor.registration import WAKES_READER, WAKES_WRITER
from anyio_mio._reactor.scheduler import BYTES_PER_UNIT_SHIFT, OPERATION

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor


class PipeEnd(Descriptor):
    """One end of a pipe. It owns the descriptor that it is given."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int, reactor: Reactor) -> None:
        self._fd = fd
        if sys.platform == "win32":
            raise AssertionError("Windows cannot poll pipes: see `_backend.thread_pipes`")
        os.set_blocking(fd, False)
        Descriptor.__init__(self, reactor.register(fd))

    def __del__(self) -> None:
        # Without a warning: programs often leave the pipes of an ended process open.
        if self._fd != -1:
            os.close(self._fd)

    def _release(self) -> None:
        # From now on operations use -1 and fail with EBADF; the number may belong to another file.
        fd, self._fd = self._fd, -1
        os.close(fd)


class PipeReceiveStream(PipeEnd, ByteReceiveStream):
    """The reading end of a pipe."""

    __slots__ = ()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receive what has arrived, waiting for the first byte.

        Args:
            max_bytes: the most to return; at least 1.

        Raises:
            ValueError: ``max_bytes`` is below 1.
            EndOfStream: every writing end is closed.
            ClosedResourceError: this end was closed, before the call or during it.
            BrokenResourceError: reading failed; the cause is the OSError.
            BusyResourceError: another task waits for data.

        Checkpoint: always. Cancellation: no byte is lost.
        """
        if max_bytes < 1:
            raise ValueError(MAX_BYTES_ERROR)
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= OPERATION
        data = await self._registration.attempt(
            WAKES_READER, self._translate, self._read, min(max_bytes, MAX_RECEIVE)
        )
        if not data:
            raise scheduler.errors.end_of_stream
        scheduler.budget -= len(data) >> BYTES_PER_UNIT_SHIFT
        return data

    def _read(self, size: int) -> bytes:
        return os.read(self._fd, size)  # the number may have changed to -1 during the wait


class PipeSendStream(PipeEnd, ByteSendStream):
    """The writing end of a pipe."""

    __slots__ = ("_is_sending",)

    def __init__(self, fd: int, reactor: Reactor) -> None:
        PipeEnd.__init__(self, fd, reactor)
        self._is_sending = False

    async def send(self, item: bytes) -> None:
        """Send all of ``item``.

        Raises:
            ClosedResourceError: this end was closed, before the call or during it.
            BrokenResourceError: every reading end is closed; the cause is the OSError.
            BusyResourceError: another task is in the middle of sending.

        Checkpoint: always. Cancellation: a part may have been sent, as much as the system took.
        """
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= OPERATION
        if self._is_sending:
            raise scheduler.errors.busy("writing to")
        if self._is_closed:
            raise scheduler.errors.closed()
        self._is_sending = True
        try:
            view = memoryview(item).cast("B")
            while view:
                if scheduler.budget < 0:  # at 0 it has paid for this piece
                    await scheduler.checkpoint()
                sent = await self._registration.attempt(
                    WAKES_WRITER, self._translate, self._write, view[:MAX_SEND]
                )
                scheduler.budget -= OPERATION + (sent >> BYTES_PER_UNIT_SHIFT)
                view = view[sent:]
        finally:
            self._is_sending = False

    def _write(self, view: memoryview) -> int:
        return os.write(self._fd, view)
