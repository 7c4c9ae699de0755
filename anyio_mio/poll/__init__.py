"""Mio's poll in Python: ask the system once which of many sources are ready.

    SERVER = Token(0)

    with Poll() as poll, socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        poll.registry.register(server, SERVER, Interest.READABLE)
        events = Events()
        while True:
            poll.poll(events)
            for event in events:
                if event.token == SERVER:
                    accept_until_it_would_block(server)

This package is synchronous, needs the standard library only, and is the one place that talks to
the system's pollers. It makes the same promises as Rust's Mio, because these hold on every
platform.

Map: `poll` waits. `registry`, `token` and `interest` say what to wait for. `event` reports what has
    happened. `waker` ends a wait from another thread. `_sys` has the part of each platform.

Spurious events
===============

An event is a hint. It may be late or doubled, or another thread may have consumed its cause. Try
the operation, and treat `BlockingIOError` as a normal result. Never conclude from an event that an
operation *will* succeed.

Draining readiness
==================

Registrations are edge-triggered: an event says that something changed. While the state stays the
same, there is no second event. After an event, repeat the operation until it raises
`BlockingIOError`. Five connections may make one event. A program that then accepts one of them
leaves four in the queue, and accepts only one of them when a sixth connection makes the next event.
When the operation would block, call ``registry.would_block(source, Interest.READABLE)``: selectors
that emulate edges need it, and on the others it costs nothing.

An operation that failed for another reason, such as a lack of descriptors, did not drain the
source. No event will report the remaining data, so the owner must try again after some time.

Closing
=======

Deregister a source before closing it. On epoll and kqueue, closing the last descriptor of a file
also ends its registration. But a duplicate, for example in a forked child, keeps the registration
alive, and the level selector cannot notice a close at once. After `deregister` has returned, no
event carries the token, not even an event that a poll has already fetched.

A closed flag (`Event.is_read_closed`, `Event.is_write_closed`) of a stream or a pipe is never wrong
if it is set. It does not mean that there is nothing to read: earlier bytes may still wait.

What is not guaranteed
======================

* That `is_read_closed`, `is_write_closed`, `is_error` and `is_priority` are ever set. Only
  `is_readable` and `is_writable` are portable.
* That an error comes with a direction. Linux reports a refused datagram as `is_error` alone, so an
  owner that waits for reading must try to read in this case too.
* That reading and writing come as one event, or as two.
* The order of events, or that one poll returns all of them: the capacity is a limit, and the next
  poll returns the rest.
* That a wait lasts for its whole timeout. Rounding does not make it shorter, but it may end early
  without a reason.
* Anything, if a source is registered with two polls. The systems keep the two apart, so it works
  today, but the owner cannot tell which of them drained the source.
* Anything, if a forked child uses its parent's poll. Make a new one in the child: on Linux the two
  processes share the registrations, and the child's waits would take the parent's edges.
"""

from __future__ import annotations

from anyio_mio.poll._sys.selector import Selector as Selector
from anyio_mio.poll._sys.selector import available_selectors as available_selectors
from anyio_mio.poll._sys.selector import default_selector as default_selector
from anyio_mio.poll.event import Event as Event
from anyio_mio.poll.event import Events as Events
from anyio_mio.poll.interest import Interest as Interest
from anyio_mio.poll.poll import Poll as Poll
from anyio_mio.poll.registry import Registry as Registry
from anyio_mio.poll.registry import Source as Source
from anyio_mio.poll.token import Token as Token
from anyio_mio.poll.waker import Waker as Waker

__all__ = [
    "Poll",
    "Registry",
    "Token",
    "Interest",
    "Event",
    "Events",
    "Waker",
    "Source",
    "Selector",
    "default_selector",
    "available_selectors",
]
