"""`Descriptors`: asyncio's readers and writers, registered with the kernel's reactor.

asyncio's ``add_reader()`` is level-triggered: the callback is called in each turn in which the
descriptor is readable. So these descriptors are registered level-triggered, unlike those of mio's
own streams, and an event queues the callback.

A descriptor has one owner. While a stream of mio or a task in ``wait_readable()`` uses it, asyncio
gets an error, and the reverse.
"""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, final

from anyio_mio._reactor.foreign import ForeignWait
from anyio_mio.asyncio.transports import SocketTransport
from anyio_mio.poll._sys.bits import READABLE, WRITABLE

if TYPE_CHECKING:
    from anyio_mio._reactor.reactor import Reactor
    from anyio_mio._reactor.scheduler import TaskRef
    from anyio_mio.asyncio.asyncio_internals import StockHandle
    from anyio_mio.asyncio.callbacks import Callbacks, Receive

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
class Watch:
    """A descriptor that asyncio watches, and the handles of its reader and its writer.

    Attributes:
        fileobj: what was given to ``add_reader()`` or ``add_writer()``: a descriptor or an object.
        fd: its descriptor.
        callbacks: the queue for the handles.
        receive: `SocketTransport.receive()` of the transport to which the reader belongs, or None.
            It reads while the events of a poll are handled, before the other handles run.
        queued_in: the number of the round of `Callbacks` in which the handles were queued last.
        reader: the handle to run while the descriptor is readable, or None.
        writer: the handle to run while the descriptor is writable, or None.
    """

    __slots__ = ("callbacks", "fd", "fileobj", "queued_in", "reader", "receive", "writer")

    def __init__(self, fileobj: Any, fd: int, callbacks: Callbacks) -> None:
        self.fileobj = fileobj
        self.fd = fd
        self.callbacks = callbacks
        self.receive: Receive | None = None
        self.queued_in = -1
        self.reader: StockHandle | None = None
        self.writer: StockHandle | None = None

    def bits(self) -> int:
        """Return the readiness bits to watch for."""
        reads = READABLE if self.reader is not None else 0
        return reads | (WRITABLE if self.writer is not None else 0)

    def deliver(self, bits: int, wake: Callable[[TaskRef], None], /) -> None:
        """Have the transport read, or queue the handles that an event is for.

        An error or a hang-up is for both handles. Handles that a poll within the turn has queued
        are not queued again by the next poll.
        """
        reader, receive, callbacks = self.reader, self.receive, self.callbacks
        if reader is not None and receive is not None and bits & ~WRITABLE:
            callbacks.run_event(reader, receive)
            reader = None
        if self.queued_in == callbacks.rounds:
            return
        if reader is not None and bits & ~WRITABLE:
            self.queued_in = callbacks.rounds
            callbacks.add_event(reader)
        if self.writer is not None and bits & ~READABLE:
            self.queued_in = callbacks.rounds
            callbacks.add_event(self.writer)


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
        watch = self._watch(fileobj)
        owner = getattr(handle._callback, "__self__", None)
        watch.receive = owner.receive if isinstance(owner, SocketTransport) else None
        previous, watch.reader = watch.reader, handle
        if previous is None:
            self._tell_poll(watch)
        return previous

    def set_writer(self, fileobj: Any, handle: StockHandle) -> StockHandle | None:
        """Run ``handle`` whenever the descriptor is writable; return the handle it replaces."""
        watch = self._watch(fileobj)
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

    def _watch(self, fileobj: Any) -> Watch:
        fd = number_of(fileobj)
        return self.watches.get(fd) or Watch(fileobj, fd, self._callbacks)

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
        bits, registry = watch.bits(), self._reactor.registry
        if not bits:
            self._forget(watch)
        elif registry.book.get(watch.fd) is watch:
            registry.change(watch.fd, watch, bits, edge=False)
        else:
            self._add(watch, bits)
            self.watches[watch.fd] = watch

    def _add(self, watch: Watch, bits: int) -> None:
        registry, fd = self._reactor.registry, watch.fd
        owner = registry.book.get(fd)
        if isinstance(owner, ForeignWait) and not owner.interest():
            self._reactor.foreign.end(owner)
            owner = None
        try:
            registry.add(fd, watch, bits, edge=False)
        except FileExistsError:
            if owner is not None:
                raise RuntimeError(TWO_OWNERS.format(fd)) from None
            # The descriptor was closed, but a duplicate has kept its registration alive.
            registry.change(fd, watch, bits, edge=False)

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
