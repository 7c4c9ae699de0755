"""What an operation may cost, in counts that are the same on a busy machine and on an idle one.

A bound stands a little above what is measured, so that a call more breaks it. Who has a good reason
to raise one writes it here; who makes something cheaper lowers it.
"""

from __future__ import annotations

import sys
from typing import Final, NamedTuple


class Bound(NamedTuple):
    """At most so much for each operation, and why it cannot be less."""

    most: float
    why: str


FACE: Final = 2 if sys.version_info >= (3, 14) else 0
FACE_BYTES: Final = 128 if FACE else 0
"""What each task costs more where asyncio is loaded: its face is made, and told the end.

Until Python 3.13 that begins when the program uses asyncio, since ``asyncio.current_task()`` then
touches the loop. Python 3.14 answers from the thread's state, so the state must be right in every
step: measured, 0.1 microseconds a step, and 0.4 for a task with its steps. Tests load asyncio.
"""

BOUNDS: Final = {
    # System calls of a server, by strace. One for each stop of the server is in them.
    "system calls: a round trip alone": Bound(3.05, "a wait, a receive, a send"),
    "system calls: a round trip among 100": Bound(2.1, "a receive, a send; all share a wait"),
    "system calls: a UNIX round trip among 100": Bound(2.1, "the same"),
    "system calls: a datagram among 100": Bound(2.12, "a receive, a send; all share a wait"),
    "system calls: a short connection": Bound(
        7.4,
        "accept4, getsockname (Python's socket object asks), recvfrom for the data and for the end,"
        " sendto, epoll_ctl, close; all share the waits",
    ),
    # Calls and resumptions of this package's functions, the same on every CPython but for FACE
    "calls: a receive and a send that need not wait": Bound(
        2.5, "receive(), send(); a checkpoint when the budget is spent"
    ),
    "calls: a round trip, both ends": Bound(
        24.9, "two sends; two receives, each called, parked and resumed; two turns of the kernel"
    ),
    "calls: a checkpoint": Bound(1.3, "itself; now and then a turn of the kernel"),
    "calls: an event there and back": Bound(14.9, "made, waited for, set and resumed, twice"),
    "calls: an item through a memory stream": Bound(
        21.7, "AnyIO's stream makes an event and passes a checkpoint on both sides"
    ),
    "calls: a lock that others want": Bound(8.9, "acquired, waited for, released, a checkpoint"),
    "calls: a task": Bound(
        18.9 + FACE, "spawned, stepped, joined; its handle is a scope and an event"
    ),
    "calls: a group of two tasks": Bound(
        65.4 + 2 * FACE, "two tasks, a group, and the wait for both"
    ),
    "calls: a timeout around a checkpoint": Bound(
        11.9, "a scope made by AnyIO, entered and left; a deadline set and dropped"
    ),
    "calls: a sleep in a task": Bound(27.9 + FACE, "a task, a deadline, a resumption"),
    "calls: a cancelled task": Bound(33.9 + FACE, "a task, a wait that is undone, an exception"),
    "calls: a hop to a worker thread, without the thread's side": Bound(
        30.9, "a token taken and given back, a job handed over, a wake-up, a turn"
    ),
    # The same for an ASGI application that awaits what it must and nothing else.
    "calls: a GET": Bound(
        28,
        "three coroutines resumed, a turn, a receive; six for parser and callbacks; a scope;"
        " two events: a head of two fields, then the body joined behind it and sent",
    ),
    "calls: a POST of 10 KB": Bound(
        32, "a field more, which is the length; the body parsed, and received by the application"
    ),
    "calls: a WebSocket message": Bound(
        30, "resumed as a GET; an event received and its frame taken; a frame made and sent"
    ),
    "system calls: a GET": Bound(3.05, "a wait, a receive, a send of head and body together"),
    "system calls: a POST of 10 KB": Bound(3.05, "the same: head and body come in one receive"),
    "system calls: a WebSocket message": Bound(3.05, "a wait, a receive, a send"),
    # Memory of a server for each connection whose handler waits for data
    "bytes: an idle connection": Bound(
        2420 + FACE_BYTES,
        "a stream, its socket and its registration; a task with its handle and coroutines",
    ),
    "bytes: an idle connection of ASGI": Bound(
        5600, "as above; llhttp's parser with its callbacks, a scope, the last request"
    ),
    "blocks: an idle connection": Bound(21, "each object is one at the least"),
    "tracked objects: an idle connection": Bound(
        16.9, "what the garbage collector visits makes a hundred thousand tasks slow"
    ),
}


def within(name: str, cost: float, details: object = "") -> None:
    """Fail if a cost exceeds its bound."""
    bound = BOUNDS[name]
    assert cost <= bound.most, (
        f"{name} costs {cost:.2f}, not {bound.most} at the most ({bound.why}). "
        f"tests/guard/bounds.py says when that may change. {details}"
    )
