"""The poll: wait until one of the registered sources is ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from anyio_mio.poll._sys.closable import Closable
from anyio_mio.poll._sys.selector import Selector, close_in_child, default_selector
from anyio_mio.poll.event import Events
from anyio_mio.poll.registry import Registry


@final
class Poll(Closable):
    """Watches any number of sources, and reports which of them are ready.

    Read the rules of `anyio_mio.poll` first: events are hints, and each is followed by
    operations until one would block.

    Only one thread may poll at a time. Any thread may use the registry and the waker.

    Args:
        selector: The system's poller to use. None chooses the best one of this platform.

    Attributes:
        registry: Where sources are registered.
        select: ``select(timeout, capacity)`` waits like `poll()`, and returns the pairs of
            descriptor and bits as they are. The backend calls it at each turn; its reactor finds
            the owners in ``registry.book``. This is the method of the selector itself: a method
            here that calls it would cost 0.03 µs a turn (measured).

    Ownership:
        The poll closes its selector and its waker. The owners close the sources.
    """

    __slots__ = ("_selector", "registry", "select")

    def __init__(self, selector: Selector | None = None) -> None:
        self._selector = default_selector() if selector is None else selector
        self.registry: Registry = Registry(self._selector)
        self.select: Callable[[float | None, int], list[tuple[int, int]]] = self._selector.select

    @property
    def edge_triggered(self) -> bool:
        """Whether the system itself makes the edges; see `Selector.edge_triggered`."""
        return self._selector.edge_triggered

    @property
    def tells_priority(self) -> bool:
        """Whether events report urgent data; see `Selector.tells_priority`."""
        return self._selector.tells_priority

    def poll(self, events: Events, timeout: float | None = None) -> None:
        """Wait for events, and replace the contents of `events` with them.

        It may return no events: because the time is over, because a source was deregistered during
        the wait, or without a reason. A caller with a deadline must look at the clock.

        Args:
            events: The buffer. The next poll returns the events that exceed its capacity.
            timeout: Seconds. None waits for ever, 0 never blocks, other values are rounded up. A
                signal does not end the wait, but its handler may raise an error or use the waker.

        Raises:
            ValueError: `timeout` is negative or not a number, or the poll is closed.
        """
        events.clear()
        pairs = self._selector.select(timeout, events.capacity)
        self.registry.settle_waker(pairs)
        events.fill(self.registry.look_up(pairs))

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are events, for nesting polls.

        Raises:
            io.UnsupportedOperation: The selector has none.
            ValueError: The poll is closed.
        """
        return self._selector.fileno()

    def close(self) -> None:
        """Release the selector and the waker; a second call does nothing."""
        self.registry.close()
        self._selector.close()

    def close_in_child(self) -> None:
        """Close a forked child's copy of a poll that the parent continues to use.

        It takes no lock, because a thread that exists only in the parent may hold it, and it does
        not wake a wait of the parent.
        """
        self.registry.close_in_child()
        close_in_child(self._selector)

    def __repr__(self) -> str:
        return f"<Poll on {self._selector!r}>"
