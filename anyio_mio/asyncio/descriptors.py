"""asyncio's readers and writers on the reactor of the run.

asyncio's ``add_reader()`` is level-triggered: its callback is called in each turn in which the
descriptor is readable. So a descriptor is registered level-triggered, beside the edge-triggered
ones of mio's own streams, and an event queues the callback. Our own transports know when they have
read everything, and are edge-triggered too: see `transports`.

A descriptor has one owner. If a stream of mio's or a task in ``wait_readable()`` has it, asyncio is
refused, and the other way round.
"""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, final

from anyio_mio._reactor.foreign import ForeignWait
from anyio_mio.asyncio.transports import SocketTransport
from anyio_mio.asyncio.watch import Watch

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio.asyncio.asyncio_internals import StockHandle
    from anyio_mio.asyncio.callbacks import Callbacks

TWO_OWNERS: Final = (
    "descriptor {} has an owner already: a stream of mio's uses it, or a task waits for it.\n"
    "  wrong: loop.add_reader(stream.extra(anyio.abc.SocketAttribute.raw_socket), callback)\n"
    "  right: await stream.receive(), or os.dup() the descriptor and give the duplicate to asyncio"
)


@final
class Descriptors(selectors.BaseSelector):
    """What asyncio takes for its selector: readers and writers by descriptor.

    It is never polled: the kernel polls, and each `Watch` queues its handles. It answers
    ``get_key()`` and ``get_map()``, which asyncio's transports ask for their ``repr()``.
    """

    def __init__(self, reactor: Reactor, callbacks: Callbacks) -> None:
        self._reactor = reactor
        self._callbacks = callbacks
        self.watches: dict[int, Watch] = {}

    def set_reader(self, fileobj: Any, handle: StockHandle) -> StockHandle | None:
        """Have ``handle`` called while the descriptor is readable; return the one before."""
        watch = self._watch(fileobj, handle)
        previous, watch.reader = watch.reader, handle
        if previous is None:
            self._tell_poll(watch)
        return previous

    def set_writer(self, fileobj: Any, handle: StockHandle) -> StockHandle | None:
        """Have ``handle`` called while the descriptor is writable; return the one before."""
        watch = self._watch(fileobj, handle)
        previous, watch.writer = watch.writer, handle
        if previous is None:
            self._tell_poll(watch)
        return previous

    def drop_reader(self, fileobj: Any) -> StockHandle | None:
        """Stop calling the reader; return its handle if there was one."""
        watch = self.watches.get(self._number(fileobj))
        if watch is None or watch.reader is None:
            return None
        previous, watch.reader = watch.reader, None
        self._tell_poll(watch)
        return previous

    def drop_writer(self, fileobj: Any) -> StockHandle | None:
        """Stop calling the writer; return its handle if there was one."""
        watch = self.watches.get(self._number(fileobj))
        if watch is None or watch.writer is None:
            return None
        previous, watch.writer = watch.writer, None
        self._tell_poll(watch)
        return previous

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return asyncio's own view of a descriptor.

        Raises:
            KeyError: it is not watched.
        """
        watch = self.watches.get(self._number(fileobj))
        if watch is None:
            raise KeyError(f"{fileobj!r} is not registered")
        reads = selectors.EVENT_READ if watch.reader is not None else 0
        writes = selectors.EVENT_WRITE if watch.writer is not None else 0
        handles = (watch.reader, watch.writer)
        return selectors.SelectorKey(watch.fileobj, watch.fd, reads | writes, handles)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return all keys by descriptor: a copy."""
        return {fd: self.get_key(fd) for fd in self.watches}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Refuse: see `set_reader()`."""
        raise NotImplementedError("loop.add_reader() and loop.add_writer() register descriptors")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Drop both handles of a descriptor."""
        key = self.get_key(fileobj)
        self.drop_reader(fileobj)
        self.drop_writer(fileobj)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Refuse: the kernel polls."""
        raise NotImplementedError("mio polls: run the loop instead")

    def close(self) -> None:
        """Forget all descriptors; they stay open."""
        for watch in list(self.watches.values()):
            self._forget(watch)

    def _watch(self, fileobj: Any, handle: StockHandle) -> Watch:
        fd = number_of(fileobj)
        watch = self.watches.get(fd)
        if watch is not None:
            return watch
        owner = getattr(handle._callback, "__self__", None)
        if isinstance(owner, SocketTransport):
            return owner.watch(fileobj, fd, edges=self._reactor.trusts_short)
        return Watch(fileobj, fd, self._callbacks)

    def _number(self, fileobj: Any) -> int:
        """Return the number of a descriptor, also of an object that is closed by now."""
        try:
            return number_of(fileobj)
        except ValueError:
            for watch in self.watches.values():
                if watch.fileobj is fileobj:
                    return watch.fd
            raise

    def _tell_poll(self, watch: Watch) -> None:
        """Register what the watch wants now, or end its registration.

        Raises:
            RuntimeError: the descriptor has another owner in this run.
            OSError: it is closed, or a regular file.
        """
        (bits, edge), registry = watch.registration(), self._reactor.registry
        if not bits:
            self._forget(watch)
        elif registry.book.get(watch.fd) is watch:
            registry.change(watch.fd, watch, bits, edge=edge)
        else:
            self._add(watch, bits, edge=edge)
            self.watches[watch.fd] = watch

    def _add(self, watch: Watch, bits: int, *, edge: bool) -> None:
        registry, fd = self._reactor.registry, watch.fd
        owner = registry.book.get(fd)
        if isinstance(owner, ForeignWait) and not owner.interest():
            self._reactor.foreign.end(owner)
            owner = None
        try:
            registry.add(fd, watch, bits, edge=edge)
        except FileExistsError:
            if owner is not None:
                raise RuntimeError(TWO_OWNERS.format(fd)) from None
            # A duplicate outlived the close of this number.
            registry.change(fd, watch, bits, edge=edge)

    def _forget(self, watch: Watch) -> None:
        self.watches.pop(watch.fd, None)
        registry = self._reactor.registry
        if registry.book.get(watch.fd) is watch:
            with contextlib.suppress(OSError):  # the program closed it first
                registry.remove(watch.fd)


def number_of(fileobj: Any) -> int:
    """Return the descriptor of an int or of an object with ``fileno()``.

    Raises:
        ValueError: it has none, or is closed.
    """
    try:
        fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {fileobj!r}") from None
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd
