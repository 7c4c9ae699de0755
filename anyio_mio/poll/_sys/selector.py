"""What a platform must supply to carry the poller, and which one is chosen here.

Rules:

1. A selector knows descriptors and bits. Tokens, sources and interests are `Poll`'s; readiness,
   waiters and retries are the reactor's.
2. It never reads from, writes to or closes a descriptor that was registered with it.
3. Pairs go out as they came in: no sorting, no merging, no copies.
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
    """The complete list of what a platform must supply.

    Bits are those of `anyio_mio.poll._sys.bits`. One thread selects at a time. Any thread may call
    `register`, `reregister`, `deregister` and `rearm`, also while another one is inside `select`;
    they take effect on that wait.

    Everything but `close`, which may be repeated, raises `ValueError` once the selector is closed.
    """

    @property
    def name(self) -> str:
        """What `default_selector` finds it by, such as ``"epoll"``, ``"kqueue"`` or ``"level"``."""

    @property
    def edge_triggered(self) -> bool:
        """Whether the kernel itself makes the edges.

        Where it does, `rearm` does nothing, closing the last descriptor of a file takes its
        registration along, and a short read of a byte stream means that the next edge will come.

        Where it does not, the selector emulates: it disarms a direction as it delivers it, the
        owner calls `rearm` when it saw WouldBlock, and deregisters before it closes.
        """

    @property
    def tells_priority(self) -> bool:
        """Whether PRIORITY is reported.

        Where it is not, a read that stops short at an urgent mark looks like one that took all
        there is, so that no short read may be believed.
        """

    def register(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """Watch `fd` for `bits`.

        What is ready already counts as an edge, so nothing that came before is missed.

        Args:
            fd: An open descriptor that can be polled.
            bits: Any of READABLE, PRIORITY, WRITABLE, READ_HANGUP, and ONESHOT.
                ERROR and HANGUP are reported in any case.
            edge: Report changes. False reports states, on every `select` as long as they last;
                together with ONESHOT once, and then nothing until `reregister`.

        Raises:
            FileExistsError: `fd` is registered already. kqueue cannot tell, and changes it instead.
            PermissionError: `fd` is a regular file or a directory, which are always ready. kqueue
                takes them.
            OSError: `fd` is not open (EBADF), or the system has no room for it (ENOSPC, ENOMEM).
            ValueError: `fd` is negative.
        """

    def reregister(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """Replace what `fd` is watched for; what is ready already fires again.

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

        A wait that a signal interrupts goes on once the handler ran, for the time that is left. An
        empty list means that the time is over, or nothing at all: waits longer than `MAX_TIMEOUT`
        (24 days) end early, so a caller with a deadline looks at the clock.

        Args:
            timeout: Seconds. None waits for ever; 0 never blocks and still asks the system;
                anything else is rounded up to the grain of the system, so no wait ends early.
            capacity: The most pairs to return, at least 1. The rest comes with the next call.

        Raises:
            ValueError: `timeout` is negative or not a number.
        """

    def rearm(self, fd: int, bits: int) -> None:
        """Tell that the owner of `fd` saw WouldBlock in the directions of `bits`.

        Does nothing where edges are native. An `fd` that is not registered is ignored: its owner
        may have lost a race with the code that closed it.
        """

    def fileno(self) -> int:
        """Return the descriptor which is readable when `select` has something to return.

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
        name: `"epoll"`, `"kqueue"` or `"level"`. None chooses, in this order, what there is.

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
    """Close the child's copy, after a fork, of a selector that goes on in the parent.

    A selector that takes a lock to close, or wakes a wait, has a method `close_in_child()` without
    either: the lock may be held by a thread that the child does not have.
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
