"""Linux's selector: the builtin epoll object, edge-triggered, and as little as possible around it.

What the kernel does (`epoll(7)`, and the tests in ``tests/poll`` which hold it to its word):

* An edge is something *happening*: each segment, datagram, connection or write that arrives makes
  one, whether or not the previous was consumed. What merely stays as it was makes none. Five
  queued connections are one edge; accepting one of the five is not another.
* A partial read without new data is silent. `EPOLL_CTL_MOD` looks again and fires again.
* Data and FIN that arrive before the first look are one event, ``READABLE | READ_HANGUP``, and
  after a read that takes the data nothing more comes: the end of file has no edge of its own.
* After a failing operation that left the queue as it was (`EMFILE` in accept) nothing comes either.
* The registration hangs on the open file description, not on the number: closing the last
  descriptor removes it, while a duplicate (`dup`, `fork`) keeps it alive and it goes on reporting a
  number that may by then be someone else's.
* `ERROR` and `HANGUP` are reported without having been asked for.

What follows for the owner of a descriptor: repeat an operation until it would block, and remember
readiness until then; treat every event as a hint; a closed flag outlives the read that follows it.

What was decided: registrations are edge-triggered unless the caller says otherwise. One
`epoll_ctl` then serves a connection for life: waiting for the other direction, or waiting again,
costs none. ``READ_HANGUP`` belongs to each reading registration, because without it a short read
cannot be told from the last one.

What that costs: an owner that stops early strands what is left, so foreign descriptors, whose
owners read as they like, are watched with ``ONESHOT`` and ``edge=False`` and re-registered for each
wait. Timeouts have a grain of one millisecond, rounded up: nothing fires early, a wait of 0.1 ms
takes 1. And the set is shared with a forked child, whose waits steal the parent's edges: a child
makes its own selector.
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
        # Bound once: `select` runs once a turn, and what it does should be the system call.
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
            return self._wait(-1, capacity)  # PyPy takes no None
        if 0 <= timeout <= MAX_TIMEOUT:
            return self._wait(timeout, capacity)
        return self._wait(clamped(timeout), capacity)

    def rearm(self, fd: int, bits: int) -> None:
        """Do nothing: the kernel makes the next edge by itself."""

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
    """Explain what ENOSPC means here; other errors need no explanation."""
    if error.errno != errno.ENOSPC:
        return error
    return OSError(
        errno.ENOSPC,
        "this user's epolls watch as many descriptors as the system allows\n"
        "  right: sysctl -w fs.epoll.max_user_watches=1000000, or fewer connections",
    )
