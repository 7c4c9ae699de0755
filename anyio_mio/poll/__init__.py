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
the system's pollers. Its promises are those of Rust's Mio, because they hold on every platform
alike.

Map: `poll` waits; `registry`, `token` and `interest` say for what, `event` what has come, and
`waker` ends a wait from another thread. `_sys` has what a platform supplies.

Spurious events
===============

An event is a hint. It may be late, doubled, or about something that another thread consumed since.
Try the operation, and treat `BlockingIOError` as an answer and not as an error. Never conclude from
an event that an operation *will* succeed.

Draining readiness
==================

Registrations are edge-triggered: an event says that something changed. A state that lasts makes no
second event. After an event, repeat the operation until it raises `BlockingIOError`. Five
connections may be one event; a program that accepts one of them leaves four behind, and the next
event, when a sixth arrives, frees just one more. When the operation would block, call
``registry.would_block(source, Interest.READABLE)``: selectors that make their edges by hand need
it, and it costs nothing elsewhere.

An operation that failed for another reason (no descriptor left, say) did not drain anything. No
event will come for what is left, so the owner has to try again after a time.

Closing
=======

Deregister a source before closing it. Closing the last descriptor of a file ends its registration
too where the kernel keeps the book, but a duplicate, in a forked child for example, keeps it alive,
and the level selector has no way to notice at once. After `deregister` returned, no event carries
the token, not even one that a poll had fetched before.

A closed flag (`Event.is_read_closed`, `Event.is_write_closed`) of a stream or a pipe is never wrong
when it is there. It does not mean that there is nothing to read: bytes that came before still wait.

What is not guaranteed
======================

* That `is_read_closed`, `is_write_closed`, `is_error` and `is_priority` come at all. Only
  `is_readable` and `is_writable` are portable.
* That an error comes with a direction. Linux reports a refused datagram as `is_error` alone, so an
  owner who waits for reading tries to read then as well.
* That reading and writing come as one event, or as two.
* The order of events, or that one poll returns all there are: the capacity is a limit, and the rest
  comes with the next poll.
* That a wait lasts as long as it was asked to. It does not end early because of rounding; it may
  end early for nothing.
* Anything after a source that belongs to a poll was registered with another one as well. The
  kernels keep the two apart, so it works today; its owner cannot tell which of them drained it.
* Anything about a poll in a forked child. Make a new one there: on Linux the set is shared, and the
  child's waits would take the parent's edges.
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
