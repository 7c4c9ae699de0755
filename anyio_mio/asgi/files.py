"""Files as bodies: from the page cache to the socket, without a copy in Python.

The events are ``http.response.pathsend``, which sends a whole file by its path, and
``http.response.zerocopysend``, which sends a part of an open file. Below TLS the file is read in a
worker thread instead, because what is sent must be encrypted first.

A read of a file that is not in the page cache blocks the loop, as in other servers that use
``sendfile()``: keep large files that are seldom read on fast disks, or behind a proxy that serves
them.
"""

from __future__ import annotations

import os
import stat
import sys
from types import TracebackType
from typing import Any, Final, Self, final

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import ByteStream

from anyio_mio.asgi.client import raw_socket
from anyio_mio.asgi.errors import ApplicationError

PATH_SEND: Final = "http.response.pathsend"
FILE_SEND: Final = "http.response.zerocopysend"

OPEN_TO_READ: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@final
class FilePart:
    """A part of a file; as a context manager it closes the file, if it has opened it.

    Attributes:
        fd: the file's descriptor.
        offset: where the part begins; ``count`` is its length in bytes.
    """

    def __init__(self, fd: int, offset: int, count: int, *, is_ours: bool) -> None:
        self.fd = fd
        self.offset = offset
        self.count = count
        self._is_ours = is_ours

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_ours:
            os.close(self.fd)

    @classmethod
    def of_event(cls, message: dict[str, Any]) -> FilePart:
        """Open what an event names.

        Raises:
            ApplicationError: it names no regular file, or no part of one.
            OSError: the file cannot be opened.
        """
        if message["type"] == PATH_SEND:
            path = message.get("path")
            if not isinstance(path, (str, os.PathLike)):
                raise ApplicationError(f'the path is {path!r}\n  right: "path": "/srv/file"')
            fd = os.open(path, OPEN_TO_READ)
            part = cls(fd, 0, 0, is_ours=True)
        else:
            part = cls(descriptor_of(message.get("file")), 0, 0, is_ours=False)
        try:
            part._measure(message)
        except BaseException:
            part.__exit__(None, None, None)
            raise
        return part

    def _measure(self, message: dict[str, Any]) -> None:
        status = os.fstat(self.fd)
        if not stat.S_ISREG(status.st_mode):
            raise ApplicationError(
                "it names something that is not a regular file\n  right: a file on a disk"
            )
        if not self._is_ours:
            offset = message.get("offset")
            self.offset = os.lseek(self.fd, 0, os.SEEK_CUR) if offset is None else offset
        rest = max(status.st_size - self.offset, 0)
        count = None if self._is_ours else message.get("count")
        self.count = rest if count is None else count
        if self.offset < 0 or not 0 <= self.count <= rest:
            raise ApplicationError(
                f"its part has offset={self.offset} and count={self.count},"
                f" the file has {status.st_size} bytes\n  right: a part that is in the file"
            )


def read_at(fd: int, count: int, offset: int) -> bytes:
    """Read a part of a file; where the system has no `os.pread()`, this moves its position.

    Not a checkpoint; it blocks while the disk reads.
    """
    if sys.platform != "win32":
        return os.pread(fd, count, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, count)


def descriptor_of(file: Any) -> int:
    """Return the descriptor of an open file.

    Raises:
        ApplicationError: it has none.
    """
    try:
        return file if isinstance(file, int) else int(file.fileno())
    except (AttributeError, OSError, ValueError):
        raise ApplicationError(
            f"the file is {file!r}\n  right: a file that was opened with 'rb'"
        ) from None


async def send_from_file(stream: ByteStream, fd: int, offset: int, count: int) -> int:
    """Copy from a file to a stream, by the system.

    Returns:
        The number of bytes that it took; 0 at the end of the file.
    """
    if sys.platform == "win32":
        raise NotImplementedError("Windows has no sendfile()")
    sock = raw_socket(stream)
    # Let others run: a client that reads fast never makes this wait.
    await anyio.lowlevel.checkpoint()
    while True:
        try:
            return os.sendfile(sock.fileno(), fd, offset, count)
        except BlockingIOError:
            await anyio.wait_writable(sock)


async def copy_from_file(stream: ByteStream, fd: int, offset: int, count: int) -> int:
    """Read from a file in a worker thread, and send that: below TLS, or without `os.sendfile`.

    Returns:
        The number of bytes that were sent; 0 at the end of the file.
    """
    data = await anyio.to_thread.run_sync(read_at, fd, count, offset)
    await stream.send(data)
    return len(data)
