"""Writing that never waits for the reader.

Facts. Pipes, terminals and sockets have bounded buffers. If the buffer is full, a write waits for
the reader: a log collector that hangs, a terminal after Ctrl-S or a suspended supervisor would stop
a server. O_NONBLOCK belongs to the open file, which is shared with the processes that have the same
terminal or pipe, so setting it changes their writes.

Decision. On Linux ``/proc/self/fd/N`` opens the same pipe or terminal a second time, with flags of
its own. Elsewhere, and where that is not allowed, the flag is set for the moment of the write.
Messages that do not fit are kept, up to `BACKLOG` bytes, and written later. Further messages are
dropped and counted.
"""

from __future__ import annotations

import socket
import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

import io
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias, final

BACKLOG: Final = 256 * 1024
"""Bytes that are kept for a reader that is late."""

PAUSE: Final = 0.01
"""Seconds between two attempts of `NonBlockingWriter.close()`."""

Write: TypeAlias = Callable[[bytes], int]


@final
class NonBlockingWriter:
    """Writes whole messages in order, from any thread, and never waits.

    Args:
        write: writes as many bytes as possible and returns their number, or raises BlockingIOError.

    Attributes:
        dropped: messages that were not written because the reader was late or is gone.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._lock = threading.RLock()
        self._backlog: deque[bytes] = deque()
        self._size = 0
        self.dropped = 0

    def write(self, message: bytes, *, must_be_kept: bool = False) -> None:
        """Write a message now, or keep it, or drop it.

        Args:
            message: all of it is written, or nothing.
            must_be_kept: True if it may exceed the backlog; for the few that matter.
        """
        with self._lock:
            if self._size + len(message) > BACKLOG and not must_be_kept:
                self.dropped += 1
                self.flush()
                return
            self._backlog.append(message)
            self._size += len(message)
            self.flush()

    def flush(self) -> bool:
        """Write the messages that were kept, as far as the reader reads them.

        Returns:
            True if nothing is left.
        """
        with self._lock:
            while self._backlog:
                try:
                    count = self._write(self._backlog[0])
                except BlockingIOError:
                    return False
                except OSError:  # the reader is gone, the disk is full
                    self._drop_all()
                else:
                    self._advance(count)
            return True

    def close(self, seconds: float) -> None:
        """Give the reader a last chance to read the messages that were kept."""
        deadline = time.monotonic() + seconds
        while not self.flush() and time.monotonic() < deadline:
            time.sleep(PAUSE)

    def reset_after_fork(self) -> None:
        """Drop the parent's lines and lock in a forked child: a thread may have held the lock."""
        self._lock = threading.RLock()
        self._backlog.clear()
        self._size = 0

    def _advance(self, count: int) -> None:
        self._size -= count
        message = self._backlog.popleft()
        if count < len(message):
            self._backlog.appendleft(message[count:])

    def _drop_all(self) -> None:
        self.dropped += len(self._backlog)
        self._backlog.clear()
        self._size = 0


def descriptor_writer(fd: int) -> NonBlockingWriter:
    """Return a writer for a descriptor of any kind that may be shared with other processes."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        shared = socket.socket(fileno=os.dup(fd))
        return NonBlockingWriter(lambda data: shared.send(data, socket.MSG_DONTWAIT))
    if stat.S_ISREG(mode):
        return NonBlockingWriter(partial(os.write, fd))
    own = open_again(fd)
    return NonBlockingWriter(partial(write_at_once, fd) if own is None else partial(os.write, own))


def open_again(fd: int) -> int | None:
    """Open what a descriptor refers to, with O_NONBLOCK of our own; None if it cannot be done."""
    if sys.platform != "linux":  # elsewhere it shares the flags, as dup() does
        return None
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None


def write_at_once(fd: int, data: bytes) -> int:
    """Write with O_NONBLOCK set for this moment only."""
    blocking = os.get_blocking(fd)
    os.set_blocking(fd, False)
    try:
        return os.write(fd, data)
    finally:
        os.set_blocking(fd, blocking)


@final
class WriterFile(io.RawIOBase):
    """A file that writes through a `NonBlockingWriter`.

    Args:
        writer: the writer of the bytes.
        fd: the result of `fileno()`.
    """

    def __init__(self, writer: NonBlockingWriter, fd: int) -> None:
        super().__init__()
        self._writer = writer
        self._fd = fd

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: Any, /) -> int:
        message = bytes(data)
        self._writer.write(message)
        return len(message)


def text_file(writer: NonBlockingWriter, fd: int) -> io.TextIOWrapper:
    """Return a text file such as ``sys.stderr``, for a writer."""
    raw = WriterFile(writer, fd)
    return io.TextIOWrapper(
        raw,  # type: ignore[arg-type] # a raw file will do: it takes everything
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,  # a line is one message
    )
