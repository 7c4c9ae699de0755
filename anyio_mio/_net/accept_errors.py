"""What an error of ``accept()`` means, and what the accept loop does about it.

Facts. ``accept()`` fails for four unlike reasons. The queue is empty. The connection at its head
has died, or never came through the firewall: Linux and the BSDs report such an error where the
connection would have been returned, and the next one in the queue may be fine (accept(2), "Error
handling"). The process or the system has run out of descriptors or of memory: the connection stays
in the queue. Or the socket does not listen (any more).

What others do. Go waits 5 ms doubling to 1 s when out of descriptors, and returns on the rest.
Trio waits 100 ms and logs each time; HAProxy pauses the listener for 100 ms; nginx for 500 ms;
axum waits a second on any unknown error; libuv accepts and closes with a spare descriptor. AnyIO's
own backends have no policy: the first EMFILE ends the server and every connection it has.

Consequences. Under edge triggering an error must not end the drain as WouldBlock does: there is no
second edge for what is queued already. And retrying at once would spin, since the cause does not go
away by trying.

Decision. `ERRORS` below. An empty queue waits for the next edge. An error of one connection costs
a unit of the batch and goes on; `MANY_IN_A_ROW` of them are taken for a lasting cause. Running out
backs off, keeps the readiness, and tries again by a timer, or as soon as a socket of ours is
closed. A closed socket is told to the caller, and everything else is raised.

Cost. While out of descriptors, a client waits in the system's queue for up to a second after
somebody else's descriptor was released.
"""

from __future__ import annotations

import errno
from enum import Enum
from typing import Final


class Verdict(Enum):
    """What to do about an error of ``accept()``."""

    SKIP = "skip"
    """It concerns one connection: go on with the next."""

    BACK_OFF = "back off"
    """Out of descriptors or memory: wait, and keep what is queued."""

    CLOSED = "closed"
    """The socket was closed, or does not listen."""

    RAISE = "raise"
    """A bug, or something unheard of: raise it."""


MANY_IN_A_ROW: Final = 64
"""After so many errors of single connections without a success, back off: a firewall or a security
module that refuses everything must not make the loop spin."""

ERRORS: Final[dict[str, Verdict]] = {
    # The connection was gone before it was accepted.
    "ECONNABORTED": Verdict.SKIP,
    "ECONNRESET": Verdict.SKIP,
    "ECONNREFUSED": Verdict.SKIP,
    "EPROTO": Verdict.SKIP,
    "ETIMEDOUT": Verdict.SKIP,
    # A firewall or a security module refused this one.
    "EPERM": Verdict.SKIP,
    # Linux passes network errors that are pending on the new socket through accept().
    "ENETDOWN": Verdict.SKIP,
    "ENETUNREACH": Verdict.SKIP,
    "EHOSTDOWN": Verdict.SKIP,
    "EHOSTUNREACH": Verdict.SKIP,
    "ENONET": Verdict.SKIP,
    "ENOPROTOOPT": Verdict.SKIP,
    "EOPNOTSUPP": Verdict.SKIP,
    "ENOSR": Verdict.SKIP,
    "ESOCKTNOSUPPORT": Verdict.SKIP,
    "EPROTONOSUPPORT": Verdict.SKIP,
    "EINTR": Verdict.SKIP,
    # Capacity of the process, of the system, of the kernel's memory.
    "EMFILE": Verdict.BACK_OFF,
    "ENFILE": Verdict.BACK_OFF,
    "ENOBUFS": Verdict.BACK_OFF,
    "ENOMEM": Verdict.BACK_OFF,
    "ENOSPC": Verdict.BACK_OFF,
    # Not a listening socket, or none at all.
    "EBADF": Verdict.CLOSED,
    "ENOTSOCK": Verdict.CLOSED,
    "EINVAL": Verdict.RAISE,
    # Windows has numbers of its own for two of them.
    "WSAEMFILE": Verdict.BACK_OFF,
    "WSAENOBUFS": Verdict.BACK_OFF,
}

VERDICTS: Final = {
    getattr(errno, name): verdict for name, verdict in ERRORS.items() if hasattr(errno, name)
}


OUT_OF_DESCRIPTORS: Final = {
    getattr(errno, name) for name in ("EMFILE", "ENFILE", "WSAEMFILE") if hasattr(errno, name)
}
"""Back-offs that one descriptor more would end."""


def judge(error: OSError, *, is_closed: bool = False, in_a_row: int = 0) -> Verdict:
    """What to do about ``error``.

    Args:
        error: what ``accept()`` raised; not WouldBlock.
        is_closed: whether we have closed the listener ourselves.
        in_a_row: how many connections have failed since the last success.
    """
    if is_closed:
        return Verdict.CLOSED
    verdict = VERDICTS.get(error.errno or 0, Verdict.RAISE)
    if verdict is Verdict.SKIP and in_a_row >= MANY_IN_A_ROW:
        return Verdict.BACK_OFF
    return verdict
