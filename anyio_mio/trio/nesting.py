"""Test whether a poller nests on this system: whether an inner set wakes the set that watches it.

Nested readiness has had bugs: Linux 5.5 lost wake-ups of nested epolls for some releases, and
emulated kernels had similar bugs. The test takes a dozen system calls and runs once in a process.
If it fails, the hub stays on Trio's own poller.
"""

from __future__ import annotations

import functools
import io
import os
from contextlib import ExitStack

from anyio_mio.poll._sys.bits import ONESHOT, READABLE
from anyio_mio.poll._sys.selector import Selector, default_selector

PAIRS: int = 8


@functools.cache
def poller_nests() -> bool:
    """Return whether another poller can watch this system's poller; the answer is cached.

    Raises:
        OSError: no descriptor is left for the test. This is not cached.
    """
    try:
        with ExitStack() as stack:
            reader, writer = os.pipe()
            stack.callback(os.close, writer)
            stack.callback(os.close, reader)
            inner = stack.enter_context(default_selector())
            outer = stack.enter_context(default_selector())
            return inner.edge_triggered and _wakes(inner, outer, reader, writer)
    except io.UnsupportedOperation:  # the selector has no descriptor
        return False


def _wakes(inner: Selector, outer: Selector, reader: int, writer: int) -> bool:
    """Check that two edges arrive, the second over data that is still unread, and no third."""
    inner.register(reader, READABLE)
    outer.register(inner.fileno(), READABLE | ONESHOT, edge=False)
    if outer.select(0, PAIRS):
        return False
    return all(_edge_arrives(inner, outer, reader, writer) for _ in range(2))


def _edge_arrives(inner: Selector, outer: Selector, reader: int, writer: int) -> bool:
    os.write(writer, b"x")
    seen_outside = outer.select(0, PAIRS)
    seen_inside = inner.select(0, PAIRS)
    outer.reregister(inner.fileno(), READABLE | ONESHOT, edge=False)
    is_quiet = not outer.select(0, PAIRS)
    return bool(seen_outside) and [fd for fd, _ in seen_inside] == [reader] and is_quiet
