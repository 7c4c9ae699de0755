"""The selector of macOS and the BSDs. It has never been run on one of them.

It is written from the manual pages and from Mio's source and issues. The tests run it on
a model of kqueue (``tests/models/kqueue.py``), AnyIO's own suite included. On a real kqueue, begin
with ``tests/poll``: every test there runs on every selector of its platform.

What the kernel does, where it differs from epoll:

* A registration is a pair of descriptor and filter. Reading and writing are two of them, are
  delivered as two events, and ONESHOT uses up each by itself.
* ``EV_CLEAR`` makes edges. Adding a pair that exists changes it, without an error.
* ``EV_EOF`` says of each half by itself that it is closed, with the errno in ``fflags`` where
  there is one.
* There is no priority filter that all of these systems share: PRIORITY is not reported.
* A set is not inherited by a forked child.

What follows: no book is kept here, so a number that was closed and reused registers like a new one,
and `FileExistsError` and `FileNotFoundError` never come up. A reader that must know the difference
cannot be portable.
"""

from __future__ import annotations

import contextlib
import errno
import select
from collections.abc import Callable, Iterable
from typing import Final, Protocol, final

from anyio_mio.poll._sys.bits import (
    ERROR,
    ONESHOT,
    READ_HANGUP,
    READABLE,
    READS,
    WRITABLE,
    WRITE_HANGUP,
    WRITES,
)
from anyio_mio.poll._sys.closable import Closable
from anyio_mio.poll._sys.timeout import clamped


class _Kevent(Protocol):
    ident: int
    filter: int
    flags: int
    fflags: int


class _Kqueue(Protocol):
    def control(
        self, changes: Iterable[_Kevent] | None, max_events: int, timeout: float | None = None, /
    ) -> list[_Kevent]: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


# The numbers are those of macOS, FreeBSD, OpenBSD and DragonFly; NetBSD's filters differ, which is
# why the platform is asked first. They are here so that the translation can be tested anywhere.
FILTER_READ: Final[int] = getattr(select, "KQ_FILTER_READ", -1)
FILTER_WRITE: Final[int] = getattr(select, "KQ_FILTER_WRITE", -2)
EV_ADD: Final[int] = getattr(select, "KQ_EV_ADD", 0x1)
EV_DELETE: Final[int] = getattr(select, "KQ_EV_DELETE", 0x2)
EV_ONESHOT: Final[int] = getattr(select, "KQ_EV_ONESHOT", 0x10)
EV_CLEAR: Final[int] = getattr(select, "KQ_EV_CLEAR", 0x20)
EV_ERROR: Final[int] = getattr(select, "KQ_EV_ERROR", 0x4000)
EV_EOF: Final[int] = getattr(select, "KQ_EV_EOF", 0x8000)


@final
class KqueueSelector(Closable):
    """A `Selector` on `kqueue(2)`.

    Ownership:
        It holds one descriptor (close-on-exec) until `close()`.
    """

    __slots__ = ("_control", "_kevent", "_kqueue")

    name: Final = "kqueue"
    edge_triggered: Final = True
    tells_priority: Final = False

    def __init__(self) -> None:
        new_kqueue: Callable[[], _Kqueue] = getattr(select, "kqueue")  # noqa: B009 - not on Linux
        self._kevent: Callable[[int, int, int], _Kevent] = getattr(select, "kevent")  # noqa: B009
        self._kqueue = new_kqueue()
        self._control = self._kqueue.control

    def register(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """See `Selector.register`. `fd` may be registered already, and is then changed."""
        if fd < 0:
            raise ValueError(f"{fd} is not a descriptor")
        flags = EV_ADD | (EV_CLEAR if edge else 0) | (EV_ONESHOT if bits & ONESHOT else 0)
        if bits & READS:
            self._add(fd, FILTER_READ, flags)
        if bits & WRITES:
            try:
                self._add(fd, FILTER_WRITE, flags)
            except OSError:
                with contextlib.suppress(OSError):
                    self._delete(fd, FILTER_READ)  # both directions are watched, or none
                raise

    def reregister(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """See `Selector.reregister`. `fd` need not be registered."""
        # Deleted and added anew: adding alone would keep the edge and oneshot flags of the past.
        self.deregister(fd)
        self.register(fd, bits, edge=edge)

    def deregister(self, fd: int) -> None:
        """See `Selector.deregister`. `fd` need not be registered."""
        self._delete(fd, FILTER_READ)
        self._delete(fd, FILTER_WRITE)

    def select(self, timeout: float | None, capacity: int) -> list[tuple[int, int]]:
        """See `Selector.select`."""
        wait = None if timeout is None else clamped(timeout)
        return [(event.ident, bits_of(event)) for event in self._control(None, capacity, wait)]

    def rearm(self, fd: int, bits: int) -> None:
        """Do nothing: the kernel makes the next edge by itself."""

    def fileno(self) -> int:
        """See `Selector.fileno`."""
        return self._kqueue.fileno()

    def close(self) -> None:
        """See `Selector.close`."""
        self._kqueue.close()

    def _add(self, fd: int, kind: int, flags: int) -> None:
        try:
            # With room for no event, an error of the change is raised and not returned as one.
            self._control([self._kevent(fd, kind, flags)], 0, 0)
        except BrokenPipeError:
            # A pipe whose other end is gone. macOS refuses it and reports the closing as an event
            # all the same (tokio-rs/mio#582).
            pass

    def _delete(self, fd: int, kind: int) -> None:
        try:
            self._control([self._kevent(fd, kind, EV_DELETE)], 0, 0)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


def bits_of(event: _Kevent) -> int:
    """Translate one event of the kernel into readiness bits."""
    reading = event.filter == FILTER_READ
    bits = READABLE if reading else WRITABLE
    if event.flags & EV_EOF:
        bits |= READ_HANGUP if reading else WRITE_HANGUP
        bits |= ERROR if event.fflags else 0
    if event.flags & EV_ERROR:
        bits |= ERROR
    return bits
