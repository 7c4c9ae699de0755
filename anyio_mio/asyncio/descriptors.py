"""`Descriptors`: asyncio's readers and writers, registered with the kernel's reactor.

asyncio's ``add_reader()`` is level-triggered: the callback is called in each turn in which the
descriptor is readable. So these descriptors are registered level-triggered, unlike those of mio's
own streams, and an event queues the callback. The transport of a socket is mostly edge-triggered:
`transports` says how.

A descriptor has one owner. While a stream of mio or a task in ``wait_readable()`` uses it, asyncio
gets an error, and the reverse.
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
    "descriptor {} is in use already: it belongs to a stream of mio, or a task waits for it.\n"
    "  wrong: loop.add_reader(stream.extra(anyio.abc.SocketAttribute.raw_socket), callback)\n"
    "  right: await stream.receive(), or os.dup() the descriptor and give the duplicate to asyncio"
)

NESTED: Final = (
    "mio's event loop cannot be run inside itself: its kernel polls, not the loop.\n"
    "  wrong: nest_asyncio.apply(), and then asyncio.run(main()) in a program that runs\n"
    "  right: await main()"
)


@final
class Descriptors(selectors.BaseSelector):
    """The selector of asyncio's loop: its readers and writers by descriptor.

    It is never polled. The kernel polls, and each `Watch` queues its handles. asyncio's transports
    call ``get_key()`` and ``get_map()`` for their ``repr()``.
    """

    def __init__(self, reactor: Reactor, callbacks: Callbacks) -> None:
        self._reactor = reactor
        self._callbacks = callbacks
        self.watches: dict[int, Watch] = {}

    def set_reader(self, fileobj: Any, handle: StockHandle) -> StockHandle | None:
        """Run ``handle`` whenever the descriptor is readable; return the handle it replaces."""
        watch = self._watch(fileobj, handle)
        previous, watch.reader = watch.reader, handle
        if previous is None:
            self._tell_poll(watch)
        return previous

    def set_writer(self, fileobj: Any, handle: StockHandle) -> StockHandle | None:
        """Run ``handle`` whenever the descriptor is writable; return the handle it replaces."""
        watch = self._watch(fileobj, handle)
        previous, watch.writer = watch.writer, handle
        if previous is None:
            self._tell_poll(watch)
        return previous

    def drop_reader(self, fileobj: Any) -> StockHandle | None:
        """Remove the reader; return its handle, or None."""
        watch = self.watches.get(self._number(fileobj))
        if watch is None or watch.reader is None:
            return None
        previous, watch.reader = watch.reader, None
        self._tell_poll(watch)
        return previous

    def drop_writer(self, fileobj: Any) -> StockHandle | None:
        """Remove the writer; return its handle, or None."""
        watch = self.watches.get(self._number(fileobj))
        if watch is None or watch.writer is None:
            return None
        previous, watch.writer = watch.writer, None
        self._tell_poll(watch)
        return previous

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return the key of a descriptor, as a selector of the standard library does.

        Raises:
            KeyError: the descriptor is not watched.
        """
        watch = self.watches.get(self._number(fileobj))
        if watch is None:
            raise KeyError(f"{fileobj!r} is not registered")
        reads = selectors.EVENT_READ if watch.reader is not None else 0
        writes = selectors.EVENT_WRITE if watch.writer is not None else 0
        handles = (watch.reader, watch.writer)
        return selectors.SelectorKey(watch.fileobj, watch.fd, reads | writes, handles)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return a copy of all keys by descriptor."""
        return {fd: self.get_key(fd) for fd in self.watches}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Raise NotImplementedError: asyncio calls `set_reader()` and `set_writer()` instead."""
        raise NotImplementedError("loop.add_reader() and loop.add_writer() register descriptors")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Drop both handles of a descriptor."""
        key = self.get_key(fileobj)
        self.drop_reader(fileobj)
        self.drop_writer(fileobj)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Raise NotImplementedError: the kernel polls. nest_asyncio calls this to nest the loop."""
        raise NotImplementedError(NESTED)

    def close(self) -> None:
        """Stop watching all descriptors, without closing them."""
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
        """Return the descriptor of an object, even if the object has been closed."""
        try:
            return number_of(fileobj)
        except ValueError:
            for watch in self.watches.values():
                if watch.fileobj is fileobj:
                    return watch.fd
            raise

    def _tell_poll(self, watch: Watch) -> None:
        """Register, change or remove the watch, as its handles require.

        Raises:
            RuntimeError: the descriptor has another owner in this run.
            OSError: the descriptor is closed, or is a regular file.
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
            # The descriptor was closed, but a duplicate has kept its registration alive.
            registry.change(fd, watch, bits, edge=edge)

    def _forget(self, watch: Watch) -> None:
        self.watches.pop(watch.fd, None)
        registry = self._reactor.registry
        if registry.book.get(watch.fd) is watch:
            with contextlib.suppress(OSError):  # the program has closed it already
                registry.remove(watch.fd)


def number_of(fileobj: Any) -> int:
    """Return an int as it is, or the descriptor of an object with ``fileno()``.

    Raises:
        ValueError: the object has no descriptor, or is closed.
    """
    try:
        fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {fileobj!r}") from None
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd
