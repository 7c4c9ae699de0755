"""The selector for all other platforms: poll or select, with emulated edges.

What the system offers is a look at the state: as long as bytes wait, each look says readable. An
owner of an edge-triggered registration is promised silence between two changes, and would otherwise
be woken without end. So, as Mio does where the kernel has no edges:

* Delivering a direction disarms it. It is not looked at again, even if more arrives.
* The owner goes on until the operation would block, and says so with `rearm`. Now the state cannot
  be ready any more, unless something new has come: looking again finds changes only.
* HANGUP and ERROR cannot be left out of a look. They disarm both directions, and a descriptor
  that has none armed is not looked at.

Differences from native edges, all of them on the silent side: new data is not announced to an
owner that has not drained the old, so a *short* read does not end a drain here; and the selector
keeps the book itself, so its owner deregisters before closing. When that is forgotten, the next
look drops the number, and a registration notices by the file's identity that its number was reused.

A look works on the set as it was when it began. A change from another thread therefore rings the
selector's own waker, and the look begins again with the time that is left.

The cost is linear in the number of descriptors, at each wait. That is the price of portability.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
import time
from typing import Final, final

from anyio_mio.poll._sys.bits import BOTH, ONESHOT, READABLE, READS, WRITES
from anyio_mio.poll._sys.closable import Closable
from anyio_mio.poll._sys.scan import IS_WINDOWS, Scan, default_scan, is_open
from anyio_mio.poll._sys.timeout import clamped
from anyio_mio.poll.waker import Waker


@final
class LevelSelector(Closable):
    """A `Selector` on `poll(2)` or `select(2)`, with emulated edges.

    Args:
        scan: The system call to look with. None takes the best one of this platform.

    Ownership:
        It holds the descriptors of its waker until `close()`.
    """

    name: Final = "level"
    edge_triggered: Final = False
    tells_priority: Final = True

    def __init__(self, scan: Scan | None = None) -> None:
        self._scan = default_scan() if scan is None else scan
        self._watches: dict[int, _Watch] = {}
        self._lock = threading.Lock()
        self._looking = False
        self._last_fd = -1
        self._waker = Waker()
        self._scan.watch(self._waker.fileno(), READABLE)

    def register(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """See `Selector.register`."""
        identity = _pollable_identity(fd)
        with self._lock:
            self._require_open()
            old = self._watches.get(fd)
            if old is not None and old.identity == identity:
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
            self._watch(fd, _Watch(bits, identity, edge=edge))

    def reregister(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """See `Selector.reregister`."""
        identity = _pollable_identity(fd)
        with self._lock:
            self._known(fd)
            self._watch(fd, _Watch(bits, identity, edge=edge))

    def deregister(self, fd: int) -> None:
        """See `Selector.deregister`."""
        with self._lock:
            self._known(fd)
            self._forget(fd)

    def rearm(self, fd: int, bits: int) -> None:
        """See `Selector.rearm`."""
        with self._lock:
            watch = self._watches.get(fd)
            if watch is not None and watch.rearm(bits):
                self._look_for(fd, watch.armed)

    def select(self, timeout: float | None, capacity: int) -> list[tuple[int, int]]:
        """See `Selector.select`."""
        left = None if timeout is None else clamped(timeout)
        deadline = None if left is None else time.monotonic() + left
        while True:
            pairs = self._deliver(self._look(left), capacity)
            if pairs:
                return pairs
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return pairs

    def fileno(self) -> int:
        """Raise: a set that only exists while it is looked at has no descriptor."""
        raise io.UnsupportedOperation(
            "the level selector has no descriptor, so it cannot be waited for by another poller\n"
            "  right: default_selector('epoll') or default_selector('kqueue'), where there is one"
        )

    def close(self) -> None:
        """See `Selector.close`."""
        with self._lock:
            for fd in tuple(self._watches):
                self._forget(fd)
            self._waker.wake()
            self._waker.close()

    def close_in_child(self) -> None:
        """Close after a fork, without a lock, and without a wake, which the parent would get."""
        self._lock = threading.Lock()
        self._watches.clear()
        self._waker.close_in_child()

    def __repr__(self) -> str:
        return f"<LevelSelector {type(self._scan).__name__} watching {len(self._watches)}>"

    def _look(self, timeout: float | None) -> list[tuple[int, int]]:
        with self._lock:
            self._require_open()
            # From here on a change rings: the look may have copied the set already.
            self._looking = True
        try:
            return self._scan.wait(timeout)
        finally:
            self._looking = False

    def _deliver(self, seen: list[tuple[int, int]], capacity: int) -> list[tuple[int, int]]:
        pairs: list[tuple[int, int]] = []
        with self._lock:
            for fd, bits in self._in_turn(seen, capacity):
                if fd == self._waker.fileno():
                    self._waker.drain()
                elif len(pairs) < capacity:
                    self._deliver_one(fd, bits, pairs)
            if pairs:
                self._last_fd = pairs[-1][0]
        return pairs

    def _deliver_one(self, fd: int, seen: int, pairs: list[tuple[int, int]]) -> None:
        watch = self._watches.get(fd)
        if watch is None:
            return
        if not seen:
            # The look is over, and the number may have been registered anew since.
            if not watch.is_of(fd):
                self._forget(fd)
            return
        bits = seen & (watch.armed | BOTH)
        if bits:
            pairs.append((fd, bits))
            if watch.disarm(bits):
                self._look_for(fd, watch.armed)

    def _in_turn(self, seen: list[tuple[int, int]], capacity: int) -> list[tuple[int, int]]:
        """Begin after the descriptor that was served last, so that none starves."""
        if len(seen) <= capacity:
            return seen
        return sorted(seen, key=lambda pair: (pair[0] <= self._last_fd, pair[0]))

    def _watch(self, fd: int, watch: _Watch) -> None:
        self._look_for(fd, watch.armed)
        self._watches[fd] = watch

    def _forget(self, fd: int) -> None:
        del self._watches[fd]
        self._look_for(fd, 0)

    def _look_for(self, fd: int, armed: int) -> None:
        if armed:
            self._scan.watch(fd, armed)
        else:
            self._scan.drop(fd)
        if self._looking:
            self._waker.wake()

    def _known(self, fd: int) -> None:
        self._require_open()
        if fd not in self._watches:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _require_open(self) -> None:
        if self._waker.fileno() < 0:
            raise ValueError("the selector is closed")


@final
class _Watch:
    """One registration: what it asks for, and what of it is armed."""

    __slots__ = ("armed", "edge", "identity", "interest", "oneshot")

    def __init__(self, bits: int, identity: tuple[int, int] | None, *, edge: bool) -> None:
        self.oneshot = bool(bits & ONESHOT)
        self.interest = bits & (READS | WRITES)
        self.armed = self.interest
        self.edge = edge
        self.identity = identity

    def is_of(self, fd: int) -> bool:
        """Return whether `fd` is still the file that was registered."""
        try:
            return _pollable_identity(fd) == self.identity
        except OSError:
            return False

    def disarm(self, delivered: int) -> bool:
        """Take out what `delivered` used up, and say whether anything changed."""
        before = self.armed
        if self.oneshot or (self.edge and delivered & BOTH):
            self.armed = 0
        elif self.edge:
            self.armed &= ~_directions(delivered)
        return self.armed != before

    def rearm(self, bits: int) -> bool:
        """Arm the directions of `bits` again, and say whether anything changed."""
        before = self.armed
        if self.edge and not self.oneshot:
            self.armed |= self.interest & _directions(bits)
        return self.armed != before


def _directions(bits: int) -> int:
    return (READS if bits & READS else 0) | (WRITES if bits & WRITES else 0)


def _pollable_identity(fd: int) -> tuple[int, int] | None:
    """Return what tells one open file from the next of the same number, where that is known.

    Raises:
        OSError: What epoll would raise for `fd`: EBADF, or EPERM for what is always ready.
        ValueError: `fd` is negative.
    """
    if fd < 0:
        raise ValueError(f"{fd} is not a descriptor")
    if IS_WINDOWS:
        if is_open(fd):
            return None  # nothing tells one socket from the next of the same number there
        raise OSError(
            errno.EBADF, f"{fd} is no open socket, and Windows can wait for nothing but sockets"
        )
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    return status.st_dev, status.st_ino
