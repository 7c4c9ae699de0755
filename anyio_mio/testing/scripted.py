"""A selector that delivers the events of a script, and records the calls that it gets.

Rules:

1. It delivers batches exactly as they are written, so a test can write rare cases: a spurious event
   is a pair without a cause, and a stale event has a descriptor that was deregistered.
2. Nothing here waits. A wait that the script does not end fails the test instead of hanging it.
3. Descriptors are numbers only. They need not be open.
"""

from __future__ import annotations

import errno
import io
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, final

from anyio_mio.poll._sys.closable import Closable
from anyio_mio.poll._sys.timeout import clamped

Pair = tuple[int, int]
"""A descriptor and its readiness bits."""


class Call(NamedTuple):
    """One call that changes a registration.

    Attributes:
        verb: `"register"`, `"reregister"`, `"deregister"` or `"rearm"`.
        fd: The descriptor.
        bits: The bits that were asked for; 0 for `"deregister"`.
        edge: Whether edges were asked for. True for verbs without that choice.
    """

    verb: str
    fd: int
    bits: int = 0
    edge: bool = True


@final
class ScriptedSelector(Closable):
    """A `Selector` for tests that need no operating system.

        selector = ScriptedSelector([[(5, READABLE)], [], [(5, READABLE), (6, WRITABLE)]])

    Each `select` returns one batch, or the first `capacity` pairs of it and the rest next time.
    After the last batch, a `select` with a timeout returns nothing, as if the time had passed, and
    a `select` without a timeout raises.

    Args:
        script: The batches. `play` adds more.
        edge_triggered: The value of this attribute.
        tells_priority: The value of this attribute.
        on_wait: Called with the timeout of each `select`, before its batch is taken. A mock clock
            advances here; a test may also `play` events that arrive during the wait.

    Attributes:
        calls: The changes that were asked for, in order.
        timeouts: The timeouts of the `select` calls, in order, in seconds.
        registered: The registered descriptors and the bits they are registered for.
        refusals: For a descriptor, the error its registration is to raise: full tables, say.
        closed: Whether `close` was called.
    """

    name: Final = "scripted"

    def __init__(
        self,
        script: Iterable[Iterable[Pair]] = (),
        *,
        edge_triggered: bool = True,
        tells_priority: bool = True,
        on_wait: Callable[[float | None], object] | None = None,
    ) -> None:
        self.edge_triggered = edge_triggered
        self.tells_priority = tells_priority
        self.on_wait = on_wait
        self.calls: list[Call] = []
        self.timeouts: list[float | None] = []
        self.registered: dict[int, int] = {}
        self.refusals: dict[int, OSError] = {}
        self.closed: bool = False
        self._script: deque[list[Pair]] = deque()
        self._to_lose: list[int] = []
        self.play(*script)

    def play(self, *batches: Iterable[Pair]) -> None:
        """Add batches at the end of the script."""
        self._script.extend(list(batch) for batch in batches)

    def lose(self, fd: int) -> None:
        """Lose the next event of `fd`: its pair is left out of the batch that holds it."""
        self._to_lose.append(fd)

    @property
    def is_over(self) -> bool:
        """Whether the whole script was played."""
        return not self._script

    def register(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """See `Selector.register`."""
        self._require_open()
        self.calls.append(Call("register", fd, bits, edge))
        if fd in self.refusals:
            raise self.refusals[fd]
        if fd in self.registered:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        self.registered[fd] = bits

    def reregister(self, fd: int, bits: int, *, edge: bool = True) -> None:
        """See `Selector.reregister`."""
        self._require_open()
        self.calls.append(Call("reregister", fd, bits, edge))
        self._require_registered(fd)
        self.registered[fd] = bits

    def deregister(self, fd: int) -> None:
        """See `Selector.deregister`."""
        self._require_open()
        self.calls.append(Call("deregister", fd))
        self._require_registered(fd)
        del self.registered[fd]

    def rearm(self, fd: int, bits: int) -> None:
        """See `Selector.rearm`. It is recorded for each value of `edge_triggered`."""
        self.calls.append(Call("rearm", fd, bits))

    def select(self, timeout: float | None, capacity: int) -> list[Pair]:
        """See `Selector.select`.

        Raises:
            AssertionError: It would wait for ever: no timeout, and nothing left in the script.
        """
        self._require_open()
        self.timeouts.append(timeout if timeout is None else clamped(timeout))
        if self.on_wait is not None:
            self.on_wait(timeout)
        if not self._script:
            self._require_an_end(timeout)
            return []
        return self._take(capacity)

    def fileno(self) -> int:
        """Raise: there is nothing to wait for outside the script."""
        raise io.UnsupportedOperation("a scripted selector has no descriptor")

    def close(self) -> None:
        """See `Selector.close`."""
        self.closed = True

    def __repr__(self) -> str:
        return f"<ScriptedSelector with {len(self._script)} batches left>"

    def _take(self, capacity: int) -> list[Pair]:
        batch = [pair for pair in self._script.popleft() if not self._is_lost(pair[0])]
        if len(batch) > capacity:
            self._script.appendleft(batch[capacity:])
        return batch[:capacity]

    def _is_lost(self, fd: int) -> bool:
        if fd not in self._to_lose:
            return False
        self._to_lose.remove(fd)
        return True

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("the selector is closed")

    def _require_registered(self, fd: int) -> None:
        if fd not in self.registered:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _require_an_end(self, timeout: float | None) -> None:
        if timeout is None:
            raise AssertionError(
                "the script has no batch left, and this wait would never end\n"
                "  wrong: ScriptedSelector([]).select(None, 64)\n"
                "  right: ScriptedSelector([[(fd, READABLE)]]), or play() it in on_wait"
            )
