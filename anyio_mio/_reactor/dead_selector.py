"""The selector of a forked child, which replaces that of its parent (R7)."""

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
    """Raises an error at every use, so that the child never touches the parent's epoll."""

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
        """Do nothing: a child has no entries, and may close inherited descriptors."""

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
        """Do nothing: there is nothing to close."""
