"""The protocol that each platform's selector implements, and the choice of the best one.

Rules:

1. A selector knows descriptors and bits. `Poll` deals with tokens, sources and interests, and the
   reactor with readiness, waiters and retries.
2. It never reads from, writes to or closes a descriptor that was registered with it.
3. It returns the pairs as the system delivers them: it does not sort, merge or copy them.
"""

from __future__ import annotations

import select
from types import TracebackType
from typing import Final, Protocol, Self

from anyio_mio.poll._sys.epoll import EpollSelector
from anyio_mio.poll._sys.kqueue import KqueueSelector
from anyio_mio.poll._sys.level import LevelSelector

CHOICES: Final = ("epoll", "kqueue", "level")


class Selector(Protocol):
    """The methods that a platform must supply.

    Bits are those of `anyio_mio.poll._sys.bits`. One thread selects at a time. Any thread may call
    `register`, `reregister`, `deregister` and `rearm`, even while another one is inside `select`;
    they take effect on that wait.

    After `close`, every method except `close` itself raises `ValueError`.
    """

    @property
    def name(self) -> str:
        """Its name for `default_selector`, such as ``"epoll"``, ``"kqueue"`` or ``"level"``."""

    @property
    def edge_triggered(self) -> bool:
        """Whether the system itself makes the edges.

        If it does, `rearm` does nothing, closing the last descriptor of a file ends its
        registration, and after a short read of a byte stream the next edge will come.

        If it does not, the selector emulates edges: it disarms a direction when it delivers it. The
        owner must call `rearm` after WouldBlock, and deregister before it closes.
        """

    @property
    def tells_priority(self) -> bool:
        """Whether PRIORITY is reported.

        If it is not, a read that stops at an urgent mark looks like a read that took everything, so
        a short read proves nothing.
        """

    def register(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """Watch `fd` for `bits`.

        If `fd` is ready already, that counts as an edge, so no earlier data is missed.

        Args:
            fd: An open descriptor that can be polled.
            bits: Any of READABLE, PRIORITY, WRITABLE, READ_HANGUP, and ONESHOT.
                ERROR and HANGUP are reported in any case.
            edge: True to report changes. False reports a state on every `select` as long as it
                lasts, or together with ONESHOT only once until `reregister`.

        Raises:
            FileExistsError: `fd` is registered already. kqueue cannot tell, and changes it instead.
            PermissionError: `fd` is a regular file or a directory, which are always ready. kqueue
                takes them.
            OSError: `fd` is not open (EBADF), or the system has no room for it (ENOSPC, ENOMEM).
            ValueError: `fd` is negative.
        """

    def reregister(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """Replace the bits of `fd`. If it is ready already, that counts as an edge again.

        Raises:
            FileNotFoundError: `fd` is not registered. kqueue cannot tell.
            OSError: `fd` is not open (EBADF).
        """

    def deregister(self, fd: int) -> None:
        """Forget `fd`: no later `select` reports it.

        Raises:
            FileNotFoundError: `fd` is not registered. kqueue cannot tell.
            OSError: `fd` is not open (EBADF).
        """

    def select(self, timeout: float | None, capacity: int) -> list[tuple[int, int]]:
        """Wait until something is ready, and return it as pairs of descriptor and bits.

        If a signal interrupts the wait, it continues after the handler for the remaining time. An
        empty list need not mean that the time is over: waits longer than `MAX_TIMEOUT` (24 days)
        end early, so a caller with a deadline must look at the clock.

        Args:
            timeout: Seconds. None waits for ever; 0 asks the system and never blocks; other values
                are rounded up to the resolution of the system, so that no wait ends early.
            capacity: The most pairs to return, at least 1. The next call returns the rest.

        Raises:
            ValueError: `timeout` is negative or not a number.
        """

    def rearm(self, fd: int, bits: int) -> None:
        """Report that the owner of `fd` saw WouldBlock in the directions of `bits`.

        It does nothing if edges are native. An `fd` that is not registered is ignored, because
        other code may have closed it at the same time.
        """

    def fileno(self) -> int:
        """Return a descriptor that is readable when `select` has something to return.

        Raises:
            io.UnsupportedOperation: The platform has no such descriptor.
        """

    def close(self) -> None:
        """Release what the selector holds. The registered descriptors stay open."""

    def __enter__(self) -> Self:
        """Return the selector itself."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the selector."""


def default_selector(name: str | None = None) -> Selector:
    """Make the best selector of this platform, or the one called `name`.

    Args:
        name: `"epoll"`, `"kqueue"` or `"level"`. None chooses the first of them that exists.

    Raises:
        ValueError: There is no selector of that name, or this platform does not have it.

    Ownership:
        The caller closes it.
    """
    chosen = name if name is not None else _best_name()
    if chosen not in CHOICES:
        raise ValueError(f"there is no selector {chosen!r}: choose one of {_spelled(CHOICES)}")
    if chosen not in available_selectors():
        have = _spelled(available_selectors())
        raise ValueError(f"this platform has no {chosen}: choose one of {have}")
    return _make(chosen)


def close_in_child(selector: Selector) -> None:
    """Close a forked child's copy of a selector that the parent continues to use.

    If closing a selector takes a lock or wakes a wait, the selector has a method `close_in_child()`
    that does neither: a thread that the child does not have may hold the lock.
    """
    getattr(selector, "close_in_child", selector.close)()


def available_selectors() -> tuple[str, ...]:
    """Return the names of the selectors that this platform has, the best one first."""
    return tuple(name for name in CHOICES if name == "level" or hasattr(select, name))


def _best_name() -> str:
    return available_selectors()[0]


def _make(name: str) -> Selector:
    if name == "epoll":
        return EpollSelector()
    return KqueueSelector() if name == "kqueue" else LevelSelector()


def _spelled(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in names)
