"""Linux's selector: a thin layer around Python's epoll object, edge-triggered.

Facts about epoll (`epoll(7)`; the tests in ``tests/poll`` check them):

* An edge reports that something *happens*: each segment, datagram, connection or write that arrives
  makes one, even if the previous one was not consumed. A state that stays the same makes none. Five
  queued connections may be one edge, and accepting one of the five makes no other.
* A partial read without new data makes no edge. `EPOLL_CTL_MOD` checks the state again, and reports
  it again.
* If data and FIN arrive before the first poll, they are one event, ``READABLE | READ_HANGUP``. A
  read of the data makes no further event: the end of file has no edge of its own.
* An operation that fails and leaves the queue as it was (`EMFILE` in accept) makes no event either.
* A registration belongs to the open file description, not to the number. Closing the last
  descriptor removes it. A duplicate (`dup`, `fork`) keeps it alive; then it still reports the old
  number, which may belong to another file by then.
* `ERROR` and `HANGUP` are always reported.

Consequences for the owner of a descriptor: repeat an operation until it would block, and remember
readiness until then; treat every event as a hint; keep a closed flag after the read that follows
it.

Decision. Registrations are edge-triggered by default. Then a connection needs one `epoll_ctl` in
its whole life: waiting again, or for the other direction, costs none. Each registration for reading
includes ``READ_HANGUP``, because without it a short read does not tell whether more follows.

Cost. If an owner stops early, it gets no event for the remaining data. So foreign descriptors,
whose owners may stop early, are watched with ``ONESHOT`` and ``edge=False``, and registered again
for each wait. Timeouts are rounded up to whole milliseconds: no wait ends early, and a wait of 0.1
ms takes 1 ms. A forked child shares the registrations, and its waits would take the parent's edges,
so a child must make its own selector.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Callable
from typing import Final, Protocol, final

from anyio_mio.poll._sys.bits import EDGE
from anyio_mio.poll._sys.closable import Closable
from anyio_mio.poll._sys.timeout import MAX_TIMEOUT, clamped


class _Epoll(Protocol):
    @property
    def closed(self) -> bool: ...
    def register(self, fd: int, eventmask: int, /) -> None: ...
    def modify(self, fd: int, eventmask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
    def poll(self, timeout: float, maxevents: int, /) -> list[tuple[int, int]]: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


@final
class EpollSelector(Closable):
    """A `Selector` on `epoll(7)`.

    Ownership:
        It holds one descriptor (close-on-exec) until `close()`.
    """

    __slots__ = ("_ctl_add", "_ctl_del", "_ctl_mod", "_epoll", "_wait")

    name: Final = "epoll"
    edge_triggered: Final = True
    tells_priority: Final = True

    def __init__(self) -> None:
        new_epoll: Callable[[], _Epoll] = getattr(select, "epoll")  # noqa: B009 - Linux's only
        self._epoll = new_epoll()
        # Bound once: `select` runs once a turn, and should do little more than the system call.
        self._wait = self._epoll.poll
        self._ctl_add = self._epoll.register
        self._ctl_mod = self._epoll.modify
        self._ctl_del = self._epoll.unregister

    def register(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """See `Selector.register`."""
        try:
            self._ctl_add(fd, bits | EDGE if edge else bits)
        except OSError as error:
            raise in_words(error) from None

    def reregister(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """See `Selector.reregister`."""
        self._ctl_mod(fd, bits | EDGE if edge else bits)

    def deregister(self, fd: int) -> None:
        """See `Selector.deregister`."""
        self._ctl_del(fd)

    def select(self, timeout: float | None, capacity: int) -> list[tuple[int, int]]:
        """See `Selector.select`."""
        if timeout is None:
            return self._wait(-1, capacity)  # PyPy does not accept None
        if 0 <= timeout <= MAX_TIMEOUT:
            return self._wait(timeout, capacity)
        return self._wait(clamped(timeout), capacity)

    def rearm(self, fd: int, bits: int) -> None:
        """Do nothing: the system makes the next edge itself."""

    def fileno(self) -> int:
        """See `Selector.fileno`."""
        return self._epoll.fileno()

    def close(self) -> None:
        """See `Selector.close`."""
        self._epoll.close()

    def __repr__(self) -> str:
        state = "closed" if self._epoll.closed else f"fd={self._epoll.fileno()}"
        return f"<EpollSelector {state}>"


def in_words(error: OSError) -> OSError:
    """Return an error that explains ENOSPC; return other errors as they are."""
    if error.errno != errno.ENOSPC:
        return error
    return OSError(
        errno.ENOSPC,
        "this user's epolls watch as many descriptors as the system allows\n"
        "  right: sysctl -w fs.epoll.max_user_watches=1000000, or fewer connections",
    )
