"""Pipes that cannot be polled: worker threads read and write.

Windows can only wait for sockets, and its pipes to processes are not sockets. So each operation
that may block runs in a worker thread, one at a time for each end.

A thread in a system call cannot be interrupted. Hence three rules:

1. A cancelled `receive()` does not stop its read. The next `receive()` gets the result, so that no
   byte is lost.
2. A cancelled `send()` does not stop its write. The next `send()` begins after it.
3. Closing wakes the task that waits at once. The descriptor is closed by the thread that uses it,
   when its call returns: no thread ever reads from a number that another file has got.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar, final

from anyio.abc import ByteReceiveStream, ByteSendStream

from anyio_mio._backend.synchronization import Event
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.outcome import Outcome
from anyio_mio._kernel.worker_threads import Job
from anyio_mio._net.streams import MAX_BYTES_ERROR

T = TypeVar("T")

MOST_AT_ONCE: Final = 65536
"""Bytes of one read or write."""


@final
class SharedDescriptor:
    """A descriptor that one thread uses while another closes it."""

    __slots__ = ("_fd", "_is_closed", "_lock", "_users")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._users = 0
        self._is_closed = False

    def __del__(self) -> None:
        # Without a warning, as the ends that are polled.
        self.close()

    def use(self, function: Callable[[int], T]) -> T:
        """Call ``function(fd)``, which may block.

        Raises:
            OSError: what the function raised.
        """
        with self._lock:
            self._users += 1
        try:
            return function(self._fd)
        finally:
            with self._lock:
                self._users -= 1
                self._close_if_unused()

    def close(self) -> None:
        """Close it now, or when the last call returns."""
        with self._lock:
            self._is_closed = True
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_closed and not self._users and self._fd != -1:
            fd, self._fd = self._fd, -1
            os.close(fd)


@final
class Call(Outcome[T]):
    """A call in a worker thread, which outlives the task that waits for it."""

    __slots__ = ("_ended",)

    def __init__(self, kernel: Kernel, function: Callable[[], T]) -> None:
        super().__init__()
        self._ended = Event()
        kernel.spawn_system(self._run(kernel, function), "call of a pipe in a thread")

    async def wait(self) -> None:
        """Wait until the call has returned, or was abandoned."""
        await self._ended.wait()

    def leave(self) -> None:
        """Wake the task that waits; the call continues in its thread."""
        self._ended.set()

    async def _run(self, kernel: Kernel, function: Callable[[], T]) -> None:
        try:
            self.value = await Job(kernel, function, abandon_on_cancel=True).run()
        except OSError as error:
            self.error = error
        self._ended.set()


class ThreadPipeEnd(Generic[T]):
    """One end of a pipe. It owns the descriptor that it is given."""

    __slots__ = ("_call", "_descriptor", "_is_busy", "_is_closed", "_kernel")

    def __init__(self, fd: int, kernel: Kernel) -> None:
        self._descriptor = SharedDescriptor(fd)
        self._kernel = kernel
        self._call: Call[T] | None = None
        self._is_busy = self._is_closed = False

    async def aclose(self) -> None:
        """Close it at once, wake the task that waits on it, then pass a checkpoint."""
        if not self._is_closed:
            self._is_closed = True
            if self._call is not None:
                self._call.leave()
            self._descriptor.close()
        await self._kernel.checkpoint()

    async def _begin(self, doing: str) -> None:
        """Pass a checkpoint; raise an error if the end is closed or in use by another task."""
        await self._kernel.checkpoint()
        if self._is_busy:
            raise self._kernel.errors.busy(doing)
        if self._is_closed:
            raise self._kernel.errors.closed()
        self._is_busy = True

    async def _in_thread(self, function: Callable[[int], T]) -> T:
        """Wait for the call of a cancelled operation, or make a new one; return its result."""
        if self._call is None:
            self._call = Call(self._kernel, partial(self._descriptor.use, function))
        await self._call.wait()
        if self._is_closed:
            raise self._kernel.errors.closed()
        call, self._call = self._call, None
        try:
            return call.unwrap()
        except OSError as error:
            raise self._kernel.errors.broken() from error


@final
class ThreadPipeReceiveStream(ThreadPipeEnd[bytes], ByteReceiveStream):
    """The reading end; see `anyio_mio._net.pipes.PipeReceiveStream` for the errors."""

    __slots__ = ("_buffer",)

    def __init__(self, fd: int, kernel: Kernel) -> None:
        super().__init__(fd, kernel)
        self._buffer = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receive what has arrived, waiting for the first byte.

        Checkpoint: always. Cancellation: no byte is lost.
        """
        if max_bytes < 1:
            raise ValueError(MAX_BYTES_ERROR)
        await self._begin("reading from")
        try:
            if not self._buffer:
                self._buffer = await self._in_thread(read_some)
        finally:
            self._is_busy = False
        if not self._buffer:
            raise self._kernel.errors.end_of_stream
        data, self._buffer = self._buffer[:max_bytes], self._buffer[max_bytes:]
        return data


@final
class ThreadPipeSendStream(ThreadPipeEnd[None], ByteSendStream):
    """The writing end; see `anyio_mio._net.pipes.PipeSendStream` for the errors."""

    __slots__ = ()

    async def send(self, item: bytes) -> None:
        """Send all of ``item``.

        Checkpoint: always. Cancellation: the thread continues to write the rest.
        """
        await self._begin("writing to")
        try:
            if self._call is not None:  # of a send that was cancelled
                await self._in_thread(write_nothing)
            view = memoryview(bytes(item))
            for start in range(0, len(view), MOST_AT_ONCE):
                await self._in_thread(partial(write_all, view[start : start + MOST_AT_ONCE]))
        finally:
            self._is_busy = False


def read_some(fd: int) -> bytes:
    """Block until there is something to read."""
    return os.read(fd, MOST_AT_ONCE)


def write_all(view: memoryview, fd: int) -> None:
    """Block until the pipe has taken everything."""
    while view:
        view = view[os.write(fd, view) :]


def write_nothing(fd: int) -> None:
    """Do nothing: the call before is waited for instead."""
