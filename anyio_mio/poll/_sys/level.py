"""The selector for all other platforms: poll or select, with emulated edges.

poll and select report the state of a descriptor: as long as bytes wait, each call reports readable.
An edge-triggered registration must report changes only, or its owner would be woken without end. So
edges are emulated as in Mio:

* Delivering a direction disarms it. The selector does not look at it again, even if more data
  arrives.
* The owner repeats its operation until it would block, and then calls `rearm`. From then on the
  direction is ready only if something new has arrived, so looking at it finds changes only.
* poll and select always report HANGUP and ERROR. These disarm both directions, and a descriptor
  without an armed direction is not looked at.

There are two differences from native edges. New data makes no event until the owner has drained the
old data, so a *short* read does not end a drain here. And the selector keeps its own book, so an
owner must deregister before closing. If the owner forgets that, the next look drops the number, and
the file's identity shows whether the number was reused.

A wait uses the set of descriptors as it was at the beginning. So a change from another thread wakes
the selector's own waker, and the wait begins again with the remaining time.

Cost. Each wait takes time proportional to the number of descriptors.
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
        """Raise an error: poll and select have no descriptor."""
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
        """Close after a fork, without a lock, and without a wake, which would reach the parent."""
        self._lock = threading.Lock()
        self._watches.clear()
        self._waker.close_in_child()

    def __repr__(self) -> str:
        return f"<LevelSelector {type(self._scan).__name__} watching {len(self._watches)}>"

    def _look(self, timeout: float | None) -> list[tuple[int, int]]:
        with self._lock:
            self._require_open()
            # From here on a change wakes the wait, which may have copied the set already.
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
            # The number may have been registered again since the wait ended.
            if not watch.is_of(fd):
                self._forget(fd)
            return
        bits = seen & (watch.armed | BOTH)
        if bits:
            pairs.append((fd, bits))
            if watch.disarm(bits):
                self._look_for(fd, watch.armed)

    def _in_turn(self, seen: list[tuple[int, int]], capacity: int) -> list[tuple[int, int]]:
        """Begin after the descriptor that was delivered last, so that none starves."""
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
    """One registration: its interest, and the part of it that is armed."""

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
        """Disarm the directions that were delivered; return whether anything changed."""
        before = self.armed
        if self.oneshot or (self.edge and delivered & BOTH):
            self.armed = 0
        elif self.edge:
            self.armed &= ~_directions(delivered)
        return self.armed != before

    def rearm(self, bits: int) -> bool:
        """Arm the directions of `bits` again; return whether anything changed."""
        before = self.armed
        if self.edge and not self.oneshot:
            self.armed |= self.interest & _directions(bits)
        return self.armed != before


def _directions(bits: int) -> int:
    return (READS if bits & READS else 0) | (WRITES if bits & WRITES else 0)


def _pollable_identity(fd: int) -> tuple[int, int] | None:
    """Return the identity of an open file, if known, to notice that a number was reused.

    Raises:
        OSError: As epoll would raise: EBADF, or EPERM for files that are always ready.
        ValueError: `fd` is negative.
    """
    if fd < 0:
        raise ValueError(f"{fd} is not a descriptor")
    if IS_WINDOWS:
        if is_open(fd):
            return None  # Windows has no identity of a socket
        raise OSError(
            errno.EBADF, f"{fd} is not an open socket, and Windows can only wait for sockets"
        )
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    return status.st_dev, status.st_ino
