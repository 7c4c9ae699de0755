"""What the tests of the poller share: expecting events, expecting silence, draining."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from anyio_mio.poll import Event, Events, Interest, Poll, Token

T = TypeVar("T")

READABLE = Interest.READABLE
WRITABLE = Interest.WRITABLE
PRIORITY = Interest.PRIORITY
BOTH = READABLE | WRITABLE

A = Token(10)
B = Token(20)
C = Token(30)

PATIENCE = 2.0
"""Seconds that an event may take which must come: only a failing test waits so long."""

QUIET = 0.01
"""Seconds without an event that count as silence: on loopback things happen at once."""

FLAGS = ("readable", "writable", "read_closed", "write_closed", "error", "priority")


def flags_of(event: Event) -> set[str]:
    return {flag for flag in FLAGS if getattr(event, f"is_{flag}")}


def poll_once(poll: Poll, timeout: float | None = PATIENCE, capacity: int = 64) -> list[Event]:
    events = Events(capacity)
    poll.poll(events, timeout)
    return list(events)


def expect_events(poll: Poll, *expected: tuple[Token, str]) -> dict[Token, set[str]]:
    """Poll up to three times for the flags of the tokens, and return all that was seen.

    A flag string may name several: `"readable read_closed"`. What comes besides is tolerated.
    """
    seen: dict[Token, set[str]] = {}
    for _ in range(3):
        for event in poll_once(poll):
            seen.setdefault(event.token, set()).update(flags_of(event))
        if all(set(flags.split()) <= seen.get(token, set()) for token, flags in expected):
            return seen
    raise AssertionError(f"expected {expected}, saw {seen}")


def expect_no_events(poll: Poll) -> None:
    events = poll_once(poll, QUIET)
    assert events == []


def until_it_would_block(poll: Poll, source: socket.socket, operation: Callable[[], T]) -> list[T]:
    """Repeat `operation` until it would block, tell the poll, and return the results."""
    results = []
    while True:
        try:
            results.append(operation())
        except BlockingIOError:
            poll.registry.would_block(source, BOTH)
            return results


def receive_all(poll: Poll, source: socket.socket) -> bytes:
    """Read until it would block, or until the end of the stream."""
    received: list[bytes] = []
    while True:
        try:
            chunk = source.recv(65536)
        except BlockingIOError:
            poll.registry.would_block(source, READABLE)
            return b"".join(received)
        if not chunk:
            return b"".join(received)
        received.append(chunk)


def fill(poll: Poll, source: socket.socket) -> int:
    """Write until it would block, and return the number of bytes."""
    return sum(until_it_would_block(poll, source, lambda: source.send(b"x" * 65536)))


@contextmanager
def connected_to(listener: socket.socket) -> Iterator[socket.socket]:
    """A non-blocking client whose connection is complete, and queued if nobody accepted it."""
    with socket.socket(listener.family, listener.type) as client:
        client.connect(listener.getsockname())
        client.setblocking(False)
        yield client
