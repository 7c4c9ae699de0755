"""The registry: the sources that a poll watches, each with its token.

Rules:

1. The book and the selector change together, under one lock. A poll takes the same lock to look a
   descriptor up, so no event meets a registration that is only half made.
2. The selector decides whether a call is an error. The book cannot know, because closing a
   descriptor ends its registration silently, and a new descriptor may get the same number.
3. A registration is replaced and never changed, so an event of an old registration can be
   recognised.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import Any, Final, Protocol, TypeAlias, final, runtime_checkable

from anyio_mio.poll._sys.bits import BOTH, READABLE, WRITE_HANGUP
from anyio_mio.poll._sys.selector import Selector
from anyio_mio.poll.interest import Interest
from anyio_mio.poll.token import Token
from anyio_mio.poll.waker import Waker


@runtime_checkable
class HasFileno(Protocol):
    """An object that owns one descriptor."""

    def fileno(self) -> int:
        """Return the number of the descriptor, or a negative one when it is closed."""


Descriptor: TypeAlias = int | HasFileno


class Source(Protocol):
    """An object that registers its parts itself.

    If the object also has a `fileno()`, the registry uses its descriptor and does not call these
    methods. The caller of the registry gets the errors that they raise.
    """

    def register(self, registry: Registry, token: Token, interest: Interest) -> None:
        """Register the parts with `registry`, which was asked to register this object."""

    def reregister(self, registry: Registry, token: Token, interest: Interest) -> None:
        """Replace the registration of the parts."""

    def deregister(self, registry: Registry) -> None:
        """Deregister the parts."""


def descriptor_of(source: Descriptor) -> int:
    """Return the number of the descriptor that `source` is or has.

    Raises:
        OSError: `source` is closed (EBADF).
    """
    fd = source if isinstance(source, int) else source.fileno()
    if fd < 0:
        raise OSError(errno.EBADF, f"{os.strerror(errno.EBADF)}: {source!r} is closed")
    return fd


UNASKED: Final = BOTH | WRITE_HANGUP
"""The bits that are reported even if the interest does not include them."""


@final
class Entry:
    """The owner of a descriptor that was registered with a token.

    Attributes:
        token: the token that the source was registered with.
        mask: the bits that are reported to the owner.
        alive: False after the entry was replaced or removed.
    """

    __slots__ = ("alive", "mask", "token")

    def __init__(self, token: Token, bits: int) -> None:
        self.token: Final = token
        self.mask: Final = bits | UNASKED
        self.alive: bool = True


@final
class Registry:
    """Registers sources with a poll. It belongs to one `Poll`, and any thread may use it.

    Each method takes effect at once, even on a wait of another thread.

    `register()`, `reregister()` and `deregister()` take sources and interests, as Mio's do. Below
    them are `add()`, `change()`, `remove()` and `forget()`, which take descriptors, bits, and an
    owner, which is an object in the place of a token. The reactor of the backend uses these.

    Attributes:
        book: the owner of each registered descriptor: an `Entry` with a token, or the object that
            was added. There is no other map from a descriptor to its owner. Other code may read it,
            and only the registry writes it.
    """

    def __init__(self, selector: Selector) -> None:
        self.book: Final[dict[int, Any]] = {}
        self._selector = selector
        self._lock = threading.Lock()
        self._waker: Waker | None = None

    def register(self, source: Descriptor | Source, token: Token, interest: Interest) -> None:
        """Watch `source`: its events carry `token`, and report the directions in `interest`.

        If the source is ready already, it makes an event. It should be non-blocking.

        Args:
            source: A descriptor, an object with `fileno()`, or a `Source`.
            token: The token of its events. It should be unique, to tell sources apart.
            interest: The directions to watch.

        Raises:
            FileExistsError: `source` is registered already.
            PermissionError: `source` is a regular file or a directory.
            OSError: `source` is closed (EBADF), or the system has no room (ENOSPC, ENOMEM).

        Ownership:
            The caller keeps the source, and deregisters it before closing it.
        """
        if not isinstance(source, (int, HasFileno)):
            source.register(self, token, interest)
            return
        fd = descriptor_of(source)
        try:
            self.add(fd, Entry(token, interest.bits), interest.bits)
        except FileExistsError:
            raise _already_registered(fd) from None
        except PermissionError:
            raise _always_ready(fd) from None

    def reregister(self, source: Descriptor | Source, token: Token, interest: Interest) -> None:
        """Replace the token and the interest of `source`. If it is ready, it makes an event again.

        Raises:
            FileNotFoundError: `source` is not registered.
            OSError: `source` is closed (EBADF).
        """
        if not isinstance(source, (int, HasFileno)):
            source.reregister(self, token, interest)
            return
        fd = descriptor_of(source)
        with self._lock:
            self._require(fd, "reregister")
            self._selector.reregister(fd, interest.bits)
            self._write(fd, Entry(token, interest.bits))

    def deregister(self, source: Descriptor | Source) -> None:
        """Forget `source`. No event carries its token after that, not even one fetched before.

        Raises:
            FileNotFoundError: `source` is not registered.
            OSError: `source` is closed (EBADF).
        """
        if not isinstance(source, (int, HasFileno)):
            source.deregister(self)
            return
        fd = descriptor_of(source)
        with self._lock:
            self._require(fd, "deregister")
            self.forget(fd)
            self._selector.deregister(fd)

    def would_block(self, source: Descriptor, interest: Interest) -> None:
        """Report that an operation on `source` would block, in the directions of `interest`.

        Portable programs call it each time they stop because of `BlockingIOError`. If the selector
        emulates edges, the next event depends on it; on epoll and kqueue it does nothing. Mio's
        sockets do this themselves. Python's sockets cannot, because they do not know the poll.

        Raises:
            OSError: `source` is closed (EBADF).
        """
        self._selector.rearm(descriptor_of(source), interest.bits)

    def waker(self, token: Token, *, pipe: bool = False) -> Waker:
        """Make the poll's waker. Its wakes are reported as a readable event.

        Args:
            token: The token of these events.
            pipe: Use a pipe even if the platform has something better, for tests.

        Raises:
            RuntimeError: This poll has a waker already.

        Ownership:
            The poll closes the waker.
        """
        with self._lock:
            if self._waker is not None:
                raise RuntimeError(
                    "a poll has one waker, and any number of threads share it\n"
                    "  wrong: registry.waker(ONE); registry.waker(TWO)\n"
                    "  right: waker = registry.waker(WAKE)   # once, and waker.wake() everywhere"
                )
            self._waker = waker = Waker(pipe=pipe)
        self.register(waker, token, Interest.READABLE)
        return waker

    def add(self, fd: int, owner: object, bits: int, *, edge: bool = True) -> None:
        """Watch a descriptor for raw bits, as `register()` watches a source.

        Args:
            fd: An open descriptor.
            owner: The object to keep in the book.
            bits: As for `Selector.register`; ONESHOT is possible.
            edge: False for a level-triggered registration.

        Raises:
            OSError: As for `Selector.register`; the book is as it was.
        """
        with self._lock:
            self._selector.register(fd, bits, edge=edge)
            self._write(fd, owner)

    def change(self, fd: int, owner: object, bits: int, *, edge: bool = True) -> None:
        """Replace the owner and the bits of a descriptor, whether or not the book knows it.

        Raises:
            OSError: As for `Selector.reregister`; the book is as it was.
        """
        with self._lock:
            self._selector.reregister(fd, bits, edge=edge)
            self._write(fd, owner)

    def remove(self, fd: int) -> None:
        """Stop watching a descriptor, whether or not the book knows it.

        Raises:
            OSError: As for `Selector.deregister`; the book has forgotten the descriptor.
        """
        with self._lock:
            self.forget(fd)
            self._selector.deregister(fd)

    def forget(self, fd: int) -> None:
        """Take a descriptor out of the book without a system call.

        An owner calls it before it closes the last descriptor of a file, on a selector with native
        edges: closing then ends the registration. It takes no lock, because it is one operation of
        a dict.
        """
        owner = self.book.pop(fd, None)
        if type(owner) is Entry:
            owner.alive = False

    def rearm(self, fd: int, bits: int) -> None:
        """Report that an operation would block in the directions of `bits`; see `would_block()`."""
        self._selector.rearm(fd, bits)

    def look_up(self, pairs: list[tuple[int, int]]) -> list[tuple[Entry, int]]:
        """Find the entries of the pairs that a selector returned. For `Poll`."""
        found = []
        with self._lock:
            for fd, bits in pairs:
                entry = self.book.get(fd)
                # An event may be older than the entry, and report bits that it did not ask for.
                if type(entry) is Entry and bits & entry.mask:
                    found.append((entry, bits & entry.mask))
        return found

    def settle_waker(self, pairs: list[tuple[int, int]]) -> None:
        """Prepare the waker for its next wake, if edges are emulated. For `Poll`."""
        if self._waker is None or self._selector.edge_triggered:
            return
        fd = self._waker.fileno()
        if any(fd == delivered for delivered, _ in pairs):
            self._waker.drain()
            self._selector.rearm(fd, READABLE)

    def close(self) -> None:
        """Close the waker and forget the sources. For `Poll`."""
        with self._lock:
            for fd in tuple(self.book):
                self.forget(fd)
            if self._waker is not None:
                self._waker.close()

    def close_in_child(self) -> None:
        """Do the same as `close()` in a forked child, without a lock or a wake. For `Poll`."""
        self._lock = threading.Lock()
        self.book.clear()
        if self._waker is not None:
            self._waker.close_in_child()

    def __repr__(self) -> str:
        return f"<Registry of {len(self.book)} sources on {self._selector.name}>"

    def _write(self, fd: int, owner: object) -> None:
        if fd in self.book:
            self.forget(fd)
        self.book[fd] = owner

    def _require(self, fd: int, verb: str) -> None:
        if fd not in self.book:
            raise FileNotFoundError(
                errno.ENOENT,
                f"descriptor {fd} is not registered with this poll\n"
                f"  wrong: registry.{verb}(source, ...) without, or after, its registration\n"
                "  right: registry.register(source, token, interest) first",
            )


def _already_registered(fd: int) -> FileExistsError:
    return FileExistsError(
        errno.EEXIST,
        f"descriptor {fd} is already registered with this poll\n"
        "  wrong: registry.register(source, token, interest) twice\n"
        "  right: registry.reregister(source, token, interest), which replaces both",
    )


def _always_ready(fd: int) -> PermissionError:
    return PermissionError(
        errno.EPERM,
        f"descriptor {fd} is a regular file or a directory ({os.strerror(errno.EPERM)}): reading "
        "it never would block, so there is nothing to wait for\n"
        "  wrong: registry.register(open(path), token, Interest.READABLE)\n"
        "  right: read it at once, or in a worker thread: anyio.to_thread.run_sync(file.read)",
    )
