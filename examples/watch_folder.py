"""A foreign descriptor: the system reports changes of a folder through inotify.

    python examples/watch_folder.py          # watches the current folder until Ctrl-C

AnyIO has no inotify, and needs none: inotify is a descriptor, and `anyio.wait_readable()` waits for
any descriptor that the system can poll. The rules are the same for a pty, a serial line, a ZeroMQ
socket's `FD` or the socket of a C library:

* Make the descriptor non-blocking, wait, then read until `BlockingIOError`.
* Wait in one task for each direction. A second task gets `anyio.BusyResourceError`.
* Call `anyio.notify_closing()` before you close it. A task that waits then gets
  `anyio.ClosedResourceError`, and does not wait for a number that belongs to another file by then.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager

import anyio

import anyio_mio

CLOSED_AFTER_WRITING, MOVED_TO, DELETED = 0x8, 0x80, 0x200
EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows


def open_inotify(folder: str) -> int:
    """Return a descriptor that becomes readable when a file of the folder changes."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    mask = CLOSED_AFTER_WRITING | MOVED_TO | DELETED
    if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(folder), mask) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), folder)
    return int(descriptor)


def names_in(data: bytes) -> Iterator[str]:
    """Yield the file names of the events that inotify has written."""
    while data:
        *_, length = EVENT.unpack_from(data)
        end = EVENT.size + length
        yield os.fsdecode(data[EVENT.size : end].rstrip(b"\0"))
        data = data[end:]


async def changes(descriptor: int) -> AsyncIterator[str]:
    """Yield the name of each file that changes."""
    while True:
        await anyio.wait_readable(descriptor)
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            continue  # a wake-up is a hint
        for name in names_in(data):
            yield name


@asynccontextmanager
async def watching(folder: str) -> AsyncIterator[AsyncIterator[str]]:
    """Watch a folder; the block gets an iterator of the names that change."""
    descriptor = open_inotify(folder)
    try:
        async with aclosing(changes(descriptor)) as names:  # type: ignore[type-var]
            yield names
    finally:
        anyio.notify_closing(descriptor)
        os.close(descriptor)


async def main(folder: str = ".") -> None:
    """Print the names of the files that change."""
    async with watching(folder) as names:
        print("watching", folder, flush=True)
        async for name in names:
            print("changed:", name, flush=True)


if __name__ == "__main__":
    try:
        anyio_mio.run(main)
    except KeyboardInterrupt:
        pass
