"""A model of kqueue(2) on Linux: `select.kqueue` and `select.kevent` with the rules of the manual.

Facts. kqueue's *knote* is a pair of descriptor and filter. The kernel activates a knote when
something happens to the descriptor and the filter's condition holds, and looks at the condition
again when it hands the event out. With EV_CLEAR the knote is inactive after that, without it stays
active as long as its condition holds, with EV_ONESHOT it is gone.

Decision. Both halves come from the system, on real descriptors: poll(2) answers whether a filter's
condition holds, and an epoll for each filter tells that something happened, since a wake-up of
Linux stands where BSD calls ``KNOTE()``. What differs between the systems is written here:

* Adding a knote that exists is no error. Its flags stay as they were, and it fires again if its
  condition holds.
* Closing a descriptor removes its knotes, whatever duplicates there are.
* EV_EOF is set for each half: on reading when the peer has shut down, on writing when this end or
  the connection is shut down. Nothing tells of urgent data.
* A socket that is not connected is neither readable nor writable. (Linux says it hangs up.)
* Adding the write filter of a pipe whose reader is gone is EPIPE, as on macOS and FreeBSD.
* Regular files can be watched.
* A forked child does not inherit the queue.

Cost. ``fflags`` says ECONNRESET for every error of a connection, since asking for the right number
would take it away from the program. A descriptor that was closed while a duplicate lives may give
its number's next owner a spurious event, since Linux keeps its entry. BSD wakes writers more often.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import selectors  # noqa: F401 - it chooses its default at import, and must not choose the model
import socket
import stat
import struct
import termios
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from unittest.mock import patch

from anyio_mio.poll._sys.kqueue import (
    EV_ADD,
    EV_CLEAR,
    EV_DELETE,
    EV_EOF,
    EV_ERROR,
    EV_ONESHOT,
    FILTER_READ,
    FILTER_WRITE,
    KqueueSelector,
)

POLLRDHUP = getattr(select, "POLLRDHUP", 0x2000)  # PyPy has no name for it
EPOLLRDHUP = getattr(select, "EPOLLRDHUP", 0x2000)
EVERYTHING = select.POLLIN | select.POLLOUT | POLLRDHUP


@dataclass
class Kevent:
    """As `select.kevent`."""

    ident: int
    filter: int = FILTER_READ
    flags: int = EV_ADD
    fflags: int = 0
    data: int = 0
    udata: int = 0


class Kqueue:
    """As `select.kqueue`."""

    def __init__(self) -> None:
        self._happenings = {FILTER_READ: select.epoll(), FILTER_WRITE: select.epoll()}
        reads, writes = self._happenings.values()
        reads.register(writes.fileno(), select.EPOLLIN)  # so that one descriptor stands for both
        self._knotes: dict[tuple[int, int], Knote] = {}
        self._lock = threading.Lock()
        self.closed = False
        queues.add(self)

    def control(
        self, changes: Iterable[Kevent] | None, max_events: int, timeout: float | None = None, /
    ) -> list[Kevent]:
        """Apply the changes, then wait for events."""
        self.fileno()
        if max_events < 0:
            raise ValueError(f"Length of eventlist must be 0 or positive, got {max_events}")
        if timeout is not None and timeout < 0:
            raise ValueError("timeout must be positive or None")
        failures = list(self._apply_all(changes or (), max_events))
        return failures if failures or not max_events else self._wait(max_events, timeout)

    def fileno(self) -> int:
        """The descriptor, which is readable when there are events."""
        if self.closed:
            raise ValueError("I/O operation on closed kqueue object")
        return self._happenings[FILTER_READ].fileno()

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        self.closed = True
        for epoll in self._happenings.values():
            epoll.close()

    def _apply_all(self, changes: Iterable[Kevent], room: int) -> Iterator[Kevent]:
        for change in changes:
            try:
                with self._lock:
                    self._apply(change)
            except OSError as error:
                if not room:
                    raise
                room -= 1
                yield Kevent(change.ident, change.filter, EV_ERROR, data=error.errno or 0)

    def _apply(self, change: Kevent) -> None:
        if change.filter not in self._happenings:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        key = (change.ident, change.filter)
        file = File(change.ident)
        knote = self._knotes.get(key)
        if knote is not None and knote.file != file:  # its descriptor was closed, and reused
            del self._knotes[key]
            knote = None
        if change.flags & EV_ADD:
            self._add(change, file, knote)
        elif change.flags & EV_DELETE:
            if knote is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            self._remove(knote)

    def _add(self, change: Kevent, file: File, knote: Knote | None) -> None:
        if knote is not None:
            self._happenings[knote.filter].modify(knote.ident, knote.epoll_bits)
            return
        if change.filter == FILTER_WRITE and file.is_pipe and file.look() & select.POLLERR:
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        knote = Knote(change, file)
        if not file.is_regular:
            self._register(knote)
        self._knotes[knote.ident, knote.filter] = knote

    def _register(self, knote: Knote) -> None:
        epoll = self._happenings[knote.filter]
        try:
            epoll.register(knote.ident, knote.epoll_bits)
        except FileExistsError:  # of a file that had this number and came back to it
            epoll.modify(knote.ident, knote.epoll_bits)

    def _remove(self, knote: Knote) -> None:
        del self._knotes[knote.ident, knote.filter]
        with contextlib.suppress(OSError):  # closed, or a regular file
            self._happenings[knote.filter].unregister(knote.ident)

    def _wait(self, room: int, timeout: float | None) -> list[Kevent]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if events := self._harvest(room):
                return events
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            select.select([self.fileno()], [], [], left)
            if left == 0:
                return self._harvest(room)

    def _harvest(self, room: int) -> list[Kevent]:
        """Take what happened, and keep those whose condition holds now."""
        self.fileno()
        events: list[Kevent] = []
        with self._lock:
            regular = [knote for knote in self._knotes.values() if knote.file.is_regular]
            for knote in regular[:room]:
                self._hand_out(knote, events)
            for kind in self._in_turn():
                if len(events) < room:
                    self._harvest_filter(kind, room - len(events), events)
        return events

    def _in_turn(self) -> list[int]:
        """The filters, each of them first at every other call."""
        first, second = self._happenings
        self._happenings = {
            second: self._happenings[second],
            first: self._happenings[first],
        }
        return [first, second]

    def _harvest_filter(self, kind: int, room: int, events: list[Kevent]) -> None:
        for ident, _ in self._happenings[kind].poll(0, room):
            knote = self._knotes.get((ident, kind))
            if knote is not None:
                self._hand_out(knote, events)

    def _hand_out(self, knote: Knote, events: list[Kevent]) -> None:
        event = knote.event()
        if event is not None:
            events.append(event)
            if knote.flags & EV_ONESHOT:
                self._remove(knote)
            elif knote.file.is_regular and knote.flags & EV_CLEAR:
                knote.told = True


class Knote:
    """A filter of a descriptor: what it waits for, and whether it holds."""

    def __init__(self, change: Kevent, file: File) -> None:
        self.ident = change.ident
        self.filter = change.filter
        self.flags = change.flags & (EV_CLEAR | EV_ONESHOT)
        self.file = file
        self.told = False

    @property
    def epoll_bits(self) -> int:
        """What wakes the filter."""
        wakes = select.EPOLLIN | EPOLLRDHUP
        if self.filter == FILTER_WRITE:
            wakes = select.EPOLLOUT
        return wakes | (select.EPOLLET if self.flags & EV_CLEAR else 0)

    def event(self) -> Kevent | None:
        """The event, if the condition holds and the descriptor is still that file."""
        with contextlib.suppress(OSError):
            if not self.told and File(self.ident) == self.file:
                return self._read() if self.filter == FILTER_READ else self._write()
        return None

    def _read(self) -> Kevent | None:
        seen = self.file.look()
        is_over = seen & (select.POLLHUP if self.file.is_pipe else POLLRDHUP)
        if not (is_over or seen & (select.POLLIN | select.POLLERR)):
            return None
        return self._kevent(seen, is_over=bool(is_over), data=self.file.bytes_to_read())

    def _write(self) -> Kevent | None:
        seen = self.file.look()
        is_over = self.file.takes_no_bytes(seen)
        if not (is_over or seen & (select.POLLOUT | select.POLLERR)):
            return None
        return self._kevent(seen, is_over=is_over, data=1)

    def _kevent(self, seen: int, *, is_over: bool, data: int) -> Kevent:
        failed = bool(seen & select.POLLERR) and not self.file.is_pipe
        over = EV_EOF if is_over or (failed and self.file.is_stream) else 0
        fflags = errno.ECONNRESET if over and failed else 0
        return Kevent(self.ident, self.filter, self.flags | over, fflags, data)


class File:
    """What a descriptor stands for.

    Raises:
        OSError: the descriptor is closed (EBADF).
    """

    def __init__(self, fd: int) -> None:
        status = os.fstat(fd)
        self._fd = fd
        self._identity = (status.st_dev, status.st_ino)
        self.is_regular = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        self.is_pipe = stat.S_ISFIFO(status.st_mode)
        self.is_socket = stat.S_ISSOCK(status.st_mode)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def is_stream(self) -> bool:
        """Whether it is a socket that has a connection."""
        return self.is_socket and self._kind() == socket.SOCK_STREAM

    def look(self) -> int:
        """Ask poll(2); zero for a socket that is not connected yet."""
        poll = select.poll()
        poll.register(self._fd, EVERYTHING)
        seen = sum(bits for _, bits in poll.poll(0))
        if self.is_socket and seen & select.POLLHUP and not seen & POLLRDHUP:
            return 0
        return seen

    def takes_no_bytes(self, seen: int) -> bool:
        """Whether nothing can be written any more."""
        if self.is_pipe:
            return bool(seen & select.POLLERR)
        if seen & (select.POLLHUP | select.POLLERR) or not seen & select.POLLOUT:
            return bool(seen & select.POLLHUP)
        return self.is_stream and self._has_shut_down()

    def bytes_to_read(self) -> int:
        """The number that FIONREAD gives; 1 for what has none, a listener for example."""
        with contextlib.suppress(OSError):
            [number] = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, b"\0\0\0\0"))
            return int(number)
        return 1

    def _kind(self) -> int:
        sock = socket.socket(fileno=self._fd)
        try:
            return sock.type
        finally:
            sock.detach()

    def _has_shut_down(self) -> bool:
        """Send no byte: that is refused after ``shutdown(SHUT_WR)``, and does nothing else."""
        sock = socket.socket(fileno=self._fd)
        try:
            sock.send(b"", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BrokenPipeError:
            return True
        except OSError:
            return False
        finally:
            sock.detach()
        return False


queues: weakref.WeakSet[Kqueue] = weakref.WeakSet()


def _leave_them_to_the_parent() -> None:
    for queue in list(queues):
        queue.close()


os.register_at_fork(after_in_child=_leave_them_to_the_parent)

NAMES = {
    "kqueue": Kqueue,
    "kevent": Kevent,
    "KQ_FILTER_READ": FILTER_READ,
    "KQ_FILTER_WRITE": FILTER_WRITE,
    "KQ_EV_ADD": EV_ADD,
    "KQ_EV_DELETE": EV_DELETE,
    "KQ_EV_ONESHOT": EV_ONESHOT,
    "KQ_EV_CLEAR": EV_CLEAR,
    "KQ_EV_ERROR": EV_ERROR,
    "KQ_EV_EOF": EV_EOF,
}


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Give the module `select` a kqueue for as long as this is entered."""
    with contextlib.ExitStack() as stack:
        for name, value in NAMES.items():
            stack.enter_context(patch.object(select, name, value, create=True))
        yield


def make_selector() -> KqueueSelector:
    """The selector of macOS and the BSDs, on the model."""
    with installed():
        return KqueueSelector()
