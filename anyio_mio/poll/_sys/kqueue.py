"""The selector of macOS and the BSDs. It has not been run on any of them yet.

It follows the manual pages, and Mio's source and issues. The tests, and AnyIO's own suite, run it
on a model of kqueue (``tests/models/kqueue.py``). On a real kqueue, begin with ``tests/poll``: each
test there runs on every selector of its platform.

Differences from epoll:

* A registration is a pair of descriptor and filter. Reading and writing are two registrations and
  two events, and ONESHOT disables each of them separately.
* ``EV_CLEAR`` makes edges. Adding a pair that exists changes it, without an error.
* ``EV_EOF`` reports separately for each direction that it is closed, with the errno, if any, in
  ``fflags``.
* The systems have no common priority filter, so PRIORITY is not reported.
* A forked child does not inherit the registrations.

Consequences. This selector keeps no book: a number that was closed and reused registers like a new
one, and `FileExistsError` and `FileNotFoundError` are never raised. Portable code must not rely on
them.
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


# The default numbers are those of macOS, FreeBSD, OpenBSD and DragonFly; NetBSD's filters differ.
# The defaults make it possible to test the translation on any platform.
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
                    self._delete(fd, FILTER_READ)  # watch both directions or none
                raise

    def reregister(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """See `Selector.reregister`. `fd` need not be registered."""
        # Delete, then add: adding alone would keep the old edge and oneshot flags.
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
            # Without room for events, an error of the change is raised and not returned as an
            # event.
            self._control([self._kevent(fd, kind, flags)], 0, 0)
        except BrokenPipeError:
            # The other end of a pipe is closed. macOS raises this, but reports the closing as an
            # event too (tokio-rs/mio#582).
            pass

    def _delete(self, fd: int, kind: int) -> None:
        try:
            self._control([self._kevent(fd, kind, EV_DELETE)], 0, 0)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


def bits_of(event: _Kevent) -> int:
    """Translate one event of the system into readiness bits."""
    reading = event.filter == FILTER_READ
    bits = READABLE if reading else WRITABLE
    if event.flags & EV_EOF:
        bits |= READ_HANGUP if reading else WRITE_HANGUP
        bits |= ERROR if event.fflags else 0
    if event.flags & EV_ERROR:
        bits |= ERROR
    return bits
