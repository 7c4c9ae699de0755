"""What a forked child has in the place of its parent's selector (R7)."""

from __future__ import annotations

from typing import Final, NoReturn, final

from anyio_mio.poll._sys.closable import Closable

FORKED: Final = (
    "this process was forked from one that runs mio, and a child cannot go on with its parent's "
    "event loop.\n"
    "  wrong: os.fork() inside a task, then awaiting in the child\n"
    "  right: anyio.run_process(...), multiprocessing with the 'spawn' method, or "
    "os.fork() before anyio.run(...)"
)


@final
class DeadSelector(Closable):
    """Refuses every use, so that the epoll shared with the parent is never touched."""

    name = "dead"
    edge_triggered = True
    tells_priority = True

    def register(self, fd: int, bits: int, *, edge: bool = True) -> NoReturn:
        """Refuse."""
        raise RuntimeError(FORKED)

    def reregister(self, fd: int, bits: int, *, edge: bool = True) -> NoReturn:
        """Refuse."""
        raise RuntimeError(FORKED)

    def deregister(self, fd: int) -> None:
        """Do nothing: a child may close what it has inherited, and has no entries."""

    def rearm(self, fd: int, bits: int) -> NoReturn:
        """Refuse."""
        raise RuntimeError(FORKED)

    def select(self, timeout: float | None, capacity: int) -> NoReturn:
        """Refuse."""
        raise RuntimeError(FORKED)

    def fileno(self) -> NoReturn:
        """Refuse."""
        raise RuntimeError(FORKED)

    def close(self) -> None:
        """Do nothing: nothing is left to close."""
