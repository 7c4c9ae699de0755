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

Decision. `ERRORS` below gives each error a kind. An empty queue waits for the next edge. An error
of one connection costs a unit of the batch and goes on; after `MANY_IN_A_ROW` of them the cause is
taken for a lasting one. Running out backs off, keeps the readiness, and tries again by a timer, or
as soon as a socket of ours is closed. A closed socket is reported to the caller, and everything
else is raised.

Three errors need a word. EACCES: SELinux and other security modules refuse the connection with it,
as a firewall does with EPERM; the module is asked before the connection leaves the queue, so it may
be the same one again, and `MANY_IN_A_ROW` ends that. ENETRESET: a network error that was pending on
the new socket, as ENETDOWN. EIO: something below the socket failed, which says nothing about the
next attempt; waiting costs a second at most, and raising would end a server for it.

Cost. While out of descriptors, a client waits in the system's queue for up to a second after a
descriptor that is not ours was released.
"""

from __future__ import annotations

import errno
from enum import Enum
from typing import Final


class AcceptErrorKind(Enum):
    """What kind of error of ``accept()`` it is; each has its treatment."""

    SKIP = "skip"
    """An error of one connection; go on with the next."""

    BACK_OFF = "back off"
    """Out of descriptors or memory; wait, and keep what is queued."""

    CLOSED = "closed"
    """The socket was closed, or does not listen."""

    RAISE = "raise"
    """A bug, or an error without a rule; raise it."""


MANY_IN_A_ROW: Final = 64
"""Failures of single connections without a success, after which the loop backs off: a firewall or a
security module that refuses everything must not make it spin."""

ERRORS: Final[dict[str, AcceptErrorKind]] = {
    # The connection was gone before it was accepted.
    "ECONNABORTED": AcceptErrorKind.SKIP,
    "ECONNRESET": AcceptErrorKind.SKIP,
    "ECONNREFUSED": AcceptErrorKind.SKIP,
    "EPROTO": AcceptErrorKind.SKIP,
    "ETIMEDOUT": AcceptErrorKind.SKIP,
    # A firewall or a security module refused this one.
    "EPERM": AcceptErrorKind.SKIP,
    "EACCES": AcceptErrorKind.SKIP,
    # Linux passes network errors that are pending on the new socket through accept().
    "ENETDOWN": AcceptErrorKind.SKIP,
    "ENETRESET": AcceptErrorKind.SKIP,
    "ENETUNREACH": AcceptErrorKind.SKIP,
    "EHOSTDOWN": AcceptErrorKind.SKIP,
    "EHOSTUNREACH": AcceptErrorKind.SKIP,
    "ENONET": AcceptErrorKind.SKIP,
    "ENOPROTOOPT": AcceptErrorKind.SKIP,
    "EOPNOTSUPP": AcceptErrorKind.SKIP,
    "ENOSR": AcceptErrorKind.SKIP,
    "ESOCKTNOSUPPORT": AcceptErrorKind.SKIP,
    "EPROTONOSUPPORT": AcceptErrorKind.SKIP,
    "EINTR": AcceptErrorKind.SKIP,
    # Capacity of the process, of the system, of the kernel's memory.
    "EMFILE": AcceptErrorKind.BACK_OFF,
    "ENFILE": AcceptErrorKind.BACK_OFF,
    "ENOBUFS": AcceptErrorKind.BACK_OFF,
    "ENOMEM": AcceptErrorKind.BACK_OFF,
    "ENOSPC": AcceptErrorKind.BACK_OFF,
    # Something below the socket failed; the next attempt may succeed.
    "EIO": AcceptErrorKind.BACK_OFF,
    # Not a listening socket, or none at all.
    "EBADF": AcceptErrorKind.CLOSED,
    "ENOTSOCK": AcceptErrorKind.CLOSED,
    "EINVAL": AcceptErrorKind.RAISE,
    # Windows has numbers of its own for two of them.
    "WSAEMFILE": AcceptErrorKind.BACK_OFF,
    "WSAENOBUFS": AcceptErrorKind.BACK_OFF,
}

KINDS: Final = {getattr(errno, name): kind for name, kind in ERRORS.items() if hasattr(errno, name)}


OUT_OF_DESCRIPTORS: Final = {
    getattr(errno, name) for name in ("EMFILE", "ENFILE", "WSAEMFILE") if hasattr(errno, name)
}
"""Back-offs that one descriptor more would end."""


def classify(error: OSError, *, is_closed: bool = False) -> AcceptErrorKind:
    """Return the kind of an error.

    Args:
        error: what ``accept()`` raised; not WouldBlock.
        is_closed: whether the listener was closed, or does not listen any more.
    """
    if is_closed:
        return AcceptErrorKind.CLOSED
    return KINDS.get(error.errno or 0, AcceptErrorKind.RAISE)


def after_many(kind: AcceptErrorKind, in_a_row: int) -> AcceptErrorKind:
    """Return ``kind``, or `BACK_OFF` in place of `SKIP` after many failures in a row."""
    if kind is AcceptErrorKind.SKIP and in_a_row >= MANY_IN_A_ROW:
        return AcceptErrorKind.BACK_OFF
    return kind
